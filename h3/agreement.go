package h3

import (
	"slices"
	"sync"
	"time"

	"riptide/bridge"
	"riptide/h3/agree"
	"riptide/h3/chunk/seal"
	"riptide/h3/media"
)

// oldMedia is how long media under former directives is still taken: it is on
// its way when new ones arrive.
const oldMedia = 5 * time.Second

// agreement is what the directives in force say, carried out by a port. It is
// the same at both ends of a call, seen from the other side.
type agreement struct {
	server bool
	port   *media.Port

	mu     sync.Mutex
	now    agree.Directives
	plan   bridge.MediaPlan
	audio  media.Streams // as the port was told
	video  media.Streams
	narrow *time.Timer // forgets the former directives
	closed bool
}

// session is our end of a call's encryption, nil without keys. The call goes by
// its trace: of what every hop hands on only that is the same at both ends.
func session(keys *seal.Ring, trace bridge.Trace, caller bool) *seal.Session {
	if keys == nil {
		return nil
	}
	return keys.Call(trace.ID, caller)
}

// newAgreement makes the media end of a call of its first directives.
func newAgreement(d agree.Directives, plan bridge.MediaPlan, cfg media.Config) *agreement {
	a := &agreement{server: cfg.Server, now: d, plan: plan}
	a.audio, a.video = a.streams(d)
	cfg.Audio, cfg.Video = a.audio, a.video
	a.port = media.NewPort(cfg)
	return a
}

// streams are what this end sends and what it receives.
func (a *agreement) streams(d agree.Directives) (audio, video media.Streams) {
	send, receive := agree.StreamsOf(d.ToServer), agree.StreamsOf(d.ToClient)
	if a.server {
		send, receive = receive, send
	}
	return both(send.Audio, receive.Audio), both(send.Video, receive.Video)
}

func both(send, receive agree.Stream) media.Streams {
	idle := bridge.PCMU
	if i := slices.IndexFunc(send.Codecs, func(c bridge.Codec) bool { return !c.Aside() }); i >= 0 {
		idle = send.Codecs[i]
	}
	return media.Streams{
		Idle:    idle,
		Send:    media.Stream{Source: send.Source, Sink: send.Sink},
		Receive: media.Stream{Source: receive.Source, Sink: receive.Sink},
		Accept:  receive.Codecs, Sealed: send.Sealed || receive.Sealed,
	}
}

// change puts other directives in force. What the peer sends under the former
// ones is taken for a while.
func (a *agreement) change(d agree.Directives, plan bridge.MediaPlan) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	if a.narrow != nil {
		a.narrow.Stop()
	}
	a.now, a.plan = d, plan
	audio, video := a.streams(d)
	a.direct(wider(audio, a.audio), wider(video, a.video))
	var timer *time.Timer
	timer = time.AfterFunc(oldMedia, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.narrow == timer && !a.closed {
			a.direct(audio, video)
		}
	})
	a.narrow = timer
}

// wider are streams that take what the former ones took, too.
func wider(now, former media.Streams) media.Streams {
	if now.Receive == former.Receive && now.Sealed == former.Sealed {
		now.Accept = slices.Clone(now.Accept)
		for _, c := range former.Accept {
			if !slices.Contains(now.Accept, c) {
				now.Accept = append(now.Accept, c)
			}
		}
	}
	return now
}

func (a *agreement) direct(audio, video media.Streams) {
	a.audio, a.video = audio, video
	a.port.Direct(audio, video)
}

// current is what is in force.
func (a *agreement) current() (agree.Directives, bridge.MediaPlan) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now, a.plan
}

// end lets go of the timer; the port is its owner's to close.
func (a *agreement) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	if a.narrow != nil {
		a.narrow.Stop()
	}
}

// agreementTag is the strong entity tag of a call: handler and directives, and
// nothing that changes by itself.
func agreementTag(handler, clientDirectives, serverDirectives string) string {
	return etagOf([]byte(handler + "\x00" + clientDirectives + "\x00" + serverDirectives))
}
