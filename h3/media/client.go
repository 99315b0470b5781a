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

// Conns is what a Client needs of the connections to the server.
type Conns interface {
	Doer
	Dialer
}

// Options of a Client. The zero value is right for a new call.
type Options struct {
	// PutGet keeps to one request per chunk (configuration `media: put-get`).
	PutGet bool
	// Parked is how many GETs to park; default DefaultParked, at most MaxParked.
	Parked int
	// Epoch to begin with: after a migration one more than Client.Epoch of the
	// Client before.
	Epoch uint64
	// Ladder remembers what works; nil remembers nothing.
	Ladder *Ladder
}

// DefaultParked is how many GETs a client parks on a call.
const DefaultParked = 20

const (
	dialBudget  = 300 * time.Millisecond // for WebTransport; then requests carry the media until it is there
	dialLimit   = 3 * time.Second        // then it is not coming
	overlap     = time.Second            // how long GETs stay parked after WebTransport took over
	retryFirst  = 2 * time.Second        // to WebTransport, after a session has died
	retryLast   = time.Minute
	deadSession = 3 * time.Second // without a sign of life, while we send
)

// Client carries a call's media to a server, on the best carrier that works.
type Client struct {
	conns     Conns
	url       string
	authority string
	p         *Port
	opt       Options

	ctx      context.Context
	cancel   context.CancelFunc
	done     chan struct{}
	epoch    uint64
	requests *requests // nil while WebTransport carries the media
	ending   sync.WaitGroup
	worked   bool // there was a session
}

// Dial starts to carry the media of the call at uri, {call}/media. It returns
// at once. WebTransport carries the media where it works; requests do until it
// is there, if that takes long or nothing is known of the peer yet. The Client ends with ctx, with p, or by Close.
func Dial(ctx context.Context, conns Conns, uri string, p *Port, opt Options) (*Client, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return nil, fmt.Errorf("media of call: %w", err)
	}
	if u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("media of call: %q is no https URI", uri)
	}
	if opt.Parked <= 0 {
		opt.Parked = DefaultParked
	}
	opt.Parked = min(opt.Parked, MaxParked)
	ctx, cancel := context.WithCancel(ctx)
	c := &Client{
		conns: conns, url: uri, authority: u.Host, p: p, opt: opt,
		ctx: ctx, cancel: cancel, done: make(chan struct{}), epoch: opt.Epoch,
	}
	go c.run()
	return c, nil
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
	defer c.ending.Wait()
	defer c.endRequests()
	verdict := c.opt.Ladder.Verdict(c.authority)
	if c.opt.PutGet || verdict == Fails {
		c.startRequests()
		<-c.ctx.Done()
		return
	}
	if verdict == Unknown && c.opt.Ladder.Probe(c.authority) {
		c.startRequests() // else the ring holds what is said until the session is there
	}
	for wait := retryFirst; ; wait = min(2*wait, retryLast) {
		began := time.Now()
		supported := c.session()
		if c.ctx.Err() != nil {
			return
		}
		c.startRequests()
		if !supported {
			<-c.ctx.Done()
			return
		}
		if time.Since(began) > retryLast {
			wait = retryFirst
		}
		select {
		case <-c.ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// session runs one WebTransport session to its end. It tells whether another
// attempt has a chance.
func (c *Client) session() (supported bool) {
	ctx, cancel := context.WithTimeout(c.ctx, dialLimit)
	defer cancel()
	s, err := c.dial(ctx)
	if err != nil {
		if notSupported(err) {
			c.opt.Ladder.Learn(c.authority, Fails, failsFor)
			return false
		}
		if c.ctx.Err() == nil {
			c.opt.Ladder.Unanswered(c.authority)
		}
		return c.worked || c.opt.Ladder.Verdict(c.authority) == Works
	}
	if s.SessionState().ApplicationProtocol != Protocol {
		_ = s.CloseWithError(0, "want "+Protocol)
		c.opt.Ladder.Learn(c.authority, Fails, failsFor)
		return false
	}
	c.opt.Ladder.Learn(c.authority, Works, worksFor)
	c.worked = true
	d := c.p.begin(s, c.epoch, s.RemoteAddr().String())
	carried := make(chan struct{})
	go func() {
		defer close(carried)
		_ = c.p.carry(d) // how a session ends makes no difference to the call
	}()
	c.watch(carried)
	_ = s.CloseWithError(0, "")
	<-carried
	// GETs still parked from before the session may have been sent home.
	c.endRequests()
	c.epoch++
	return true
}

// dial opens a session. One that is late is not given up: where the peer is
// busy, twenty parked GETs for every call would be all it takes to keep it so.
func (c *Client) dial(ctx context.Context) (*webtransport.Session, error) {
	var s *webtransport.Session
	var err error
	dialled := make(chan struct{})
	go func() {
		defer close(dialled)
		s, err = c.conns.Session(ctx, c.url, c.header())
	}()
	budget := time.NewTimer(dialBudget)
	defer budget.Stop()
	select {
	case <-dialled:
	case <-budget.C:
		c.startRequests()
		<-dialled
	}
	return s, err
}

// watch returns when the session is over, or as good as.
func (c *Client) watch(carried <-chan struct{}) {
	began := time.Now()
	tick := time.NewTicker(overlap)
	defer tick.Stop()
	for {
		select {
		case <-carried:
			return
		case <-c.ctx.Done():
			return
		case <-tick.C:
		}
		c.endRequests() // the server has sent its GETs home, or will not use them
		q := c.p.Quiet()
		if now := time.Now(); now.Sub(began) > deadSession && now.Sub(q.Received) > deadSession && now.Sub(q.Acked) > deadSession {
			c.opt.Ladder.Learn(c.authority, Fails, sessionsDied)
			return
		}
	}
}

func (c *Client) header() http.Header {
	h := http.Header{}
	h.Set(EpochHeader, strconv.FormatUint(c.epoch, 10))
	return h
}

func (c *Client) startRequests() {
	if c.requests == nil {
		c.requests = newRequests(c)
	}
}

// endRequests stops the requests. PUTs in flight run on until the call ends.
func (c *Client) endRequests() {
	if q := c.requests; q != nil {
		c.requests = nil
		q.stop()
		c.ending.Go(q.wg.Wait)
	}
}
