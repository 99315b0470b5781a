package sip

import (
	"context"
	"net/netip"
	"strings"
)

// tend starts what a trunk needs doing beside its calls: registering. It ends
// with retired, before the sockets close.
func (a *Agent) tend() {
	for _, t := range a.trunks {
		if _, err := netip.ParseAddr(strings.Trim(t.host, "[]")); err != nil && t.host != "" {
			l := t.located.Load()
			wait, lost := retryTTL, l == nil
			if !lost {
				wait = l.ttl
			}
			a.tended.Go(func() { a.follow(a.retired, t, wait, lost) })
		}
		if t.Probe > 0 && t.host != "" {
			a.tended.Go(func() { a.probe(a.retired, t) })
		}
		if r := t.registrant; r != nil {
			a.tended.Go(func() { r.run(a.retired) })
		}
	}
}

// retire ends it, and lets the peers know, while ctx lasts.
func (a *Agent) retire(ctx context.Context) {
	a.endTending()
	done := make(chan struct{})
	go func() {
		a.tended.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		a.stop() // and then they end at once
		<-done
	}
}

// TrunkState is how a trunk is, for metrics and readiness.
type TrunkState struct {
	Name       string
	Registers  bool // we register there
	Probed     bool // it is asked whether it lives
	Registered bool
	Users      int   // contacts of users who registered here
	Err        error // why no call can be placed there; nil = it can
}

// Trunks says how all trunks are.
func (a *Agent) Trunks() []TrunkState {
	out := make([]TrunkState, 0, len(a.trunks))
	for _, t := range a.trunks {
		s := TrunkState{Name: t.Name, Registers: t.registrant != nil, Probed: t.Probe > 0, Err: a.usable(t)}
		if s.Registers {
			s.Registered = t.registrant.state() == nil
		}
		if t.Accept != nil {
			s.Users = len(t.bindings.current(a.cfg.Now()))
		}
		out = append(out, s)
	}
	return out
}
