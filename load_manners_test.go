package main_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"riptide/bridge"
	"riptide/configs/setup"
	"riptide/h3/h3test"
)

// mannered is a balancer of ours in front of both servers, with manners that the
// real ones are not made to have by a test.
func mannered(m h3test.Manners, b **h3test.Balancer) between {
	return func(s *loadSite, servers [2]node) string {
		s.t.Helper()
		cert, err := tls.X509KeyPair(s.read(setup.TLSCert), s.read(setup.TLSKey))
		if err != nil {
			s.t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(s.read(setup.CACert))
		*b = h3test.NewBalancer(s.t, m, cert, roots, servers[0].ript, servers[1].ript)
		return (*b).Addr().String()
	}
}

// TestManners: what balancers do to bodies, and what becomes of calls behind
// them: all of them are heard, and only the carrier differs.
func TestManners(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		manners h3test.Manners
		media   string
		carrier string
		calls   int
		// limit is the share of the frames that may be lost. A request each, with
		// both ends and the balancer in one process under the race detector, is more
		// than two processors carry: there it only tells whether anything gets through
		// at all, and no request waits for ever.
		limit float64
	}{
		{"kind", h3test.Manners{}, "auto", "striped", 4, 0.02},
		{"buffers requests", h3test.Manners{BufferRequests: true}, "auto", "put/get", 2, 0.99},
		{"few streams", h3test.Manners{Streams: 100}, "put-get", "put/get", 4, 0.99},
		{"cuts silent bodies", h3test.Manners{SilentBody: 3 * time.Second}, "auto", "striped", 2, 0.02},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var b *h3test.Balancer
			s := newLoadSite(t, tc.media, mannered(tc.manners, &b))
			up, down := s.hold(tc.calls, tc.carrier, 6*time.Second)
			for _, d := range []*direction{up, down} {
				spoken, lost := d.report(t)
				if float64(lost) > tc.limit*float64(spoken) {
					t.Errorf("%s: %d of %d frames lost", d.name, lost, spoken)
				}
			}
			t.Logf("the nodes were given %v requests", b.Taken())
		})
	}
}

// TestNodeLostInMidCall: a node dies while its calls are up, and the balancer says
// so by resetting streams, or ends them as if all was said. The calls of the other
// node go on; those of the dead one end with a cause, and soon.
func TestNodeLostInMidCall(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]h3test.Manners{"reset": {}, "clean ends": {CleanEnds: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b *h3test.Balancer
			s := newLoadSite(t, "auto", mannered(m, &b))
			var calls []*loadCall
			for n := range 4 {
				calls = append(calls, s.dial(n))
			}
			b.Lose(0)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			at := [2]int{}
			for _, c := range calls {
				at[c.server]++
				if c.server != 0 {
					continue
				}
				select {
				case cause := <-c.done[0]:
					if cause.Code != bridge.CauseSignallingLost.Code {
						t.Errorf("a call of the dead node is over for %v", cause)
					}
				case <-ctx.Done():
					t.Error("a call of the dead node goes on")
				}
			}
			if at[0] == 0 || at[1] == 0 {
				t.Fatalf("the nodes had %v calls: the test needs some at each", at)
			}
			for _, c := range calls {
				if c.server != 0 {
					c.hangUp(t) // which also says that it was up
				}
			}
			c := s.dial(len(calls)) // as before, at the node that is left
			c.hangUp(t)
		})
	}
}

// TestBufferedResponses: behind a balancer that holds responses back no event
// ever arrives. Nobody can call through it; the call ends, and says why.
func TestBufferedResponses(t *testing.T) {
	t.Parallel()
	var b *h3test.Balancer
	s := newLoadSite(t, "auto", mannered(h3test.Manners{BufferResponses: true}, &b))
	c := s.dial(0)
	select {
	case cause := <-c.done[0]:
		if cause.Code != bridge.CauseSignallingLost.Code {
			t.Errorf("the call is over for %v", cause)
		}
	case <-time.After(time.Minute):
		t.Error("a call without events goes on")
	}
}
