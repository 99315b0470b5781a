package h3

import (
	"context"
	"sync"
	"time"

	"riptide/bridge"
)

// Times of a call's signalling.
const (
	heartbeat       = 5 * time.Second  // something crosses each byway at least this often
	bywayDead       = 15 * time.Second // a byway silent for this long is gone
	bywayWrite      = 10 * time.Second // a client that does not read for this long is gone
	signallingGrace = 30 * time.Second // core draft, "Lifecycle": a call lives this long without byways
	storedLimit     = 5 * time.Second  // for the bridge to put a client's `end` on record
	toldLimit       = 2 * time.Second  // for open byways to carry the last event
)

// callEvents is how many events besides its end may wait for the bridge.
const callEvents = 4

// bywayQueue is how far a client may lag behind before its byway is cut; it
// opens another and gets the current state.
const bywayQueue = 64

// phase of a call. It only grows.
type phase uint8

const (
	live   phase = iota
	ending       // the peer ended it, the bridge was told
	over
)

// serverCall is a call as its client sees it: the resource, its state and its
// byways. Its leg shows the same call to the bridge.
type serverCall struct {
	id, uri    string
	client, tg string
	info       bridge.LegInfo
	media      *agreement
	now        func() time.Time
	maxByways  int
	retire     func(*serverCall) // called once, when the call is over

	facts bridge.FactPolicy

	// events is to the bridge. The last place is kept for the end.
	events chan bridge.Event
	ended  chan struct{} // closed when the phase is over
	left   chan struct{} // closed before, if the call goes on elsewhere
	leave  func(*serverCall)

	mu          sync.Mutex
	phase       phase
	desc        CallDescription
	terms       terms
	last        Event  // the latest state event: what a new byway begins with
	changed     Event  // the latest change of the agreement, if there was one: what follows it
	unconfirmed string // tag of an agreement that is not announced yet
	seq         uint64
	heard       seqFilter
	byways      map[*reverseByway]struct{}
	attached    uint64 // reverse byways opened so far
	puts        int
	lost        *time.Timer
	told        chan struct{} // closed when the last byway of a call that is over has gone

	transferring bool
}

// reverseByway is one open GET events.
type reverseByway struct {
	queue  chan *Event   // not to be changed: other byways have the same one
	behind chan struct{} // closed: the queue was full
}

// newServerCall makes a call that is proceeding. Its port is set before anybody
// else sees it.
func newServerCall(desc CallDescription, info bridge.LegInfo, now func() time.Time) *serverCall {
	c := blankServerCall(desc, info, now)
	c.announce(Event{Type: eventProceeding})
	return c
}

// blankServerCall makes a call of which nothing has been announced yet.
func blankServerCall(desc CallDescription, info bridge.LegInfo, now func() time.Time) *serverCall {
	c := &serverCall{
		uri: desc.URI, desc: desc, info: info, now: now,
		events: make(chan bridge.Event, 1+callEvents),
		ended:  make(chan struct{}),
		left:   make(chan struct{}),
		leave:  func(*serverCall) {},
		byways: map[*reverseByway]struct{}{},
		told:   make(chan struct{}),
		retire: func(*serverCall) {},
	}
	c.lost = time.AfterFunc(signallingGrace, c.signallingLost)
	return c
}

// announce gives an event the next number and sends it on every byway. State
// events become the state. The caller holds mu, or is alone.
func (c *serverCall) announce(ev Event) Event {
	c.seq++
	ev.Direction, ev.Call, ev.Seq, ev.Timestamp = serverToClient, c.uri, c.seq, c.now().UTC()
	if stateEvent(ev.Type) {
		c.last = ev
		c.desc.State = ev.Type
	}
	for b := range c.byways {
		select {
		case b.queue <- &ev:
		default:
			delete(c.byways, b)
			close(b.behind)
		}
	}
	return ev
}

// progress announces how far the call is, unless the client knows it already.
// A call that rings goes on ringing: 183 after 180 is an announcement.
func (c *serverCall) progress(p bridge.Progress) error {
	alerting, early := p.Alerting, p.Early != nil
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != live {
		return bridge.CauseCancelled.With("the caller has ended call %s", c.uri)
	}
	if early {
		if err := c.replan(*p.Early); err != nil {
			return err
		}
	}
	state := eventProceeding
	if alerting || c.desc.State == eventAlerting {
		state = eventAlerting
	}
	early = early || c.last.Media
	if c.desc.State == eventAnswered || (c.last.Type == state && c.last.Media == early) {
		return nil
	}
	c.announce(Event{Type: state, Media: early})
	return nil
}

func (c *serverCall) answer(a bridge.Answer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != live {
		return bridge.CauseCancelled.With("the caller has ended call %s", c.uri)
	}
	if err := c.replan(a.Media); err != nil {
		return err
	}
	if c.desc.State != eventAnswered {
		c.desc.Facts = c.facts.Sendable(a.Facts)
		c.announce(Event{Type: eventAnswered, Facts: c.desc.Facts})
		c.desc.Answered = c.last.Timestamp
	}
	return nil
}

// hangUp tells the bridge that the peer ended the call. The channel returned
// is closed when that is on record; it is nil if the call had ended before.
func (c *serverCall) hangUp(cause bridge.Cause) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != live {
		return nil
	}
	c.phase = ending
	stored := make(chan struct{})
	c.events <- bridge.Event{
		Kind: bridge.Ended, At: c.now(), Cause: cause,
		Stored: sync.OnceFunc(func() { close(stored) }),
	}
	return stored
}

