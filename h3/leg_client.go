package h3

import (
	"context"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"riptide/bridge"
	"riptide/h3/agree"
	"riptide/h3/media"
)

// holdLimit is how long a call may be without a byway: the peer ends it then
// (core draft, "Lifecycle"), so we need not wait any longer.
const holdLimit = 30 * time.Second

// eventQueue is how many events may wait for the call; one place is kept for
// the last.
const eventQueue = 16

// clientLeg is an outgoing call. Its loop owns everything that has no lock.
type clientLeg struct {
	t     *trunk
	info  bridge.LegInfo
	first struct { // the agreement the call began with
		d    agree.Directives
		plan bridge.MediaPlan
	}
	tg      *url.URL
	jar     *cookieJar
	media   *callMedia
	mayAsk  gate        // of its media
	seat    *media.Seat // on a trunk session, if the call was made with one
	callTag uint64      // of the call there

	ctx  context.Context // of its life; Abandon cuts it short
	cut  context.CancelFunc
	left atomic.Bool // the call goes on elsewhere

	yielded atomic.Bool // and is heard on, until Abandon
	hears   bridge.Sink // of a call that was another process's: what is joined first
	detour  bridge.Sink // and the way to the peer meanwhile

	events chan bridge.Event
	ending chan bridge.Cause // the first End; further ones wait with it
	done   chan struct{}
	endErr error // of telling the peer; read after done

	replies chan error // what became of a transfer; one may be under way

	// Of the loop.
	past         []string // URIs of the handlers the call had before
	transferring bool
	rank         int // how far the call has come: rankProceeding…
	early        bool
	seen         seqFilter
	lastGood     time.Time         // when the byway last worked
	failures     int               // attempts to attach in a row that got no connection
	flaps        int               // links in a row that did not last
	known        bool              // the peer has had a byway of the call
	slow         int               // links in a row without an answer
	away         away              // since the last link
	sticky       bool              // cookies led to where it was
	stands       map[string]string // those cookies: others may have come with a response since
	acks         ackWatch
	heard        chan time.Time // when media came after a byway was opened again; one element

	resumed bool // another process had it

	keyed bool // we are an end of the call: sealed on the wire, clear at the bridge

	adapting    atomic.Bool  // the peer has been asked for other media
	adaptations chan adapted // one element

	mu      sync.Mutex // for Record
	desc    CallDescription
	tag     string   // of the agreement on media
	handler *handler // of the call
	uri     string
	epoch   uint64 // grows with every migration
	sent    uint64 // seq of the last event sent
	state   string
}

const (
	rankNone = iota
	rankProceeding
	rankAlerting
	rankAnswered
)

// outcome is how serving a link ended.
type outcome struct {
	over   bool          // the call is over
	cause  *bridge.Cause // of Ended; nil: we ended it, the bridge knows why
	moved  bool          // we are to attach anew
	silent bool          // because nothing is acknowledged where we are
	err    error         // the link is lost
}

func (l *clientLeg) Info() bridge.LegInfo        { return l.info }
func (l *clientLeg) Events() <-chan bridge.Event { return l.events }
func (l *clientLeg) Media() bridge.MediaPort     { return l.media }

// Progress is for incoming legs.
func (l *clientLeg) Progress(context.Context, bridge.Progress) error {
	return bridge.CauseInternal.With("call %s is outgoing: its progress comes from the peer", l.info.ID)
}

// Answer is for incoming legs.
func (l *clientLeg) Answer(context.Context, bridge.Answer) error {
	return bridge.CauseInternal.With("call %s is outgoing: it is answered by the peer", l.info.ID)
}

// End hangs up, or gives up before the answer. It returns when the peer has
// taken note, or when ctx ends; telling the peer goes on then for a while.
func (l *clientLeg) End(ctx context.Context, c bridge.Cause) error {
	select {
	case l.ending <- c:
	default:
	}
	select {
	case <-l.done:
		return l.endErr
	case <-ctx.Done():
		return bridge.CausePeerTimeout.With("trunk %q: end call %s: the peer has not confirmed it yet: %v", l.info.Trunk, l.info.ID, context.Cause(ctx))
	}
}

