package sip

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"riptide/sip/siptest"
)

// gated is a gate with a clock of the test's.
func gated() (*gate, *time.Time) {
	now := time.Unix(1_700_000_000, 0)
	return &gate{buckets: map[bucketKey]bucket{}, now: func() time.Time { return now }}, &now
}

func at(format string, args ...any) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf(format, args...)), 5060)
}

func TestRates(t *testing.T) {
	t.Parallel()
	tr := &trunk{Trunk: Trunk{Match: []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::/0"), netip.MustParsePrefix("fc00::/16"),
	}}}
	tr.located.Store(&location{all: []target{{addr: at("198.51.100.7"), over: overUDP}}})
	for _, tc := range []struct {
		from string
		want float64
	}{{"198.51.100.7", knownRate}, {"192.0.2.9", openRate}, {"10.1.2.3", knownRate}, {"2001:db8::1", openRate}, {"fc00::5", knownRate}} {
		if got := tr.rateFor(at("%s", tc.from)); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.from, got, tc.want)
		}
	}
	tr.Rate = 7
	if got := tr.rateFor(at("10.1.2.3")); got != 7 {
		t.Errorf("%v with rate 7", got)
	}
}

// TestGate: a source gets its burst and then its rate, a network as much as
// eight of its addresses, and nobody takes anything from anybody else.
func TestGate(t *testing.T) {
	t.Parallel()
	g, now := gated()
	tr := &trunk{Trunk: Trunk{Rate: 10}}
	sent := func(n int, from netip.AddrPort) (passed int) {
		for range n {
			if g.pass(tr, from, 1) == 0 {
				passed++
			}
		}
		return passed
	}
	if got := sent(100, at("10.0.0.1")); got != 20 {
		t.Errorf("%d of a burst passed, want 20", got)
	}
	if wait := g.pass(tr, at("10.0.0.1"), 1); wait != 100*time.Millisecond {
		t.Errorf("the next is due in %v, want 100ms", wait)
	}
	if got := sent(1, at("10.0.1.1")); got != 1 {
		t.Error("one source is held up by another")
	}
	*now = now.Add(time.Second)
	if got := sent(100, at("10.0.0.1")); got != 10 {
		t.Errorf("%d passed in a second, want 10", got)
	}
	total := 0
	for i := range 200 { // a whole /24 at once
		total += sent(10, at("10.9.0.%d", i+1))
	}
	if total != 160 {
		t.Errorf("%d of a network's burst passed, want 160", total)
	}
	other := &trunk{Trunk: Trunk{Rate: 10}}
	if g.pass(other, at("10.9.0.1"), 1) != 0 {
		t.Error("one trunk is held up by another at the same addresses")
	}
}

// 100,000 messages from 10,000 sources of a trunk that is open to the world, and
// then as many from others: memory stays bounded, and is given back.
func TestGateIsBounded(t *testing.T) {
	t.Parallel()
	g, now := gated()
	tr := &trunk{Trunk: Trunk{Match: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}}
	for round := range 10 {
		for i := range 10000 {
			g.pass(tr, at("10.%d.%d.%d", round, i/100, i%100), 1)
		}
		*now = now.Add(10 * time.Millisecond)
		if len(g.buckets) > maxBuckets+1 {
			t.Fatalf("%d sources are remembered", len(g.buckets))
		}
	}
	if g.pass(tr, at("10.0.0.1"), 1) != 0 {
		t.Error("who was there before is held up")
	}
	*now = now.Add(time.Minute)
	g.sweep(*now)
	if n := len(g.buckets); n != 0 {
		t.Errorf("%d sources are remembered after a minute of silence", n)
	}
}

// FuzzGate: no source and no amount upsets it.
func FuzzGate(f *testing.F) {
	f.Add([]byte{10, 0, 0, 1}, 1.0, int64(1))
	f.Add(make([]byte, 16), 1e9, int64(-5))
	f.Fuzz(func(t *testing.T, raw []byte, n float64, step int64) {
		addr, ok := netip.AddrFromSlice(raw)
		if !ok || n < 0 || n != n {
			return
		}
		g, now := gated()
		tr := &trunk{Trunk: Trunk{Rate: 5}}
		for range 4 {
			if wait := g.pass(tr, netip.AddrPortFrom(addr.Unmap(), 1), n); wait < 0 {
				t.Fatalf("wait %v", wait)
			}
			*now = now.Add(time.Duration(step % int64(time.Hour)))
		}
	})
}

// soaked is a number for every run, or the number for `make soak`.
func soaked(every, soak int) int {
	if os.Getenv("RIPTIDE_SOAK") != "" {
		return soak
	}
	return every
}

// A flood of datagrams from thousands of sources: of strangers, and of a trunk's
// own network. Memory stays flat, nothing is answered, and the calls of another
// trunk go through meanwhile. Not parallel: it looks at the whole heap.
func TestFloodFromManySources(t *testing.T) {
	siptest.Shows(t, "flood", "scripted")
	sources := soaked(500, 10000)
	acc := newAcceptor()
	p := newPeer(t)
	a := startAgent(t, acc, Trunk{Match: []netip.Prefix{netip.PrefixFrom(loopback, 32)}}, func(c *Config) {
		c.Trunks = append(c.Trunks, Trunk{Name: "phones", Match: []netip.Prefix{netip.MustParsePrefix("127.2.0.0/16")}, Rate: 2})
	})
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	call := func() {
		d := p.caller(a)
		l := establish(t, acc, d)
		end(t, p, l)
	}
	call()
	for a.mailboxes() > 0 {
		time.Sleep(10 * time.Millisecond)
	}
	before := heap()
	scan := []byte("OPTIONS sip:100@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.9;branch=z9hG4bK1;rport\r\nFrom: <sip:a@b>;tag=1\r\n" +
		"To: <sip:a@b>\r\nCall-ID: scan\r\nCSeq: 1 OPTIONS\r\nUser-Agent: friendly-scanner\r\nContent-Length: 0\r\n\r\n")
	answered := 0
	for i := range sources {
		for _, network := range []int{1, 2} { // strangers, and telephones gone mad
			c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, byte(network), byte(i/250), byte(i%250)+1)}, net.UDPAddrFromAddrPort(a.Addr()))
			if err != nil {
				t.Fatal(err)
			}
			for range 10 {
				_, _ = c.Write(scan)
			}
			if network == 1 && i%100 == 0 {
				_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
				if n, _ := c.Read(make([]byte, 2048)); n > 0 {
					answered++
				}
			}
			_ = c.Close()
		}
		if i%(sources/10) == 0 {
			call()
		}
	}
	call()
	if answered > 0 {
		t.Errorf("%d strangers were answered", answered)
	}
	counts := a.Counts()
	if counts.Strangers == 0 || counts.Limited == 0 {
		t.Errorf("nothing was dropped: %+v", counts)
	}
	limit := time.Now().Add(patience)
	for a.mailboxes() > 0 && time.Now().Before(limit) {
		time.Sleep(10 * time.Millisecond)
	}
	after := heap()
	t.Logf("%d datagrams from %d sources: %d from strangers and %d over the rate dropped; heap %d kB before, %d kB after",
		20*sources, 2*sources, counts.Strangers, counts.Limited, before>>10, after>>10)
	if after > before+16<<20 {
		t.Errorf("the heap grew from %d to %d bytes", before, after)
	}
}
