package h3test

import (
	"encoding/binary"
	"net"
	"slices"
	"testing"
	"time"
)

// echo is a server that sends everything back.
func echo(t *testing.T) string {
	t.Helper()
	conn, err := listen()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, maxDatagram)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = conn.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return conn.LocalAddr().String()
}

// exchange sends n numbered datagrams through a relay that leads to an echo, each
// when the fate of the one before is decided, and returns the numbers that came
// back.
func exchange(t *testing.T, r *Relay, n int) []uint32 {
	t.Helper()
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(r.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	var back []uint32
	buf := make([]byte, maxDatagram)
	up, down := r.Up(), r.Down()
	for i := range n {
		if _, err := conn.Write(binary.BigEndian.AppendUint32(nil, uint32(i))); err != nil {
			t.Fatal(err)
		}
		up.Received++
		for late := time.Now().Add(time.Minute); !settled(r, up, down); time.Sleep(100 * time.Microsecond) {
			if time.Now().After(late) {
				t.Fatalf("datagram %d is nowhere: up %+v, down %+v", i, r.Up(), r.Down())
			}
		}
		for uint64(len(back)) < r.Down().Forwarded-down.Forwarded {
			m, err := conn.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			back = append(back, binary.BigEndian.Uint32(buf[:m]))
		}
	}
	return back
}

// settled tells whether a relay has taken as many datagrams as up says, and
// nothing is under way any more. Down is how it stood when up was the same.
func settled(r *Relay, up, was Counts) bool {
	down := r.Down()
	now := r.Up()
	return now.Received == up.Received && now.Lost+now.Forwarded == now.Received &&
		down.Received-was.Received == now.Forwarded-up.Forwarded && down.Lost+down.Forwarded == down.Received
}

func TestRelayLosesBySeed(t *testing.T) {
	t.Parallel()
	const n = 200
	run := func(seed uint64) ([]uint32, Counts, Counts) {
		r := NewRelay(t, echo(t), Path{Loss: 0.1}, Path{Loss: 0.1}, seed)
		back := exchange(t, r, n)
		return back, r.Up(), r.Down()
	}
	first, up, down := run(1)
	again, _, _ := run(1)
	other, _, _ := run(2)
	if !slices.Equal(first, again) {
		t.Errorf("one seed, two outcomes: %d and %d came back", len(first), len(again))
	}
	if slices.Equal(first, other) {
		t.Error("two seeds, one outcome")
	}
	if up.Received != n || up.Lost+up.Forwarded != n || up.Overflowed != 0 {
		t.Errorf("up: %+v", up)
	}
	if down.Received != up.Forwarded || int(down.Forwarded) != len(first) || down.Lost+down.Forwarded != down.Received {
		t.Errorf("down: %+v after up %+v, %d arrived", down, up, len(first))
	}
	for _, c := range []Counts{up, down} {
		if rate := c.LossRate(); rate < 0.04 || rate > 0.17 { // more than three standard deviations off
			t.Errorf("a loss of 10 %% lost %.1f %%", 100*rate)
		}
	}
}

func TestRelayDelaysInOrder(t *testing.T) {
	t.Parallel()
	const delay = 30 * time.Millisecond
	r := NewRelay(t, echo(t), Path{Delay: delay}, Path{Delay: delay}, 1)
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(r.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const n = 100
	begin := time.Now()
	for i := range n {
		if i == n/2 {
			for r.Up().Received < n/2 {
				time.Sleep(time.Millisecond)
			}
			r.Set(Path{}, Path{}) // those under way are not overtaken
		}
		if _, err := conn.Write([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 16)
	for i := range n {
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := conn.Read(buf); err != nil {
			t.Fatalf("datagram %d: %v", i, err)
		}
		if i == 0 && time.Since(begin) < delay {
			t.Errorf("back after %v, one way takes %v", time.Since(begin), delay)
		}
		if buf[0] != byte(i) {
			t.Fatalf("datagram %d came as number %d", buf[0], i)
		}
	}
}

func TestRelayCutAndRebound(t *testing.T) {
	t.Parallel()
	r := NewRelay(t, echo(t), Path{}, Path{}, 1)
	if back := exchange(t, r, 3); len(back) != 3 {
		t.Fatalf("%d of 3 came back", len(back))
	}
	r.Rebind()
	if back := exchange(t, r, 3); len(back) != 3 {
		t.Fatalf("%d of 3 came back after rebinding", len(back))
	}
	r.Set(Path{Loss: 1}, Path{})
	if back := exchange(t, r, 3); len(back) != 0 {
		t.Fatalf("%d came back over a line that is cut", len(back))
	}
	r.Set(Path{}, Path{Loss: 1})
	exchange(t, r, 3)
	if c := r.Down(); c.Lost != 3 {
		t.Errorf("down: %+v", c)
	}
}
