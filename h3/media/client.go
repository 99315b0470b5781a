package media

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/quic-go/webtransport-go"
)

// Doer sends a request, with the authorisation of the call's trunk, on a
// connection that has a free stream. It blocks for one no longer than the
// request's context lasts. The stream is in use until the response's body is
// closed.
type Doer interface {
	Do(r *http.Request) (*http.Response, error)
}

// Dialer opens a WebTransport session on a pooled connection, with the
// authorisation of the call's trunk. The pool keeps the calls on a connection
// few: about ten, because one congestion window serves them all.
type Dialer interface {
	Session(ctx context.Context, url string, h http.Header) (*webtransport.Session, error)
}

// Joiner puts the call on a trunk session, by POST to the call's URI, and
// returns its tag there.
type Joiner interface {
	Join(ctx context.Context, session string, h http.Header) (tag uint64, err error)
}

// Conns is what a Client needs of the connections to the server.
type Conns interface {
	Doer
	Dialer
	Joiner
}

// Options of a Client. The zero value is right for a new call.
type Options struct {
	// Rungs the call may use, the best first; empty means all of them.
	Rungs []Rung
	// Parked is how many GETs the server wants parked at most; 0 is
	// DefaultParked.
	Parked int
	// Draft says that the server knows the draft only, where it is promised that
	// many GETs. In our profile they are as many as the round trip needs.
	Draft bool
	// Epoch to begin with: after a migration one more than Client.Epoch of the
	// Client before.
	Epoch uint64
	// Hurry says that the call runs and is silent, most likely with many others: it
	// has media again by as little as will do, and the rest later.
	Hurry bool
	// Ladder remembers what works; nil remembers nothing.
	Ladder *Ladder
	// Sessions are the trunk sessions to the call's TG; nil: there are none.
	Sessions *Sessions
	// Seat and Tag are the call's place on one of them, if the request that made
	// the call has given it one. The Client releases the seat.
	Seat *Seat
	Tag  uint64
}

// DefaultParked is how many GETs a client parks on a call at most.
const DefaultParked = 20

const (
	dialBudget  = 500 * time.Millisecond // for a rung to be there again; then requests carry the media until it is
	firstBudget = time.Second            // the same for one that works, at the start of a call
	dialLimit   = 3 * time.Second        // then it is not coming
	overlap     = 2 * time.Second        // how long the old carrier is listened to after a change
	retryFirst  = 2 * time.Second        // to a rung that has failed
	retryLast   = time.Minute
	watchEvery  = time.Second
	deadCarrier = 3 * time.Second // without a sign of life, while we send
)

// Client carries a call's media to a server, on the best rung of the ladder
// that works. It climbs and falls while the call runs: the new carrier is there
// before the old one goes.
type Client struct {
	conns     Conns
	url       string
	authority string
	p         *Port
	opt       Options

	ctx      context.Context
	cancel   context.CancelFunc
	done     chan struct{}
	ending   sync.WaitGroup // old carriers, while they are listened to
	panics   chan struct{}  // one element: the server had no GET to send on
	stays    chan chan<- uint64
	carrying chan struct{} // closed when something carries, for the first time
	carried  sync.Once

	// Of run.
	epoch   uint64 // the highest used
	started bool   // it was used
	staying bool   // nothing is opened any more
	wide    bool   // no hurry any more
	now     *riding
	attempt *attempt
	due     time.Time // when requests have to take over, if nothing is there by then
	retry   [len(rungs)]struct {
		at   time.Time // not before
		wait time.Duration
	}
}

// way is an open carrier of a client, and what keeps it open.
type way interface {
	carrier() carrier      // that of the port
	over() <-chan struct{} // closed when it carries no more
	move() <-chan struct{} // closed when another of the same rung would be better; nil: never
	close()                // ends it and waits
}

// riding is the way in use.
type riding struct {
	way
	since time.Time
}

func (r *riding) rung() Rung { return r.carrier().about().rung }

// attempt is the opening of a way, in the background.
type attempt struct {
	rung   Rung
	epoch  uint64
	cancel context.CancelFunc
	result chan opened
}

type opened struct {
	way way
	err error
}

