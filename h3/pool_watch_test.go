package h3

import (
	"net/netip"
	"testing"
	"time"

	"riptide/bridge"
	"riptide/h3/h3test"
)

// Connections that lead nowhere any more, without a word, are found out by
// another one that leads somewhere: the call goes on there long before the idle
// timeout of QUIC.
func TestConnectionsThatFallSilent(t *testing.T) {
	t.Parallel()
	for rung, name := range map[string]string{
		"auto": "trunk-session", "webtransport": "webtransport", "striped": "striped", "put-get": "put/get",
	} {
		t.Run(rung, func(t *testing.T) {
			t.Parallel()
			m := newMortal(t, rung)
			out, in := m.answered(name)
			var atOut, atIn meter
			in.Media().Join(&atIn)
			out.Media().Join(&atOut)
			stopOut, stopIn := talk(out.Media), talk(in.Media)
			time.Sleep(500 * time.Millisecond)
			atOut.begin()
			atIn.begin()
			m.client.trunks["telco"].pool.reroute(netip.MustParseAddrPort(m.server.Addr().String()))
			began := time.Now()
			m.cut()
			time.Sleep(2 * time.Second)
			stopOut()
			stopIn()
			t.Logf("%s: silence of %v at the client, %v at the server", name, atOut.gap(), atIn.gap())
			m.heard(out, in)
			if took := time.Since(began); took > idleTimeout {
				t.Logf("it took %v", took)
			}
			must(t, in.End(t.Context(), bridge.CauseNormal))
			if c := awaitEnded(t, out); c.Code != "normal" {
				t.Errorf("ended with %v", c)
			}
		})
	}
}

// reroute sends new connections to another address.
func (p *pool) reroute(to netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cfg.Route = func(netip.AddrPort) netip.AddrPort { return to }
}

// A peer that says nothing for a while loses no connection: none that is newer
// comes into being meanwhile.
func TestAPeerThatIsSlowKeepsItsConnections(t *testing.T) {
	t.Parallel()
	m := newMortal(t, "webtransport")
	out, in := m.answered("webtransport")
	stop := talk(out.Media)
	defer stop()
	gone := h3test.Path{Loss: 1}
	m.relay.Set(gone, gone)
	time.Sleep(700 * time.Millisecond)
	m.relay.Set(h3test.Path{}, h3test.Path{})
	m.heard(out, in)
	if s := m.client.trunks["telco"].state(); s.Reattached > 1 {
		t.Errorf("attached anew %d times", s.Reattached)
	}
	must(t, in.End(t.Context(), bridge.CauseNormal))
	_ = awaitEnded(t, out)
}