// clientEnds handles the client's `end`. It returns when the end is on record,
// so that ending the byway acknowledges it.
func (c *serverCall) clientEnds(ctx context.Context, ev Event) {
	cause := endOf(ev, bridge.ByCaller)
	c.mu.Lock()
	if c.desc.Answered.IsZero() && cause.Code == bridge.CauseNormal.Code {
		cause.Code = bridge.CauseCancelled.Code
	}
	c.mu.Unlock()
	stored := c.hangUp(cause)
	if stored == nil {
		return
	}
	limit := time.NewTimer(storedLimit)
	defer limit.Stop()
	select {
	case <-stored:
	case <-c.ended:
	case <-limit.C:
	case <-ctx.Done():
	}
	c.finish(cause)
}

// signallingLost ends a call that no byway has been open on for too long.
func (c *serverCall) signallingLost() {
	c.mu.Lock()
	abandoned := c.puts == 0 && len(c.byways) == 0
	c.mu.Unlock()
	if abandoned {
		c.hangUp(bridge.CauseSignallingLost.With(
			"trunk %q: the peer has kept no event byway of the call open for %v (is it running, and does UDP or TCP pass between us?)", c.info.Trunk, signallingGrace).EndedBy(bridge.ByBridge))
	}
}

// finish makes the call over: its last event is announced, its media stops.
func (c *serverCall) finish(cause bridge.Cause) {
	c.mu.Lock()
	if c.phase == over {
		c.mu.Unlock()
		return
	}
	c.phase = over
	c.lost.Stop()
	answered := !c.desc.Answered.IsZero()
	c.desc.Reason = reasonOf(cause)
	c.announce(Event{Type: cause.RIPTEvent(answered), Reason: c.desc.Reason, EndedBy: cause.By})
	c.desc.State = "ended"
	c.desc.EndedAt = c.last.Timestamp
	c.desc.EndedBy = cause.By
	close(c.events)
	close(c.ended)
	c.settle()
	c.mu.Unlock()
	c.media.end()
	c.media.port.Close()
	c.retire(c)
}

// waitTold waits until the open byways have carried the last event.
func (c *serverCall) waitTold(ctx context.Context) error {
	limit := time.NewTimer(toldLimit)
	defer limit.Stop()
	select {
	case <-c.told:
	case <-limit.C: // the client finds a call that does not exist any more
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// mediaPanic asks the client for parked GETs: media could not be sent.
func (c *serverCall) mediaPanic() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase == live {
		c.announce(Event{Type: eventMediaPanic})
	}
}

// settle keeps the clock of the signalling and tells waitTold when the last
// byway has gone. The caller holds mu.
func (c *serverCall) settle() {
	open := c.puts + len(c.byways)
	switch {
	case c.phase == over && len(c.byways) == 0:
		select {
		case <-c.told:
		default:
			close(c.told)
		}
	case c.phase != live:
	case open > 0:
		c.lost.Stop()
	default:
		c.lost.Reset(signallingGrace)
	}
}

// openReverse opens a byway to the client; its queue begins with the current
// state, under the number it had.
func (c *serverCall) openReverse() (*reverseByway, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.admitByway(); err != nil {
		return nil, err
	}
	b := &reverseByway{queue: make(chan *Event, bywayQueue), behind: make(chan struct{})}
	// Who was away when the agreement changed follows all the same: the state
	// says it, so that an answer is not taken for one on the former directives.
	state := c.last
	state.agreedIn(c.changed)
	b.queue <- &state
	if c.changed.Seq > 0 {
		changed := c.changed
		b.queue <- &changed
	}
	c.byways[b] = struct{}{}
	c.attached++
	c.settle()
	return b, nil
}

func (c *serverCall) closeReverse(b *reverseByway) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byways, b)
	c.settle()
}

// openForward counts a PUT events.
func (c *serverCall) openForward() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.admitByway(); err != nil {
		return err
	}
	c.puts++
	c.settle()
	return nil
}

func (c *serverCall) closeForward() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.puts--
	c.settle()
}

func (c *serverCall) admitByway() error {
	if c.phase == over {
		return bridge.Cause{Code: "call-ended"}.With("the call has ended")
	}
	if c.puts+len(c.byways) >= c.maxByways {
		return bridge.Cause{Code: "rate-limited"}.With("the call has %d byways open, which is the limit", c.maxByways)
	}
	return nil
}

// command handles one event of the client. Several PUTs may bring the same.
func (c *serverCall) command(ctx context.Context, ev Event) {
	c.mu.Lock()
	fresh := c.heard.Fresh(ev.Seq)
	switch {
	case !fresh || c.phase != live:
	case ev.Type == eventPing && len(ev.Nonce) <= maxNonce:
		c.announce(Event{Type: eventPong, Nonce: ev.Nonce})
	case ev.Type == eventTransfer:
		c.transfer(ev)
	}
	c.mu.Unlock()
	// That a party wants to end the call must not be lost to a client that
	// began to count anew; ending twice does no harm.
	if ev.Type == eventEnd {
		c.clientEnds(ctx, ev)
	}
}

// describe is the call's document.
func (c *serverCall) describe() CallDescription {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.desc
	d.ETag = c.tag()
	return d
}