// run is the leg's loop: attach, serve, and attach anew after a loss, until the
// call is over.
func (l *clientLeg) run(ctx context.Context) {
	for {
		opened := l.t.client.cfg.Now()
		k := l.t.openLink(ctx, l.callURI(), l.tg.String(), l.jar)
		out := l.serve(ctx, k)
		if l.flaps++; l.t.client.cfg.Now().Sub(opened) > flapLimit {
			l.flaps = 0
		}
		if out.over {
			l.finish(out.cause)
			k.close(!l.left.Load())
			return
		}
		k.close(false)
		if out = l.betweenLinks(ctx, out); out.over {
			l.finish(out.cause)
			return
		}
		l.t.count(func(t *trunk) { t.reattached++ })
	}
}

// finish gives the last event and lets go of everything but the link.
func (l *clientLeg) finish(c *bridge.Cause) {
	if c != nil {
		l.events <- bridge.Event{Kind: bridge.Ended, At: l.t.client.cfg.Now(), Cause: *c} // its place is kept
	}
	close(l.events)
	close(l.done)
	l.cut()
	l.give(l.held())
	if !l.yielded.Load() {
		l.media.Close()
	}
}

// serve runs the call on one link.
func (l *clientLeg) serve(ctx context.Context, k *link) outcome {
	ping := time.NewTicker(pingPeriod)
	defer ping.Stop()
	watch := time.NewTicker(min(watchPeriod, l.t.silence()/4))
	defer watch.Stop()
	began := l.t.client.cfg.Now()
	var asked time.Time // for the first pong
	attached, ponged := false, false
	for {
		select {
		case r := <-k.in:
			switch {
			case r.attached:
				attached, asked = true, l.t.client.cfg.Now()
				l.attached(k)
			case r.err != nil:
				return l.lost(k, attached, r.err)
			case r.event.Type == eventPong:
				ponged = true
			default:
				l.lastGood = l.t.client.cfg.Now()
				if out := l.handle(ctx, k, r.event); out != nil {
					return *out
				}
			}
		case at := <-l.heard:
			l.heardAgain(at)
		case err := <-k.broken:
			return l.lost(k, attached, err)
		case err := <-l.replies:
			l.reply(k, err)
		case a := <-l.adaptations:
			if out := l.adaptedTo(ctx, k, a); out != nil {
				return *out
			}
		case c := <-l.ending:
			return l.hangUp(ctx, k, c)
		case <-ping.C:
			l.ping(k)
		case <-watch.C:
			age := l.t.client.cfg.Now().Sub(began)
			if attached && !ponged && l.t.client.cfg.Now().Sub(asked) > pongLimit {
				k.toSingle()
			}
			if out := l.overdue(ctx, k, attached, age); out != nil {
				return *out
			}
		case <-ctx.Done():
			return l.cutOff()
		}
	}
}

// attached goes on where the peer has a byway to answer on.
func (l *clientLeg) attached(k *link) {
	l.failures, l.slow = 0, 0
	l.stands = l.cookies()
	l.ping(k)
	l.media.Attached(l.place())
	l.back()
	l.sticky = l.sticky || l.jar.taught()
}

// overdue looks for what should have come by now; not nil: this link is done
// with.
func (l *clientLeg) overdue(ctx context.Context, k *link, attached bool, age time.Duration) *outcome {
	if !attached && age > l.patience() || k.silence() > silentLimit {
		out := l.lost(k, attached, bridge.CausePeerTimeout.With("trunk %q: GET %s is silent", l.info.Trunk, k.uri))
		return &out
	}
	if !attached {
		return nil
	}
	l.served(k)
	limit := l.t.mediaTimeout()
	switch l.acks.look(l.media.Stats().Sent, l.media.Quiet().Acked, l.t.client.cfg.Now().Add(-k.silence()), l.t.client.cfg.Now(), l.t.silence(), limit) {
	case acksDoubt:
		l.ping(k)
	case acksSilent:
		l.migrate("")
		l.awayFor(errUnacknowledged)
		return &outcome{moved: true, silent: true}
	case acksOver:
		c := bridge.CauseMediaLost.With("trunk %q: call %s: the peer takes events, but has acknowledged no media for %v (media-timeout of %s), and no other way helped",
			l.info.Trunk, l.info.ID, limit, l.tg).EndedBy(bridge.ByBridge)
		out := l.hangUp(ctx, k, c)
		out.cause = &c
		return &out
	}
	return nil
}

