package h3

import (
	"riptide/bridge"
	"riptide/policy"
)

// transfer hands the peer's wish for another destination to the bridge, which
// says once what became of it.
func (l *clientLeg) transfer(k *link, ev Event) {
	target, err := policy.ParseNumber(string(ev.Destination))
	switch {
	case err != nil:
		l.reply(k, bridge.CauseTransferRefused.With("destination is neither an E.164 number with its plus nor number@domain"))
		return
	case l.rank != rankAnswered || l.transferring || len(l.events) >= eventQueue-1:
		l.reply(k, bridge.CauseTransferRefused.With("the call is not answered, or is being transferred already"))
		return
	}
	l.transferring = true
	l.events <- bridge.Event{
		Kind: bridge.Transfer, At: l.t.client.cfg.Now(), Target: target,
		Transferred: func(err error) {
			select {
			case l.replies <- err:
			case <-l.done:
			}
		},
	}
}

// reply tells the peer what became of its transfer. A link that is lost just
// now loses the reply too; the peer then sees by the call's end, or by its going
// on, how it went.
func (l *clientLeg) reply(k *link, err error) {
	l.transferring = false
	ev := l.event(eventTransferDone)
	if err != nil {
		ev.Type, ev.Reason = eventTransferRefused, reasonOf(bridge.CauseOf(err))
	}
	k.post(ev)
}

// replyLast sends a reply that is waiting before the leg ends.
func (l *clientLeg) replyLast(k *link) {
	if k == nil {
		return
	}
	select {
	case err := <-l.replies:
		l.reply(k, err)
	default:
	}
}