// Dial starts to carry the media of the call at uri, {call}/media. It returns
// at once. If the best rung is not there soon, or nothing is known of the peer
// yet, requests carry the media until it is. The Client ends with ctx, with p,
// or by Close.
func Dial(ctx context.Context, conns Conns, uri string, p *Port, opt Options) (*Client, error) {
	u, err := url.Parse(uri)
	if err == nil && (u.Scheme != "https" || u.Host == "") {
		err = fmt.Errorf("%q is no https URI", uri)
	}
	if err != nil {
		opt.Seat.Release()
		return nil, fmt.Errorf("media of call: %w", err)
	}
	if len(opt.Rungs) == 0 {
		opt.Rungs = Rungs(Auto)
	}
	if opt.Ladder == nil {
		opt.Ladder = &Ladder{}
	}
	ctx, cancel := context.WithCancel(ctx)
	c := &Client{
		conns: conns, url: uri, authority: Authority(u), p: p, opt: opt,
		ctx: ctx, cancel: cancel, done: make(chan struct{}), panics: make(chan struct{}, 1), epoch: opt.Epoch,
		stays: make(chan chan<- uint64), carrying: make(chan struct{}),
	}
	go c.run()
	return c, nil
}

// Authority is the host and port of a URI, as the Ladder knows it.
func Authority(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	return u.Host + ":443"
}

// Close ends the carriers and waits until they have.
func (c *Client) Close() {
	c.cancel()
	<-c.done
}

// Epoch is the highest epoch the Client has used. It may be called after Close.
func (c *Client) Epoch() uint64 {
	<-c.done
	return c.epoch
}

// run owns the carriers.
func (c *Client) run() {
	defer close(c.done)
	stop := context.AfterFunc(c.p.ctx, c.cancel)
	defer stop()
	defer c.end()
	c.begin()
	watch := time.NewTicker(watchEvery)
	defer watch.Stop()
	for c.ctx.Err() == nil {
		c.climb()
		due := c.fallBack()
		over, move := c.signals()
		var result <-chan opened
		if c.attempt != nil {
			result = c.attempt.result
		}
		select {
		case <-c.ctx.Done():
		case o := <-result:
			c.arrived(o)
		case epoch := <-c.stays:
			c.stay()
			epoch <- c.epoch
		case <-over:
			c.lost()
		case <-move:
		case <-due:
		case <-c.panics:
			if c.now != nil {
				if q, ok := c.now.carrier().(*requests); ok {
					q.panicked()
				}
			}
		case <-watch.C:
			c.watch()
		}
	}
}

// begin takes the seat that came with the call, or decides how long to wait for
// the best rung.
func (c *Client) begin() {
	if c.opt.Seat != nil {
		if c.opt.Seat.take(c.p, c.opt.Tag, c.nextEpoch()) {
			c.ride(seatWay{c.opt.Seat})
			return
		}
		c.opt.Seat.Release()
	}
	budget := firstBudget
	if c.opt.Epoch > 0 {
		budget = dialBudget // the call runs, and somebody is listening to the silence
	}
	c.due = time.Now().Add(budget)
	switch r, ok := c.better(time.Now()); {
	case !ok || c.opt.Ladder.Verdict(c.authority, r) != Unknown:
	case c.opt.Ladder.Probe(c.authority, r):
		c.due = time.Now()
	default: // another call is finding out; where something buffers that takes longer than to hear it
		c.due = time.Now().Add(dialBudget)
	}
}

// nextEpoch is that of the next carrier. Each has one of its own, so that the
// server follows when the call falls as well as when it climbs.
func (c *Client) nextEpoch() uint64 {
	if c.started {
		c.epoch++
	}
	c.started = true
	return c.epoch
}

// signals of the way in use.
func (c *Client) signals() (over, move <-chan struct{}) {
	if c.now == nil {
		return nil, nil
	}
	if move = c.now.move(); c.attempt != nil || time.Now().Before(c.retry[c.now.rung()].at) {
		move = nil // it is being seen to
	}
	return c.now.over(), move
}

// climb tries the best rung above the one in use that may be worth it.
func (c *Client) climb() {
	now := time.Now()
	if c.attempt != nil || c.staying {
		return
	}
	r, ok := c.better(now)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, dialLimit)
	a := &attempt{rung: r, epoch: c.nextEpoch(), cancel: cancel, result: make(chan opened, 1)}
	c.attempt = a
	go func() {
		w, err := c.open(ctx, r, a.epoch)
		a.result <- opened{w, err}
	}()
}

