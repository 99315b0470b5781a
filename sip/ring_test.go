package sip

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/bridge/store"
	"riptide/policy"
	"riptide/sip/siptest"
)

// TestBridgesInARing: two bridges that route a number to each other give the
// call up after so many hops, instead of ringing for ever (RFC 3261 section
// 16.3: a B2BUA hides the Vias by which a proxy would notice).
func TestBridgesInARing(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "ring", "scripted")
	node := func() (*bridge.Bridge, *Agent) {
		b := bridge.New(bridge.Config{
			Node: "ring", Store: store.NewMemory(), Logger: slog.New(slog.DiscardHandler),
			Policy: &policy.Policy{
				Trunks: map[string]policy.Trunk{"pbx": {Name: "pbx"}, "ring": {Name: "ring"}},
				Routes: []policy.Route{{To: "+*", Via: "ring"}},
			},
		})
		a := startAgent(t, b, Trunk{}, func(c *Config) { c.Trunks = append(c.Trunks, Trunk{Name: "ring", Match: loopbacks}) })
		b.Use(map[string]bridge.Trunk{"pbx": {Dialer: a}, "ring": {Dialer: a}})
		t.Cleanup(func() { _ = b.Shutdown(ctx) })
		return b, a
	}
	one, first := node()
	two, second := node()
	joined := func(a, to *Agent) {
		l := &location{services: []service{{over: overUDP, addrs: []netip.AddrPort{to.Addr()}}}}
		l.settle()
		a.byName["ring"].located.Store(l)
	}
	joined(first, second)
	joined(second, first)
	p := newPeer(t)
	d := p.caller(first)
	d.invite(offerSDP(1, 40000))
	res := d.await("a refusal", func(m sipgo.Message) bool {
		r, ok := m.(*sipgo.Response)
		return ok && r.StatusCode >= 300
	}).(*sipgo.Response)
	d.ackRefusal(res)
	if reason := strings.Join(headerValues(res, "Reason"), "|"); res.StatusCode != 483 || !strings.Contains(reason, "ring") {
		t.Errorf("%d, Reason %s", res.StatusCode, reason)
	}
	await(t, "no call is left", func() bool { return one.Active()+two.Active() == 0 })
}
