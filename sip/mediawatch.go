package sip

import (
	"time"

	"riptide/bridge"
)

// minMediaWatch is the shortest pause between two looks at the media.
const minMediaWatch = 100 * time.Millisecond

// mindMedia begins to look after the media of a call that was answered.
func (l *Leg) mindMedia() {
	l.media.since = time.Now()
	l.watchMedia()
}

// watchMedia ends a call whose peer sends nothing, on trunks that want that.
// Who does not have to send (hold, sendonly) is not missed, and whoever says
// nothing (mute, DTX) still shows by reports or comfort noise that it is there.
func (l *Leg) watchMedia() {
	limit := l.trunk.Media.Timeout
	if limit == 0 {
		return
	}
	l.after(max(limit/8, minMediaWatch), func() {
		if silent := l.mediaSilent(time.Now()); silent >= limit {
			l.noMedia(silent)
			return
		}
		l.watchMedia()
	})
}

// mediaSilent is for how long the peer has sent nothing although it should, 0 if
// it should not.
func (l *Leg) mediaSilent(now time.Time) time.Duration {
	if a := l.media.agreed; a == nil || !a.Audio.Direction.Receives() || l.media.held() {
		return 0
	}
	last := l.media.since // with a new agreement the time begins anew
	if heard := l.media.port.LastHeard(); heard.After(last) {
		last = heard
	}
	return now.Sub(last)
}

// noMedia ends the call.
func (l *Leg) noMedia(silent time.Duration) {
	st := l.media.port.Stats()
	c := bridge.CauseMediaLost.With("trunk %q at %s sent neither RTP nor RTCP for %v (media-timeout is %v): %s",
		l.trunk.Name, l.flow.remote(), silent.Round(time.Second), l.trunk.Media.Timeout, orElse(st.Words(time.Hour), "there was media before")).EndedBy(bridge.ByBridge)
	l.ended(c, nil)
	_ = l.bye(c)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
