package bridgetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"riptide/bridge"
)

// Act is one thing that a call did to a leg.
type Act struct {
	Kind     ActKind
	Progress bridge.Progress  // of Progressed
	Plan     bridge.MediaPlan // of Accepted
	Facts    bridge.Facts     // of Accepted
	Cause    bridge.Cause     // of Finished

	Offer bridge.MediaOffer // of Adapted
}

// ActKind says what a call did.
type ActKind string

// What a call can do to a leg.
const (
	Progressed ActKind = "progress"
	Accepted   ActKind = "answer"
	Finished   ActKind = "end"
	Adapted    ActKind = "adapt"
	Abandoned  ActKind = "abandon"
	Yielded    ActKind = "yield"
)

// legEvents bounds the events a script may send ahead of the call.
const legEvents = 64

// Leg is a leg whose peer is the test's script: Send is what the peer does, Acts
// is what the call did, Peer is the peer's end of the media.
type Leg struct {
	info   bridge.LegInfo
	events chan bridge.Event
	media  *Port
	peer   *Port

	mu    sync.Mutex
	over  bool
	acts  []Act
	more  chan struct{} // closed and replaced when acts grows
	fail  map[ActKind]error
	state bridge.LegRecord
	stays atomic.Bool
}

// NewLeg makes a leg with the given facts.
func NewLeg(info bridge.LegInfo) *Leg {
	media, peer := NewPipe()
	return &Leg{
		info:   info,
		events: make(chan bridge.Event, legEvents),
		media:  media,
		peer:   peer,
		more:   make(chan struct{}),
		fail:   map[ActKind]error{},
		state: bridge.LegRecord{
			Protocol: info.Protocol, Trunk: info.Trunk, ID: info.ID, From: info.From, To: info.To,
		},
	}
}

// Send makes the peer do something. Ended closes the leg. It panics when the
// leg is over, or when the call has left 64 events unread: both are a mistake in
// the script, or the call's failure to listen.
func (l *Leg) Send(e bridge.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		panic(fmt.Sprintf("bridgetest: leg %s is over, it cannot send %v", l.info.ID, e.Kind))
	}
	if e.At.IsZero() {
		e.At = time.Now()
	}
	select {
	case l.events <- e:
	default:
		panic(fmt.Sprintf("bridgetest: leg %s: nobody reads its events", l.info.ID))
	}
	if e.Kind == bridge.Ended {
		l.over = true
		close(l.events)
	}
}

// Ring is Send of Alerting.
func (l *Leg) Ring() { l.Send(bridge.Event{Kind: bridge.Alerting}) }

// PickUp is Send of Answered with a plan.
func (l *Leg) PickUp(plan bridge.MediaPlan) {
	l.Send(bridge.Event{Kind: bridge.Answered, Plan: &plan})
}

// HangUp is Send of Ended, with a function called when that is on record.
func (l *Leg) HangUp(c bridge.Cause, stored func()) {
	l.Send(bridge.Event{Kind: bridge.Ended, Cause: c, Stored: stored})
}

// Fail makes every later act of a kind return err; nil mends it.
func (l *Leg) Fail(kind ActKind, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail[kind] = err
}

// Peer is the peer's end of the leg's media.
func (l *Leg) Peer() *Port { return l.peer }

// Acts is what the call did so far, in order.
func (l *Leg) Acts() []Act {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Act(nil), l.acts...)
}

// Await waits until the call has done something of a kind, and returns the first
// such act.
func (l *Leg) Await(ctx context.Context, kind ActKind) (Act, error) {
	for {
		l.mu.Lock()
		acts, more := l.acts, l.more
		l.mu.Unlock()
		for _, a := range acts {
			if a.Kind == kind {
				return a, nil
			}
		}
		select {
		case <-ctx.Done():
			return Act{}, fmt.Errorf("leg %s waits for %s, the call did %v: %w", l.info.ID, kind, acts, context.Cause(ctx))
		case <-more:
		}
	}
}

func (l *Leg) act(ctx context.Context, a Act) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s of leg %s: %w", a.Kind, l.info.ID, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acts = append(l.acts, a)
	close(l.more)
	l.more = make(chan struct{})
	return l.fail[a.Kind]
}

// Info is what NewLeg was given.
func (l *Leg) Info() bridge.LegInfo { return l.info }

// Events is what the script sends.
func (l *Leg) Events() <-chan bridge.Event { return l.events }

// Progress records the act.
func (l *Leg) Progress(ctx context.Context, p bridge.Progress) error {
	return l.act(ctx, Act{Kind: Progressed, Progress: p})
}

// Answer records the act.
func (l *Leg) Answer(ctx context.Context, a bridge.Answer) error {
	l.mu.Lock()
	l.state.Plan = &a.Media
	l.mu.Unlock()
	return l.act(ctx, Act{Kind: Accepted, Plan: a.Media, Facts: a.Facts})
}

// End records the act and closes the leg.
func (l *Leg) End(ctx context.Context, c bridge.Cause) error {
	err := l.act(ctx, Act{Kind: Finished, Cause: c})
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over {
		l.over = true
		close(l.events)
	}
	return err
}

// Abandon records the act and closes the leg.
func (l *Leg) Abandon() { l.letGo(Abandoned) }

// Stays is what SetStays said.
func (l *Leg) Stays() bool { return l.stays.Load() }

// SetStays has an exchange with the peer be under way, or not.
func (l *Leg) SetStays(v bool) { l.stays.Store(v) }

// Yield records the act and closes the leg. What its peer sends is heard on.
func (l *Leg) Yield(bridge.Sink) bridge.LegRecord {
	l.letGo(Yielded)
	return l.Record()
}

func (l *Leg) letGo(how ActKind) {
	_ = l.act(context.Background(), Act{Kind: how}) // a script may have it fail, which nobody is told
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over {
		l.over = true
		close(l.events)
	}
}

// Adapt records the act. What the peer makes of it is the script's to Send.
func (l *Leg) Adapt(ctx context.Context, o bridge.MediaOffer) error {
	return l.act(ctx, Act{Kind: Adapted, Offer: o})
}

// Change is Send of MediaChanged with a plan.
func (l *Leg) Change(plan bridge.MediaPlan) {
	l.Send(bridge.Event{Kind: bridge.MediaChanged, Plan: &plan})
}

// Media is the call's end of the media.
func (l *Leg) Media() bridge.MediaPort { return l.media }

// Record is the leg's facts and plan.
func (l *Leg) Record() bridge.LegRecord {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

var (
	_ bridge.Leg     = (*Leg)(nil)
	_ bridge.Adapter = (*Leg)(nil)
	_ bridge.Yielder = (*Leg)(nil)
)