// served notes when the byway last worked: a call may be without for holdLimit,
// however long nothing but pings crossed it before.
func (l *clientLeg) served(k *link) {
	l.known, l.lastGood = true, l.t.client.cfg.Now().Add(-k.silence())
}

// lost is how serving a link ends that brings nothing any more.
func (l *clientLeg) lost(k *link, attached bool, err error) outcome {
	if attached {
		l.served(k)
		l.awayFor(err)
		if connectionGone(err) {
			// What carried media is gone, too. To open it anew before the server is
			// there again would be in vain, and spoil the verdict on its rung.
			l.media.Leave()
		}
	} else {
		l.slow++
	}
	return outcome{err: err}
}

// handle acts on an event of the peer; not nil: this link is done with.
func (l *clientLeg) handle(ctx context.Context, k *link, ev Event) *outcome {
	if ev.Direction == clientToServer || !l.seen.Fresh(ev.Seq) {
		return nil
	}
	switch ev.Type {
	case eventProceeding:
		return l.stateIs(ctx, k, rankProceeding, ev)
	case eventAlerting:
		return l.stateIs(ctx, k, rankAlerting, ev)
	case eventAnswered:
		return l.stateIs(ctx, k, rankAnswered, ev)
	case eventEnd, eventDeclined, eventFailed, eventNoAnswer:
		c := endOf(ev, bridge.ByCallee)
		return &outcome{over: true, cause: &c}
	case eventTransfer:
		l.transfer(k, ev)
	case eventMediaPanic:
		l.t.count(func(t *trunk) { t.mediaPanics++ })
		l.media.Panic()
	case eventPing:
		if len(ev.Nonce) > maxNonce {
			return nil
		}
		pong := l.event(eventPong)
		pong.Nonce = ev.Nonce
		k.post(pong)
	case eventHandlerChanged:
		return l.handlerChanged(ctx, k, ev)
	case eventMigrate:
		l.media.Stay()
		l.moves(ev.URI)
		return &outcome{moved: true}
	}
	return nil
}

// stateIs takes a state of the call, with the agreement it may bring.
func (l *clientLeg) stateIs(ctx context.Context, k *link, rank int, ev Event) *outcome {
	if ev.ETag != "" {
		if out := l.handlerChanged(ctx, k, ev); out != nil {
			return out
		}
	}
	return l.advance(rank, ev)
}

// advance passes progress on, once each: after an attachment the peer says
// again where the call stands.
func (l *clientLeg) advance(rank int, ev Event) *outcome {
	early := ev.Media && !l.early
	if rank < l.rank || rank == l.rank && !early {
		return nil
	}
	kind := [...]bridge.EventKind{rankProceeding: bridge.Proceeding, rankAlerting: bridge.Alerting, rankAnswered: bridge.Answered}[rank]
	l.rank, l.early = rank, l.early || ev.Media
	l.mu.Lock()
	l.state = ev.Type
	l.mu.Unlock()
	out := bridge.Event{Kind: kind, At: l.t.client.cfg.Now()}
	if rank == rankAnswered {
		facts := l.t.cfg.Facts.Accepted(ev.Facts.Cleaned())
		out.Facts = &facts
	}
	if l.early || rank == rankAnswered {
		_, plan := l.media.agreed.current()
		out.Plan = &plan
	}
	return l.tell(out)
}

// migrate leaves the place where the call was, which is of no use any more.
func (l *clientLeg) migrate(uri string) {
	l.media.Leave()
	l.moves(uri)
}

// moves takes a new call URI, if it is one that our token may go to
// (20-protocol.md A.4-42); the cookies of the old place do not lead there.
func (l *clientLeg) moves(uri string) {
	l.jar.Empty()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch++
	if u, err := sameSite(uri, l.tg); uri != "" && err == nil {
		l.uri = u.String()
	}
}

func (l *clientLeg) callURI() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.uri
}

// place is where the call is now, and the how manieth place that is.
func (l *clientLeg) place() (uri string, epoch uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.uri, l.epoch
}

// event makes the next event to send.
func (l *clientLeg) event(kind string) Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	return Event{Type: kind, Direction: clientToServer, Timestamp: l.t.client.cfg.Now().UTC(), Call: l.uri, Seq: l.sent}
}

func (l *clientLeg) ping(k *link) {
	ev := l.event(eventPing)
	ev.Nonce = strconv.FormatUint(ev.Seq, 36)
	k.post(ev)
}
