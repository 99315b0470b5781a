package media

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/quic-go/webtransport-go"
)

// open opens a way to the server on a rung. When it returns without an error
// the way is attached to the port.
func (c *Client) open(ctx context.Context, r Rung, epoch uint64) (way, error) {
	switch r {
	case Trunk:
		return c.openSeat(ctx, epoch)
	case WebTransport:
		return c.openSession(ctx, epoch)
	default:
		return c.openStripes(ctx, epoch)
	}
}

// Each stripe is two requests. A hundred calls that come back at the same moment
// have speech sooner if each opens one; what is lost holds up more then, for as
// long as there are no others.
const (
	widenAfter  = 2 * time.Second
	widenSpread = 4 * time.Second // so that those calls do not widen together, either
)

func (c *Client) openStripes(ctx context.Context, epoch uint64) (way, error) {
	count := stripeCount
	if c.opt.Hurry && !c.wide {
		count = 1
	}
	s, err := openStripes(ctx, c.ctx, c.p, c.conns, c.url, epoch, count)
	if err != nil {
		return nil, err
	}
	c.p.attach(s, epoch, c.authority)
	w := stripesWay{clientStripes: s}
	if count < stripeCount {
		w.wider = make(chan struct{})
		w.timer = time.AfterFunc(widenAfter+rand.N(widenSpread), func() { close(w.wider) })
	}
	return w, nil
}

// learn notes for all calls what the failure of an attempt tells.
func (c *Client) learn(r Rung, err error) {
	l := c.opt.Ladder
	switch {
	case notSupported(err):
		// Of the peer, or of a balancer before it; both rungs need it.
		l.Learn(c.authority, Trunk, Fails, failsFor)
		l.Learn(c.authority, WebTransport, Fails, failsFor)
	case errors.Is(err, errBuffered) && l.Verdict(c.authority, r) == Works:
		// What has let bodies through does not begin to hold them back: it, or we, had
		// no processor to do it in time, and requests would need more of that.
		l.Unanswered(c.authority, r)
	case errors.Is(err, errBuffered), errors.Is(err, errNoStripes), errors.Is(err, errNoDatagrams), errors.Is(err, errProtocol):
		l.Learn(c.authority, r, Fails, failsFor)
	case errors.Is(err, errCallGone):
	default:
		l.Unanswered(c.authority, r)
	}
}

var errProtocol = errors.New("the server does not speak " + Protocol)

// sessionWay is a WebTransport session of the call's own.
type sessionWay struct {
	*datagrams
	session *webtransport.Session
	ended   chan struct{}
}

func (c *Client) openSession(ctx context.Context, epoch uint64) (way, error) {
	s, err := c.conns.Session(ctx, c.url, header(epoch))
	if err != nil {
		return nil, err
	}
	if s.SessionState().ApplicationProtocol != Protocol {
		_ = s.CloseWithError(0, "want "+Protocol)
		return nil, errProtocol
	}
	w := sessionWay{c.p.begin(s, epoch, s.RemoteAddr().String()), s, make(chan struct{})}
	go func() {
		defer close(w.ended)
		_ = c.p.carry(w.datagrams) // how a session ends makes no difference to the call
	}()
	return w, nil
}

func (w sessionWay) carrier() carrier      { return w.datagrams }
func (w sessionWay) over() <-chan struct{} { return w.ended }
func (w sessionWay) move() <-chan struct{} { return nil }

func (w sessionWay) close() {
	_ = w.session.CloseWithError(0, "")
	<-w.ended
}

// seatWay is a place on a trunk session.
type seatWay struct{ *Seat }

func (c *Client) openSeat(ctx context.Context, epoch uint64) (way, error) {
	s, err := c.opt.Sessions.Await(ctx)
	if err != nil {
		return nil, err
	}
	tag, err := c.conns.Join(ctx, s.Session(), header(epoch))
	if err != nil {
		s.Release()
		return nil, err
	}
	if !s.take(c.p, tag, epoch) {
		s.Release()
		return nil, errClosed
	}
	return seatWay{s}, nil
}

func (w seatWay) carrier() carrier      { return w.taken }
func (w seatWay) over() <-chan struct{} { return w.on.ctx.Done() }
func (w seatWay) move() <-chan struct{} { return w.Seat.move }
func (w seatWay) close()                { w.Release() }

// stripesWay are striped streams.
type stripesWay struct {
	*clientStripes
	wider chan struct{} // closed when it is time for all stripes; nil: there are all
	timer *time.Timer
}

func (w stripesWay) carrier() carrier      { return w.clientStripes }
func (w stripesWay) over() <-chan struct{} { return w.clientStripes.over }
func (w stripesWay) move() <-chan struct{} { return w.wider }

func (w stripesWay) close() {
	if w.timer != nil {
		w.timer.Stop()
	}
	w.finish()
}