// better is the rung to try next.
func (c *Client) better(now time.Time) (Rung, bool) {
	for _, r := range c.opt.Rungs {
		if c.now != nil {
			at := c.now.rung()
			if r < at || r == at && !closed(c.now.move()) {
				break
			}
		}
		if r == PutGet || now.Before(c.retry[r].at) || r == Trunk && c.opt.Sessions == nil {
			continue
		}
		switch c.opt.Ladder.Verdict(c.authority, r) {
		case Works:
			return r, true
		case Unknown:
			// Of the calls that run somehow, one finds out for all.
			if c.now == nil || c.opt.Ladder.Probe(c.authority, r) {
				return r, true
			}
		}
	}
	return PutGet, false
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// fallBack makes requests carry the media if nothing else does, or will soon.
// The channel says when to look again.
func (c *Client) fallBack() <-chan time.Time {
	if c.now != nil || c.staying {
		return nil
	}
	if wait := time.Until(c.due); c.attempt != nil && wait > 0 {
		return time.After(wait)
	}
	// The rung that is being tried shall win when it is there.
	epoch := c.epoch
	if c.attempt == nil {
		epoch = c.nextEpoch()
	}
	c.ride(newRequests(c, epoch))
	return nil
}

// ride makes w the way in use, and lets go of the one before.
func (c *Client) ride(w way) {
	old := c.now
	c.now = &riding{way: w, since: time.Now()}
	c.carried.Do(func() { close(c.carrying) })
	if old != nil {
		c.retire(old.way)
	}
}

// retire stops sending on a way at once, and listens to it for a while: what
// the server sent before it followed us is still to come.
func (c *Client) retire(w way) {
	c.p.detach(w.carrier())
	c.ending.Go(func() {
		wait := time.NewTimer(overlap)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-w.over():
		case <-c.ctx.Done():
		}
		w.close()
	})
}

// arrived is for the end of an attempt.
func (c *Client) arrived(o opened) {
	a := c.attempt
	c.attempt = nil
	a.cancel()
	retry := &c.retry[a.rung]
	if o.err == nil {
		c.wide = true
		c.opt.Ladder.Learn(c.authority, a.rung, Works, worksFor)
		c.ride(o.way)
		return
	}
	if c.ctx.Err() != nil {
		return
	}
	retry.wait = min(max(retryFirst, 2*retry.wait), retryLast)
	retry.at = time.Now().Add(retry.wait)
	c.learn(a.rung, o.err)
}

// lost is for a way that has ended by itself.
func (c *Client) lost() {
	was := c.now
	c.now = nil
	r, lasted := was.rung(), time.Since(was.since)
	c.due = time.Now()
	if retry := &c.retry[r]; lasted < deadCarrier {
		retry.wait = min(max(retryFirst, 2*retry.wait), retryLast)
		retry.at = time.Now().Add(retry.wait)
	} else {
		retry.wait = 0 // its connection is gone: the next one is as good as this was
	}
	if best, ok := c.better(time.Now()); ok && c.opt.Ladder.Verdict(c.authority, best) == Works {
		c.due = time.Now().Add(dialBudget)
	}
	c.p.detach(was.carrier())
	c.ending.Go(was.close)
}

// watch gives up a carrier that is as good as dead, and keeps the GETs in step
// with the round trip.
func (c *Client) watch() {
	if c.now == nil || c.staying {
		return
	}
	if q, ok := c.now.way.(*requests); ok {
		q.resize(c.p.Stats().RoundTrip)
		return
	}
	q, now := c.p.Quiet(), time.Now()
	if now.Sub(c.now.since) > deadCarrier && now.Sub(q.Received) > deadCarrier && now.Sub(q.Acked) > deadCarrier {
		c.opt.Ladder.Learn(c.authority, c.now.rung(), Fails, carrierDied)
		c.lost()
	}
}

// end closes everything.
func (c *Client) end() {
	c.cancel()
	if a := c.attempt; a != nil {
		if o := <-a.result; o.err == nil {
			c.ending.Go(o.way.close)
		}
		a.cancel()
	}
	if c.now != nil {
		c.p.detach(c.now.carrier())
		c.ending.Go(c.now.close)
	}
	c.ending.Wait()
}

// header of a request that opens a carrier.
func header(epoch uint64) http.Header {
	h := http.Header{}
	h.Set(EpochHeader, strconv.FormatUint(epoch, 10))
	return h
}
