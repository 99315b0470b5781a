package sip

import (
	"net/netip"
	"slices"
	"strings"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/policy"
)

// targetsOf is where a call to a trunk is to be tried, best first.
func (a *Agent) targetsOf(t *trunk, called policy.Number) ([]target, error) {
	targets := t.targets()
	if t.Accept != nil && t.Accept.Register {
		targets = append(t.registered(t.Numbers.Format(called)), targets...)
	}
	if err := a.possible(t, len(targets)); err != nil {
		return nil, err
	}
	targets, err := t.standing.order(targets, a.cfg.Now())
	if t.registrant != nil {
		home, _ := t.registrant.home()
		for i, to := range targets {
			if to.reached() == home.reached() {
				targets[0], targets[i] = to, targets[0]
			}
		}
	}
	return targets, err
}

// possible tells why a call to a trunk with so many targets need not be tried.
func (a *Agent) possible(t *trunk, targets int) error {
	switch {
	case t.registrant != nil && t.registrant.state() != nil:
		return t.registrant.state()
	case targets > 0:
		return nil
	case t.host != "":
		return bridge.CauseUnreachable.With("its peer's name %q does not resolve (trunks.%s.sip.peer)", t.host, t.Name)
	case t.Accept != nil && t.Accept.Register:
		return bridge.CauseUnreachable.With("nobody of it is registered (its users: trunks.%s.sip.accept.users)", t.Name)
	}
	return bridge.CauseUnreachable.With("it has no peer to send calls to (trunks.%s.sip.peer)", t.Name)
}

// usable tells why no call can be placed to a trunk just now.
func (a *Agent) usable(t *trunk) error {
	n := len(t.known())
	if t.Accept != nil && t.Accept.Register {
		n += len(t.bindings.current(a.cfg.Now()))
	}
	if err := a.possible(t, n); err != nil {
		return err
	}
	return t.standing.state(t.known(), a.cfg.Now())
}

// registered are the contacts of a trunk's users. A user whose name is the
// number that is called is meant alone; others are a PBX, which knows its
// numbers itself.
func (t *trunk) registered(called string) []target {
	list := t.bindings.current(t.now())
	meant := func(b binding) bool { return strings.TrimPrefix(b.User, "+") == strings.TrimPrefix(called, "+") }
	if slices.ContainsFunc(list, meant) {
		list = slices.DeleteFunc(list, func(b binding) bool { return !meant(b) })
	}
	out := make([]target, 0, len(list))
	for i := range list {
		b := &list[i]
		if over, err := parseTransport(b.Transport); err == nil {
			out = append(out, target{addr: b.way(over), over: over, binding: b})
		}
	}
	return out
}

// way is where requests to a binding are sent: to its contact, if it came from
// that host, and otherwise back where it came from, through whatever NAT or
// proxy is there.
func (b *binding) way(over transport) netip.AddrPort {
	var u sipgo.Uri
	if len(b.Path) > 0 || over != overUDP || sipgo.ParseUri(b.Contact, &u) != nil {
		return b.Received
	}
	if to, ok := hostPort(strings.Trim(u.Host, "[]"), u.Port, over); ok && to.Addr() == b.Received.Addr() {
		return to
	}
	return b.Received
}

// address turns an INVITE to a binding: to its contact (RFC 3261 section 16.5),
// with the number where the contact is that of a PBX, through the proxies that
// its registration came by.
func (b *binding) address(invite *sipgo.Request, called string) {
	var u sipgo.Uri
	if sipgo.ParseUri(b.Contact, &u) != nil {
		return
	}
	if b.Bulk || strings.TrimPrefix(b.User, "+") != strings.TrimPrefix(called, "+") {
		u.User = called // RFC 6140 section 5.3, and what trunks without it do
		u.UriParams.Remove("bnc")
	}
	invite.Recipient = u
	routeThrough(invite, b.Path)
}
