package bridgetest

import (
	"context"
	"fmt"
	"sync"

	"riptide/bridge"
)

// Dialer dials scripted legs.
type Dialer struct {
	// OnDial, if not nil, decides what a Dial gives. Otherwise every Dial gives
	// a new Leg, to be had from Next.
	OnDial func(ctx context.Context, in bridge.Intent) (bridge.Leg, error)

	// OnResume, if not nil, decides what a Resume gives, in the same way.
	OnResume func(ctx context.Context, r bridge.Resumption) (bridge.Leg, error)

	mu      sync.Mutex
	intents []bridge.Intent
	resumed []bridge.Resumption
	next    chan *Leg
}

// NewDialer makes a dialer that gives new legs; 64 may wait to be taken by Next.
func NewDialer() *Dialer { return &Dialer{next: make(chan *Leg, legEvents)} }

// Dial records the intent and gives a leg.
func (d *Dialer) Dial(ctx context.Context, in bridge.Intent) (bridge.Leg, error) {
	d.mu.Lock()
	d.intents = append(d.intents, in)
	n := len(d.intents)
	d.mu.Unlock()
	if d.OnDial != nil {
		return d.OnDial(ctx, in)
	}
	leg := NewLeg(bridge.LegInfo{
		ID: fmt.Sprintf("dialled-%d", n), Protocol: "script", Trunk: in.Trunk,
		From: in.From, To: in.To, Media: in.Media, Hops: in.Hops,
	})
	return d.hand(leg)
}

// Resume records what it is given, and gives a leg with its facts.
func (d *Dialer) Resume(ctx context.Context, r bridge.Resumption) (bridge.Leg, error) {
	d.mu.Lock()
	d.resumed = append(d.resumed, r)
	d.mu.Unlock()
	if d.OnResume != nil {
		return d.OnResume(ctx, r)
	}
	return d.hand(ResumedLeg(r))
}

// ResumedLeg is a leg with the facts of a record.
func ResumedLeg(r bridge.Resumption) *Leg {
	leg := NewLeg(bridge.LegInfo{ID: r.ID, Protocol: r.Protocol, Trunk: r.Trunk, From: r.From, To: r.To})
	leg.state = r.LegRecord
	r.Hear(leg.media)
	return leg
}

func (d *Dialer) hand(leg *Leg) (bridge.Leg, error) {
	select {
	case d.next <- leg:
		return leg, nil
	default:
		return nil, bridge.CauseOverloaded.With("bridgetest: %d dialled legs wait to be taken with Next", cap(d.next))
	}
}

// Next is the next leg that was dialled or resumed.
func (d *Dialer) Next(ctx context.Context) (*Leg, error) {
	select {
	case leg := <-d.next:
		return leg, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("nothing was dialled: %w", context.Cause(ctx))
	}
}

// Intents is what was dialled so far.
func (d *Dialer) Intents() []bridge.Intent {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]bridge.Intent(nil), d.intents...)
}

// Resumed is what was resumed so far.
func (d *Dialer) Resumed() []bridge.Resumption {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]bridge.Resumption(nil), d.resumed...)
}

// Acceptor takes the legs of an edge under test and hands them to the test.
type Acceptor struct {
	legs chan bridge.Leg
	mu   sync.Mutex
	err  error
}

// NewAcceptor makes an acceptor; 64 legs may wait to be taken by Next.
func NewAcceptor() *Acceptor { return &Acceptor{legs: make(chan bridge.Leg, legEvents)} }

// Refuse makes later legs be refused with err; nil accepts again.
func (a *Acceptor) Refuse(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
}

// Accept hands the leg to Next.
func (a *Acceptor) Accept(_ context.Context, leg bridge.Leg) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return a.err
	}
	select {
	case a.legs <- leg:
		return nil
	default:
		return bridge.CauseOverloaded.With("bridgetest: %d legs wait to be taken with Next", cap(a.legs))
	}
}

// Next is the next leg that arrived.
func (a *Acceptor) Next(ctx context.Context) (bridge.Leg, error) {
	select {
	case leg := <-a.legs:
		return leg, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("no leg arrived: %w", context.Cause(ctx))
	}
}

var (
	_ bridge.Dialer   = (*Dialer)(nil)
	_ bridge.Resumer  = (*Dialer)(nil)
	_ bridge.Acceptor = (*Acceptor)(nil)
)
