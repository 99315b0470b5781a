package rtp

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/dtls/v3"

	"riptide/sip/sdp"
)

// strangerAt is a socket of somebody who has found out where a port is.
func strangerAt(t *testing.T, p *Port) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(p.Local()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// protectedBoth waits until both ends have keys.
func protectedBoth(t *testing.T, a, b *Port) {
	t.Helper()
	waitFor(t, func() bool { return a.Stats().Security != "" && b.Stats().Security != "" })
}

// A stranger makes a whole handshake, with a certificate of its own, before the
// peer begins: the peer gets its keys all the same.
func TestDTLSStrangerComesFirst(t *testing.T) {
	t.Parallel()
	a, b, configure := dtlsPair(t, true)
	c := strangerAt(t, a)
	cert, err := newCertificate(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	towardsB := agreed(b.Local())
	f, err := b.pool.Fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	towardsB.Audio.RTCPMux = true
	towardsB.Audio.Protection = sdp.Protection{Keying: sdp.DTLS, Fingerprint: f}
	a.Configure(towardsB)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	conn, err := dtls.ClientWithOptions(&connected{c}, c.RemoteAddr(), dtls.WithCertificates(cert), dtls.WithInsecureSkipVerify(true),
		dtls.WithSRTPProtectionProfiles(dtlsProfiles...))
	if err != nil {
		t.Fatal(err)
	}
	if conn.HandshakeContext(ctx) == nil {
		// The client is done before the server has looked at its certificate.
		_, _ = conn.Read(make([]byte, 1)) // until it is told
	}
	_ = conn.Close()
	waitFor(t, func() bool {
		a.audio.dtls.mu.Lock()
		defer a.audio.dtls.mu.Unlock()
		return a.audio.dtls.why != nil
	})
	configure(false)
	protectedBoth(t, a, b)
}

// connected is a socket that has one peer, as the packet socket that the library
// wants.
type connected struct{ *net.UDPConn }

func (c *connected) WriteTo(b []byte, _ net.Addr) (int, error) { return c.Write(b) }

// A stranger sends what ends handshakes, or takes part in none, all the time: an
// alert that nothing protects, pieces of hellos, rubbish.
func TestDTLSStrangerInterferes(t *testing.T) {
	t.Parallel()
	for name, record := range map[string][]byte{
		"alert":    {21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40},
		"farewell": {21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 8, 0, 2, 1, 0},
		"hello":    {22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 7, 0, 14, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 254, 253},
		"rubbish":  {63, 1, 2, 3},
	} {
		for who, activeA := range map[string]bool{"we begin": true, "they begin": false} {
			t.Run(name+", "+who, func(t *testing.T) {
				t.Parallel()
				a, b, configure := dtlsPair(t, true)
				c := strangerAt(t, a)
				stop, done := make(chan struct{}), make(chan struct{})
				go func() {
					defer close(done)
					for {
						select {
						case <-stop:
							return
						case <-time.After(2 * time.Millisecond):
							_, _ = c.Write(record)
						}
					}
				}()
				defer func() { close(stop); <-done }()
				time.Sleep(10 * time.Millisecond)
				configure(activeA)
				protectedBoth(t, a, b)
			})
		}
	}
}

// A call that ends while its handshake is under way ends at once.
func TestDTLSCallEndsDuringHandshake(t *testing.T) {
	t.Parallel()
	for who, active := range map[string]bool{"we begin": true, "they begin": false} {
		for name, muxed := range map[string]bool{"one way": true, "two ways": false} {
			t.Run(who+", "+name, func(t *testing.T) {
				t.Parallel()
				a, b, _ := dtlsPair(t, muxed)
				g := agreed(b.Local())
				g.Audio.RTCPMux = muxed
				g.Audio.Protection = sdp.Protection{Keying: sdp.DTLS, Fingerprint: sdp.FingerprintOf([]byte("x")), Active: active}
				a.Configure(g)
				time.Sleep(20 * time.Millisecond)
				done := make(chan struct{})
				go func() { a.Close(); close(done) }()
				select {
				case <-done:
				case <-time.After(5 * time.Second):
					t.Error("the port is not closed after 5 s")
				}
			})
		}
	}
}

// A peer behind a NAT speaks from elsewhere than it said.
func TestDTLSFromBehindANAT(t *testing.T) {
	t.Parallel()
	a, b, _ := dtlsPair(t, true)
	towards := func(at netip.AddrPort, p *Port, active bool) sdp.Agreed {
		f, err := p.pool.Fingerprint()
		if err != nil {
			t.Fatal(err)
		}
		g := agreed(at)
		g.Audio.RTCPMux = true
		g.Audio.Protection = sdp.Protection{Keying: sdp.DTLS, Fingerprint: f, Active: active}
		return g
	}
	a.Configure(towards(netip.MustParseAddrPort("127.0.0.77:9"), b, false))
	b.Configure(towards(a.Local(), a, true))
	protectedBoth(t, a, b)
}

func TestTakesPart(t *testing.T) {
	t.Parallel()
	record := func(kind, epoch byte, size int) []byte {
		return append([]byte{kind, 254, 253, 0, epoch, 0, 0, 0, 0, 0, 0, byte(size >> 8), byte(size)}, make([]byte, size)...)
	}
	for _, c := range []struct {
		name string
		in   []byte
		want bool
	}{
		{"a hello", record(22, 0, 60), true},
		{"a flight", append(append(record(22, 0, 60), record(20, 0, 1)...), record(22, 1, 48)...), true},
		{"an alert that nothing protects", record(21, 0, 2), false},
		{"the same behind a hello", append(record(22, 0, 60), record(21, 0, 2)...), false},
		{"one that something does", record(21, 1, 26), true},
		{"cut off", record(22, 0, 60)[:72], false},
		{"half a header", record(22, 0, 0)[:12], false},
		{"no content type", record(27, 0, 3), false},
		{"TLS", []byte{22, 3, 3, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}, false},
	} {
		if got := takesPart(c.in); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func FuzzTakesPart(f *testing.F) {
	f.Add([]byte{22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0})
	f.Fuzz(func(_ *testing.T, b []byte) { takesPart(b) })
}
