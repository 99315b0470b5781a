package sip

import (
	"math/rand/v2"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
)

// defaultProbeAfter is how long a peer in a call may be silent before it is
// asked whether it is still there. Muted and held calls are silent too, so this
// is only a question, and seldom put: peers that know no OPTIONS inside a call
// are spared it in all calls that somebody speaks in.
const defaultProbeAfter = 5 * time.Minute

// While a process is away nobody hears a BYE, and its sender gives up after 32 s
// (RFC 3261 section 17.1.2.2), or at once where its connection was closed. So a peer
// of whom nothing comes after a restart is asked soon, but only what it says counts:
// the network may need longer than we did to come back. In seconds.
const (
	resumedProbeAfter = 32
	// resumedSpread is within which time the peers of all calls are asked.
	resumedSpread = 30
)

// watchResumed looks after a call that was taken up again.
func (l *Leg) watchResumed() {
	since := l.spoke
	second := l.trunk.second
	l.after(min(resumedProbeAfter*second+time.Duration(rand.Int64N(resumedSpread*int64(second))), l.trunk.ProbeAfter), func() {
		if l.spoke.After(since) || l.media.port.LastHeard().After(since) {
			l.watch()
			return
		}
		l.ask(l.watch)
	})
}

// watch looks after an established call: a peer that lost its power says no
// BYE, and without this its calls would never end.
func (l *Leg) watch() {
	l.after(l.trunk.ProbeAfter, func() {
		if l.silent() {
			l.probe()
			return
		}
		l.failures = 0
		l.watch()
	})
}

// silent tells that neither media nor a request has come for as long as we are
// patient.
func (l *Leg) silent() bool { return l.unheardFor() >= l.trunk.ProbeAfter }

// unheardFor is since when nothing has come of the peer.
func (l *Leg) unheardFor() time.Duration {
	last := l.media.port.LastHeard()
	if l.spoke.After(last) {
		last = l.spoke
	}
	return time.Since(last)
}

// probe asks the peer by an OPTIONS within the dialog. Every answer shows that
// somebody is there, save those after which RFC 3261 section 12.2.1.2 has the
// dialog ended: 481, 408, and none.
func (l *Leg) probe() { l.ask(nil) }

// ask is probe; with unheard, which is run instead, only a 481 ends the call.
func (l *Leg) ask(unheard func()) {
	req := l.dlg.request(sipgo.OPTIONS)
	req.AppendHeader(acceptHeader)
	req.SetBody(nil)
	unanswered := l.unanswered
	if unheard != nil {
		unanswered = func(error) { unheard() }
	}
	f, err := l.route(l.dlg)
	if err == nil {
		err = l.request(l.dlg, req, f,
			func(res *sipgo.Response) {
				switch {
				case res.StatusCode < 200 || l.muted:
				case res.StatusCode == 481 && l.unmet():
					l.endUnknown("OPTIONS")
				case res.StatusCode == 481:
					l.gone("says that it knows of no such call (481)")
				case res.StatusCode == 408 && unheard != nil:
					unheard()
				case res.StatusCode == 408:
					l.gone("is reported not to answer (408)")
				default:
					l.failures = 0
					l.watch()
				}
			}, unanswered)
	}
	if err != nil {
		unanswered(err)
	}
}

// unanswered judges a probe without an answer. A connection that broke may be
// made anew the next time.
func (l *Leg) unanswered(err error) {
	l.failures++
	switch {
	case l.muted:
	case timedOut(err):
		l.gone("does not answer")
	case l.failures > 1:
		l.gone("cannot be reached: " + err.Error())
	default:
		l.watch()
	}
}

// gone ends a call whose peer is no longer in it.
func (l *Leg) gone(why string) {
	c := bridge.CauseSignallingLost.With("trunk %q at %s sent nothing for %v, and asked by OPTIONS it %s (is it running, and reachable?)",
		l.trunk.Name, l.flow.remote(), l.unheardFor().Round(time.Second), why).EndedBy(bridge.ByBridge)
	l.ended(c, nil)
	_ = l.bye(c) // perhaps somebody hears it after all
}
