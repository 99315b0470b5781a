package h3

import (
	"riptide/bridge"
	"riptide/policy"
)

// transfer hands the client's wish for another destination to the bridge, which
// says once what became of it. The caller holds mu.
func (c *serverCall) transfer(ev Event) {
	target, err := policy.ParseNumber(string(ev.Destination))
	switch {
	case err != nil:
		c.transferred(bridge.CauseTransferRefused.With("destination is neither an E.164 number with its plus nor number@domain"))
		return
	case c.desc.State != eventAnswered || c.transferring || len(c.events) >= callEvents:
		c.transferred(bridge.CauseTransferRefused.With("the call is not answered, or is being transferred already"))
		return
	}
	c.transferring = true
	c.events <- bridge.Event{
		Kind: bridge.Transfer, At: c.now(), Target: target,
		Transferred: func(err error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.transferring = false
			if c.phase != over {
				c.transferred(err)
			}
		},
	}
}

// transferred announces what became of a transfer. The caller holds mu.
func (c *serverCall) transferred(err error) {
	if err == nil {
		c.announce(Event{Type: eventTransferDone})
		return
	}
	c.announce(Event{Type: eventTransferRefused, Reason: reasonOf(bridge.CauseOf(err))})
}

// stateEvent tells the events that say where a call stands.
func stateEvent(kind string) bool {
	switch kind {
	case eventProceeding, eventAlerting, eventAnswered, eventDeclined, eventFailed, eventNoAnswer, eventEnd:
		return true
	}
	return false
}
