package sip

import (
	"context"
	"time"
)

const (
	// claimTimeout is how long a request within a call waits for the call to be
	// taken over: less than its sender waits for an answer.
	claimTimeout = 10 * time.Second
	// maxClaiming bounds the requests that wait in one mailbox.
	maxClaiming = 16
)

// claiming is a call that is being taken over from another node, and the requests
// that wait for it, in their order. It belongs to its mailbox.
type claiming struct {
	waiting []func(error)
	first   bool // one of them comes before we say where we are: our answer does that, or it hangs up
}

// claim asks whether a call that we do not know of is another node's, to be taken
// over (Config.Claim). then is run in the mailbox when that is settled: the leg is
// there, or never will be, or nobody could say. It tells false where nobody can be
// asked.
func (m *mailbox) claim(then func(error)) bool {
	a := m.agent
	if a.cfg.Claim == nil {
		return false
	}
	if c := m.claims; c != nil {
		if len(c.waiting) >= maxClaiming {
			return false
		}
		c.waiting = append(c.waiting, then)
		return true
	}
	c := &claiming{waiting: []func(error){then}}
	m.claims = c
	started := a.work.Go(func() {
		ctx, cancel := context.WithTimeout(a.base, claimTimeout)
		defer cancel()
		_, err := a.cfg.Claim(ctx, m.callID)
		m.post(func() {
			m.claims = nil
			for _, f := range c.waiting {
				f(err)
			}
		})
	})
	if !started {
		m.claims = nil
	}
	return started
}
