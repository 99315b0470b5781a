package bridge

import "context"

// absent stands in the place of a leg that could not be continued, while its
// call ends. Nobody is there to be told.
type absent struct {
	rec    LegRecord
	events chan Event
}

func newAbsent(r LegRecord) *absent {
	a := &absent{r, make(chan Event)}
	close(a.events)
	return a
}

// Info is what the record says.
func (a *absent) Info() LegInfo {
	return LegInfo{ID: a.rec.ID, Protocol: a.rec.Protocol, Trunk: a.rec.Trunk, From: a.rec.From, To: a.rec.To}
}

// Events is closed.
func (a *absent) Events() <-chan Event { return a.events }

// Progress tells nobody.
func (a *absent) Progress(context.Context, Progress) error { return nil }

// Answer tells nobody.
func (a *absent) Answer(context.Context, Answer) error { return nil }

// End tells nobody.
func (a *absent) End(context.Context, Cause) error { return nil }

// Media is a port without a peer.
func (a *absent) Media() MediaPort { return noMedia{} }

// Record is as it was.
func (a *absent) Record() LegRecord { return a.rec }

// noMedia is the port of a leg that is not there.
type noMedia struct{}

// Push drops the frame.
func (noMedia) Push(*Frame) {}

// Join does nothing: nothing comes.
func (noMedia) Join(Sink) {}

// Stats counts nothing.
func (noMedia) Stats() MediaStats { return MediaStats{} }

var _ Leg = (*absent)(nil)
