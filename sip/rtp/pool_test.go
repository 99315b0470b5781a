package rtp

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"riptide/bridge"
	"riptide/sip/siptest"
)

// freeRange finds n pairs of ports in a row that nobody uses.
func freeRange(t *testing.T, n int) (lo, hi uint16) {
	t.Helper()
	for range 100 {
		probe, err := listen(netip.AddrPortFrom(loopback, 0))
		if err != nil {
			t.Fatal(err)
		}
		lo = probe.local().Port() &^ 1
		probe.close()
		hi = lo + uint16(2*n) - 1
		if hi < lo {
			continue
		}
		free := true
		for port := lo; port <= hi && free; port++ {
			s, err := listen(netip.AddrPortFrom(loopback, port))
			if free = err == nil; free {
				s.close()
			}
		}
		if free {
			return lo, hi
		}
	}
	t.Fatal("no free ports in a row")
	return 0, 0
}

func TestPoolRange(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		lo, hi uint16
		pairs  int
	}{
		{10000, 10001, 1}, {10000, 10002, 1}, {10001, 10003, 1}, {10001, 10005, 2}, {65534, 65535, 1}, {16384, 32767, 8192},
		{10000, 10000, 0}, {10001, 10002, 0}, {10002, 10001, 0}, {65535, 65535, 0},
	} {
		p, err := NewPool(loopback, c.lo, c.hi)
		switch {
		case c.pairs == 0:
			if err == nil || !strings.Contains(err.Error(), "sip.media.ports") {
				t.Errorf("%d-%d: error %v", c.lo, c.hi, err)
			}
		case err != nil || len(p.free) != c.pairs:
			t.Errorf("%d-%d: %d pairs, error %v; want %d", c.lo, c.hi, len(p.free), err, c.pairs)
		}
	}
	if _, err := NewPool(netip.Addr{}, 10000, 10010); err == nil {
		t.Error("no address: no error")
	}
}

func TestPoolExhaustionAndReuse(t *testing.T) {
	lo, hi := freeRange(t, 2)
	pool, err := NewPool(loopback, lo, hi)
	if err != nil {
		t.Fatal(err)
	}
	var passed atomic.Int64
	pool.now = func() time.Time { return start.Add(time.Duration(passed.Load())) }
	open := func() *Port {
		t.Helper()
		p, err := pool.Open(Options{})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	a, b := open(), open()
	if a.Local().Port()%2 != 0 || b.Local().Port() != a.Local().Port()+2 {
		t.Errorf("ports %v and %v", a.Local(), b.Local())
	}
	_, err = pool.Open(Options{})
	if !errors.Is(err, bridge.CauseOverloaded) || !strings.Contains(err.Error(), "2 pairs in use, 0 resting") || !strings.Contains(err.Error(), "sip.media.ports") {
		t.Errorf("third of two: %v", err)
	}
	a.Close()
	a.Close()
	if pool.InUse() != 1 {
		t.Errorf("%d in use, want 1", pool.InUse())
	}
	passed.Add(int64(restAfterUse - 1))
	if _, err = pool.Open(Options{}); err == nil || !strings.Contains(err.Error(), "1 pairs in use, 1 resting") {
		t.Errorf("port reused too early: %v", err)
	}
	passed.Add(1)
	c := open()
	if c.Local() != a.Local() {
		t.Errorf("reopened %v, want %v", c.Local(), a.Local())
	}
	b.Close()
	c.Close()
}

// A port rests after its call, but not where a call would end for the want of one.
func TestCallThatGoesOnTakesAPortThatRests(t *testing.T) {
	lo, hi := freeRange(t, 1)
	pool, err := NewPool(loopback, lo, hi)
	if err != nil {
		t.Fatal(err)
	}
	a, err := pool.Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	state := a.State()
	a.Close()
	if b, err := pool.Open(Options{}); err == nil {
		t.Error("a new call takes it")
		b.Close()
	}
	b, err := pool.Open(Options{Restore: &state, Moved: true})
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
}

func TestPoolPassesOverPortsOfOthers(t *testing.T) {
	lo, hi := freeRange(t, 3)
	for _, taken := range []uint16{lo, lo + 3} { // media port of the first pair, reports of the second
		other, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, taken)))
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
	}
	pool, err := NewPool(loopback, lo, hi)
	if err != nil {
		t.Fatal(err)
	}
	p, err := pool.Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if p.Local().Port() != lo+4 {
		t.Errorf("opened %v, want port %d", p.Local(), lo+4)
	}
	if _, err := pool.Open(Options{}); !errors.Is(err, bridge.CauseOverloaded) {
		t.Errorf("no port left: %v", err)
	}
}

func TestPoolAddressOfAnotherBox(t *testing.T) {
	t.Parallel()
	pool, err := NewPool(netip.MustParseAddr("192.0.2.1"), 40000, 40010)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Open(Options{}); err == nil || !strings.Contains(err.Error(), "sip.media.address") {
		t.Errorf("error %v", err)
	}
	if pool.InUse() != 0 || len(pool.free) != 5 {
		t.Errorf("%d in use, %d free", pool.InUse(), len(pool.free))
	}
}

// No goroutine or socket is left of ports that were opened and closed.
func TestNothingIsLeft(t *testing.T) {
	pool, err := NewPool(loopback, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	for range 5 {
		var ports []*Port
		for range 200 {
			p, err := pool.Open(Options{})
			if err != nil {
				t.Fatal(err)
			}
			p.Configure(agreed(netip.MustParseAddrPort("127.0.0.1:9")))
			p.Push(frame(1))
			ports = append(ports, p)
		}
		for _, p := range ports {
			p.Close()
		}
	}
	// A goroutine that said it is done still has to return.
	waitFor(t, func() bool { return runtime.NumGoroutine() <= before })
	if pool.InUse() != 0 {
		t.Errorf("%d ports in use", pool.InUse())
	}
}

func TestIPv6(t *testing.T) {
	t.Parallel()
	six := netip.IPv6Loopback()
	pool, err := NewPool(six, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, err := pool.Open(Options{})
	if err != nil {
		siptest.Missing(t, "IPv6 on this machine (sysctl net.ipv6.conf.lo.disable_ipv6=0): %v", err)
	}
	defer a.Close()
	b, err := pool.Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	rec := newRecorder()
	b.Join(rec)
	a.Configure(agreed(b.Local()))
	b.Configure(agreed(a.Local()))
	a.Push(frame(1))
	rec.wait(t, 1)
	a.Configure(agreed(netip.MustParseAddrPort("127.0.0.1:9")))
	a.Push(frame(2))
	if st := a.Stats(); st.Sent != 1 || st.SendDropped != 1 {
		t.Errorf("to the other family: %+v", st)
	}
}

// The rest of a port is measured by the pool's clock.
func TestRestByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, err := NewPool(loopback, 20000, 20001)
		if err != nil {
			t.Fatal(err)
		}
		port, ok := pool.take(false)
		if !ok {
			t.Fatal("no port")
		}
		pool.giveBack(port)
		time.Sleep(restAfterUse - 1)
		if _, ok := pool.take(false); ok {
			t.Error("taken before it rested")
		}
		time.Sleep(time.Nanosecond)
		if _, ok := pool.take(false); !ok {
			t.Error("not taken after it rested")
		}
	})
}
