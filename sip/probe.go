package sip

import (
	"context"
	"sync"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
)

// downAfter is how many probes in a row a target may leave without an answer.
// One answer brings it back.
const downAfter = 3

// probe asks every target of a trunk by OPTIONS whether it lives, every
// t.Probe. Any answer says that it does, but for 408 and 503 (RFC 3261 section
// 11.1 has others tell what it can do).
func (a *Agent) probe(ctx context.Context, t *trunk) {
	tick := time.NewTicker(t.Probe)
	defer tick.Stop()
	for {
		var all sync.WaitGroup
		for _, to := range t.known() {
			all.Go(func() {
				why := a.probeOne(ctx, t, to)
				if ctx.Err() == nil {
					t.probed(to, why)
				}
			})
		}
		all.Wait()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// probeOne sends one OPTIONS. It returns why the target counts as dead, "" if
// it lives.
func (a *Agent) probeOne(ctx context.Context, t *trunk, to target) string {
	ctx, cancel := context.WithTimeout(ctx, min(tryTimeout(), t.Probe))
	defer cancel()
	f, err := a.flowTo(ctx, t, to, 0)
	if err != nil {
		return err.Error()
	}
	seq := uint32(1)
	res, err := a.ask(ctx, t, a.optionsTo(t, f), f, &seq)
	switch {
	case err != nil:
		return "no answer to OPTIONS"
	case res.StatusCode == 408 || res.StatusCode == 503:
		return "OPTIONS is answered with " + res.StartLine()[len("SIP/2.0 "):]
	}
	return ""
}

// optionsTo is a probe.
func (a *Agent) optionsTo(t *trunk, f flow) *sipgo.Request {
	us := sipgo.Uri{Scheme: "sip", Host: f.self().host}
	them := sipgo.Uri{Scheme: "sip", Host: t.host, Port: int(t.port)}
	req := sipgo.NewRequest(sipgo.OPTIONS, them)
	from := &sipgo.FromHeader{Address: us}
	from.Params.Add("tag", newToken())
	forwards, id := sipgo.MaxForwardsHeader(70), sipgo.CallIDHeader(newToken()+"@"+us.Host)
	for _, h := range []sipgo.Header{
		&forwards, from, &sipgo.ToHeader{Address: *them.Clone()}, &id,
		&sipgo.CSeqHeader{SeqNo: 1, MethodName: sipgo.OPTIONS}, contact("", f, false), acceptHeader,
	} {
		req.AppendHeader(h)
	}
	req.SetBody(nil)
	return req
}

// probed notes the outcome of a probe, and writes of changes only.
func (t *trunk) probed(to target, why string) {
	if why == "" {
		t.succeeded(to)
	}
	switch t.standing.probed(to, why) {
	case wentDown:
		t.log.Warn("a server of the trunk is down", "trunk", t.Name, "target", to.String(), "why", why)
	case cameUp:
		t.log.Info("a server of the trunk is up again", "trunk", t.Name, "target", to.String())
	}
}

// change is what a probe did to a target.
type change uint8

const (
	noChange change = iota
	wentDown
	cameUp
)

func (s *standing) probed(to target, why string) change {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.of(to)
	if why == "" {
		was := r.down
		r.missed, r.down = 0, false
		if was {
			return cameUp
		}
		return noChange
	}
	s.why = why
	if r.missed++; r.missed == downAfter {
		r.down = true
		return wentDown
	}
	return noChange
}

// allDown tells that probes found none of the targets alive. The lock is held.
func (s *standing) allDown(targets []target) error {
	for _, to := range targets {
		if r := s.targets[to.reached()]; r == nil || !r.down {
			return nil
		}
	}
	if len(targets) == 0 {
		return nil
	}
	return bridge.CauseUnreachable.With("down: none of its %d addresses answers OPTIONS as it should; the last: %s", len(targets), s.why)
}
