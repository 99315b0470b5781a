package h3

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/quic-go/quic-go"

	"riptide/bridge"
)

// A server that drains takes no new calls and says so to balancers, while the
// calls it has go on.
func TestDrainKeepsCalls(t *testing.T) {
	t.Parallel()
	p := newPair(t, "put-get")
	out, in := p.dial()
	must(t, in.Answer(t.Context(), bridge.Answer{Media: testPlan}))
	awaitKind(t, out, bridge.Answered)
	p.server.Drain()
	resp, body := p.do(p.h2, exchange{method: "GET", url: "https://ript.test/healthz"})
	if resp.StatusCode != http.StatusServiceUnavailable || string(body) != "draining\n" {
		t.Errorf("healthz: %d %s", resp.StatusCode, body)
	}
	if _, err := p.client.Dial(t.Context(), p.intent()); bridge.CauseOf(err).Code != bridge.CauseShuttingDown.Code {
		t.Errorf("a new call: %v", err)
	}
	p.heard(out, in)
	must(t, in.End(t.Context(), bridge.CauseNormal))
	if c := awaitEnded(t, out); c.Code != "normal" {
		t.Errorf("ended with %v", c)
	}
}

// A call that another node had, and gave us before it knew that we drain, goes on
// here.
func TestDrainingServerTakesWhatOthersGave(t *testing.T) {
	t.Parallel()
	p := newPair(t, "put-get")
	out, in := p.dial()
	must(t, in.Answer(t.Context(), bridge.Answer{Media: testPlan}))
	awaitKind(t, out, bridge.Answered)
	was := again(in, bridge.StateAnswered)
	in.(bridge.Abandoner).Abandon()
	p.server.Drain()
	now, err := p.server.Resume(t.Context(), was)
	must(t, err)
	p.heard(out, now)
	must(t, now.End(t.Context(), bridge.CauseNormal))
	if c := awaitEnded(t, out); c.Code != "normal" {
		t.Errorf("ended with %v", c)
	}
}

// Before Serve everybody can connect, more than the library's listener would
// take, and waits: requests are answered when the calls of before are there.
func TestConnectionsWaitForServe(t *testing.T) {
	t.Parallel()
	const conns = 50
	m := &mortal{pair: &pair{rig: makeRig(t)}}
	answers := make(chan error, conns)
	m.run(func(s *Server) {
		ready := make(chan struct{}, conns)
		for range conns {
			go func() {
				tr := m.overQUIC(func(c *quic.Conn, err error) {
					if err == nil {
						ready <- struct{}{}
					}
				})
				defer tr.Close()
				resp, err := (&http.Client{Transport: tr}).Get("https://ript.test/healthz")
				if err == nil {
					defer resp.Body.Close()
					if resp.StatusCode != http.StatusOK {
						err = fmt.Errorf("healthz: %d", resp.StatusCode)
					}
				}
				answers <- err
			}()
		}
		for range conns {
			select {
			case <-ready:
			case err := <-answers:
				t.Fatalf("answered before Serve: %v", err)
			}
		}
	})
	for range conns {
		must(t, <-answers)
	}
}
