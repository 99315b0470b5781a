package rtp

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"riptide/bridge"
	"riptide/sip/sdp"
)

// dtlsPair is two ports on sockets that agree on their keys by DTLS.
func dtlsPair(t *testing.T, muxed bool) (a, b *Port, configure func(activeA bool)) {
	t.Helper()
	open := func() (*Port, sdp.Fingerprint) {
		pool, err := NewPool(loopback, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		port, err := pool.Open(Options{Reports: 20 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { port.Close() })
		f, err := pool.Fingerprint()
		if err != nil {
			t.Fatal(err)
		}
		return port, f
	}
	a, ofA := open()
	b, ofB := open()
	towards := func(p *Port, f sdp.Fingerprint, active bool) sdp.Agreed {
		g := agreed(p.Local())
		g.Audio.RemoteRTCP = netip.AddrPortFrom(loopback, p.Local().Port()+1)
		g.Audio.RTCPMux = muxed
		g.Audio.Protection = sdp.Protection{Keying: sdp.DTLS, Fingerprint: f, Active: active}
		return g
	}
	return a, b, func(activeA bool) {
		a.Configure(towards(b, ofB, activeA))
		b.Configure(towards(a, ofA, !activeA))
	}
}

func TestDTLS(t *testing.T) {
	t.Parallel()
	for name, muxed := range map[string]bool{"reports on the media's port": true, "reports on their own": false} {
		for who, activeA := range map[string]bool{"we begin": true, "they begin": false} {
			t.Run(name+", "+who, func(t *testing.T) {
				t.Parallel()
				a, b, configure := dtlsPair(t, muxed)
				rec := newRecorder()
				b.Join(rec)
				configure(activeA)
				waitFor(t, func() bool { return a.Stats().Security != "" && b.Stats().Security != "" })
				for i := range 20 {
					a.Push(frame(uint64(i + 1)))
				}
				rec.wait(t, 20)
				configure(activeA) // a refresh keeps the keys, and no handshake follows
				for i := range 20 {
					a.Push(frame(uint64(i + 21)))
				}
				rec.wait(t, 40)
				next := uint64(41)
				waitFor(t, func() bool { // reports go too, under their keys
					a.Push(frame(next)) // who has sent nothing has nothing to say about it
					next++
					b.audio.rx.mu.Lock()
					defer b.audio.rx.mu.Unlock()
					return !b.audio.rx.srAt.IsZero()
				})
				if st := b.Stats(); st.Received < 40 || !strings.HasPrefix(st.Security, "DTLS-SRTP_AEAD_AES_256_GCM") {
					t.Errorf("%+v", st)
				}
			})
		}
	}
}

// A certificate that is not the one of the session description gets no media.
func TestDTLSWithAnotherCertificate(t *testing.T) {
	t.Parallel()
	a, b, _ := dtlsPair(t, true)
	for p, other := range map[*Port]*Port{a: b, b: a} {
		wrong := agreed(other.Local())
		wrong.Audio.RTCPMux = true
		wrong.Audio.Protection = sdp.Protection{Keying: sdp.DTLS, Fingerprint: sdp.FingerprintOf([]byte("somebody else")), Active: p == a}
		p.Configure(wrong)
	}
	waitFor(t, func() bool {
		a.audio.dtls.mu.Lock()
		defer a.audio.dtls.mu.Unlock()
		return a.audio.dtls.why != nil
	})
	if !strings.Contains(a.audio.dtls.why.Error(), errFingerprint.Error()) {
		t.Errorf("it says %v", a.audio.dtls.why)
	}
	a.Push(&bridge.Frame{Codec: bridge.PCMU, Seq: 1, Payload: speech})
	if st := a.Stats(); st.Sent != 0 || st.SendDropped != 1 {
		t.Errorf("%+v", st)
	}
}

// TestDTLSBeforeTheAnswer: a peer that has our offer begins its handshake before
// its answer is here (RFC 5763 section 5), as rtpengine does. What it said is
// answered when that comes, though it is not said again.
func TestDTLSBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	for name, muxed := range map[string]bool{"reports on the media's port": true, "reports on their own": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b, _ := dtlsPair(t, muxed)
			sockets := [2]*net.UDPConn{} // to learn what such a handshake begins with, and the peer's
			for i := range sockets {
				c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = c.Close() }()
				_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
				sockets[i] = c
			}
			read := func(c *net.UDPConn) []byte {
				buf := make([]byte, 2000)
				n, err := c.Read(buf)
				if err != nil {
					t.Fatal(err)
				}
				return buf[:n]
			}
			towards := func(c *net.UDPConn, active bool) sdp.Agreed {
				at := c.LocalAddr().(*net.UDPAddr).AddrPort()
				g := agreed(at)
				g.Audio.RemoteRTCP, g.Audio.RTCPMux = at, muxed
				g.Audio.Protection = sdp.Protection{Keying: sdp.DTLS, Fingerprint: sdp.FingerprintOf([]byte("the peer's")), Active: active}
				return g
			}
			b.Configure(towards(sockets[0], true))
			hello, peer := read(sockets[0]), sockets[1]
			var offered sdp.Agreed
			offered.Audio.Protection.Keying = sdp.Pending
			a.Configure(offered)
			to := []netip.AddrPort{a.Local()}
			if !muxed {
				to = append(to, netip.AddrPortFrom(loopback, a.Local().Port()+1))
			}
			for _, at := range to {
				for range maxEarly + 1 {
					if _, err := peer.WriteToUDPAddrPort(hello, at); err != nil {
						t.Fatal(err)
					}
				}
			}
			waitFor(t, func() bool { return a.Stats().Malformed == uint64(len(to)) }) // the one too many of each
			a.Configure(towards(peer, false))
			for range to {
				const handshake, cookie, hello = 22, 3, 2
				if got := read(peer); got[0] != handshake || got[13] != cookie && got[13] != hello {
					t.Errorf("answered with %x", got)
				}
			}
		})
	}
}
