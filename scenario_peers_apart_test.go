package main_test

import (
	"context"
	"net"
	"testing"

	"riptide/sip/siptest"
)

// cutOffFromOthers has boxes in networks of their own. One is cut off from the
// others, though not from the SIP peers, and comes back.
func cutOffFromOthers(t *testing.T, ctx context.Context, row string) {
	b := newBoxes(t, boxesOptions{calls: 1, apart: true})
	p := &peers{t: t, netns: b.phones}
	w := &way{peers: p, name: "through the boxes", numbers: [2]string{officeNumber, b.number(0)}, phone: [2]string{officePhone, b.number(1)}}
	p.out = w
	w.answer(hostOf(b.callees[0]), 5060, b.baresip("ear-1", hostOf(b.callees[1]), 5060))
	w.sipp = b.pbx
	w.ring(ctx, b.nodes["one"].sip, b.baresip("ear-0", b.pbx, 0))
	w.call(ctx, b.nodes["one"].sip)
	p.anew()

	calls := w.calls + 1
	b.cutOff("one")
	b.nodes["one"].awaitLogged(t, `"calls fenced`, 1)
	b.nodes["two"].awaitLogged(t, `"call resumed"`, calls)
	p.await(ctx, "sipp follows at both ends", func() bool { return followed(w.calling, w.called) >= 2*w.calls })
	p.goOn(ctx)
	b.rejoin("one")
	b.nodes["one"].awaitReady(t, "")
	p.goOn(ctx)
	p.end(ctx, row)
	b.nodes["two"].settle(t)
	moves, closest := readOwners(t, b.logs).check(t)
	t.Logf("%d times a call went from one node to another, and was nobody's for %v at least", moves, closest)
	if moves != calls {
		t.Errorf("calls went from one node to another %d times, want %d", moves, calls)
	}
}

// baresip is one where the telephones of the boxes are, at an address there. It
// has an interface of its own, because it would choose that of a wire to a box.
func (b *boxes) baresip(name, host string, port int) siptest.Baresip {
	b.t.Helper()
	b.ip(b.phones, "link", "add", name, "type", "veth", "peer", "name", name+"-end")
	b.ip(b.phones, "address", "add", host+"/32", "dev", name)
	b.ip(b.phones, "link", "set", name, "up")
	b.ip(b.phones, "link", "set", name+"-end", "up")
	at := *b.phones
	at.Addr = host
	return siptest.Baresip{Netns: &at, Interface: name, Port: port}
}

func hostOf(addr string) string {
	host, _, _ := net.SplitHostPort(addr)
	return host
}
