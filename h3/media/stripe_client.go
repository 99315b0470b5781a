package media

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"riptide/h3/chunk"
)

const (
	stripeBackoff = 25 * time.Millisecond // before a stripe is opened anew
	stripeBackMax = 2 * time.Second
	stripeRetries = 5           // in a row, of one that has worked; one that has not gets none
	endWait       = time.Second // for the server to end its side of the stripes
)

var (
	errBuffered   = errors.New("no echo came back: something on the way holds bodies back")
	errNoStripes  = errors.New("the server has no striped streams")
	errCallGone   = errors.New("the server does not know the call any more")
	errSuperseded = errors.New("the server has stripes of a later epoch")
)

// clientStripes is a client's end of striped streams.
type clientStripes struct {
	p     *Port
	conns Doer
	url   string // of the stripes, without the number
	epoch uint64
	lanes lanes // to the server, by the PUT of the same number
	hello []byte

	ctx     context.Context
	cancel  context.CancelFunc
	streams sync.WaitGroup
	beating sync.WaitGroup

	fates  chan error    // why the stripes cannot go on; holds one
	over   chan struct{} // closed when they do not
	once   sync.Once
	ending atomic.Bool // the bodies end in order
	stays  atomic.Bool // what breaks off is not opened anew

	answered chan struct{} // closed when the server has answered a GET
	greeted  sync.Once

	echoed [maxStripes]chan struct{} // closed when the first echo is back
	opened time.Time
	heard  [maxStripes]atomic.Int64 // when bytes came last, since opened: the clock may be set
	reopen [2 * maxStripes]atomic.Pointer[context.CancelFunc]
}

func (s *clientStripes) about() traits  { return stripeTraits }
func (s *clientStripes) ready() bool    { return true }
func (s *clientStripes) send(m message) { s.lanes.push(m) }

// openStripes opens the stripes of a call and waits until they have shown that
// they let everything through at once. The carrier is not attached yet.
func openStripes(ctx context.Context, life context.Context, p *Port, conns Doer, url string, epoch uint64, count int) (*clientStripes, error) {
	s := &clientStripes{
		p: p, conns: conns, url: url + "/stripes/", epoch: epoch, lanes: newLanes(p, count),
		fates: make(chan error, 1), over: make(chan struct{}), answered: make(chan struct{}), hello: make([]byte, 16), opened: time.Now(),
	}
	_, _ = rand.Read(s.hello) // never fails
	s.ctx, s.cancel = context.WithCancel(life)
	for i := range s.lanes {
		s.echoed[i] = make(chan struct{})
		s.streams.Go(func() { s.keep(i, s.put) })
		s.streams.Go(func() { s.keep(i, s.get) })
	}
	if err := s.prove(ctx); err != nil {
		s.abort()
		return nil, err
	}
	// The server uses the stripes when it has something behind the hello.
	s.lanes[0].push(message{body: control(chunk.ControlHello, s.hello)})
	s.beating.Go(s.beat)
	return s, nil
}

// prove waits for the echo on every stripe. The time for that begins when the
// server has answered the first GET: one that is slow does not buffer.
func (s *clientStripes) prove(ctx context.Context) error {
	answered, limit := s.answered, (<-chan time.Time)(nil)
	for i := 0; i < len(s.lanes); {
		select {
		case <-s.echoed[i]:
			i++
		case <-answered:
			timer := time.NewTimer(helloWait)
			defer timer.Stop()
			answered, limit = nil, timer.C
		case err := <-s.fates:
			return err
		case <-limit:
			return errBuffered
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.ctx.Done():
			return errClosed
		}
	}
	return nil
}

// keep keeps one request of stripe i open until the stripes are over.
func (s *clientStripes) keep(i int, request func(context.Context, int) error) {
	backoff, failures := stripeBackoff, 0
	for s.ctx.Err() == nil {
		began := time.Now()
		err := request(s.ctx, i)
		if failures++; time.Since(began) > stripeBackMax {
			backoff, failures = stripeBackoff, 0
		}
		switch {
		case s.ending.Load():
			return
		case errors.Is(err, errNoStripes), errors.Is(err, errCallGone), errors.Is(err, errSuperseded):
			s.fail(err)
			return
		case !s.proved(i), failures > stripeRetries, s.stays.Load():
			s.fail(fmt.Errorf("stripe %d: %w", i, err))
			return
		}
		select {
		case <-s.ctx.Done():
			return
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, stripeBackMax)
		s.p.Renumber()
	}
}

func (s *clientStripes) proved(i int) bool {
	select {
	case <-s.echoed[i]:
		return true
	default:
		return false
	}
}

// fail ends the stripes: they are no way to the call any more.
func (s *clientStripes) fail(err error) {
	select {
	case s.fates <- err:
	default:
	}
	s.once.Do(func() { close(s.over) })
}

// put is one PUT of stripe i. It returns when that is over.
func (s *clientStripes) put(ctx context.Context, i int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.reopen[i].Store(&cancel)
	body := s.lanes[i].open(control(chunk.ControlHello, s.hello))
	defer func() { _ = body.Close() }() // it never fails
	// Over HTTP/2 a response does not end with its request's context while the
	// body of the request has nothing to say.
	defer context.AfterFunc(ctx, func() { _ = body.Close() })()
	resp, err := s.request(ctx, http.MethodPut, i, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	// The response ends when the server has read the end of the body.
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// get is one GET of stripe i.
func (s *clientStripes) get(ctx context.Context, i int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.reopen[maxStripes+i].Store(&cancel)
	resp, err := s.request(ctx, http.MethodGet, i, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	heard := func() { s.heard[i].Store(int64(time.Since(s.opened))) }
	heard()
	s.greeted.Do(func() { close(s.answered) })
	in := newChunkStream(resp.Body, heard)
	for {
		one, err := in.next()
		if errors.Is(err, chunk.ErrMalformed) {
			s.p.malformed()
		}
		if err != nil {
			return err
		}
		if kind, body, ok := greeting(one); !ok {
			s.p.receive(one, Striped, s.epoch)
		} else if kind == chunk.ControlEcho && string(body) == string(s.hello) && !s.proved(i) {
			close(s.echoed[i]) // this goroutine alone does
		}
	}
}

// request sends a request of stripe i and returns when its response begins.
func (s *clientStripes) request(ctx context.Context, method string, i int, body io.ReadCloser) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, s.url+strconv.Itoa(i), nil)
	if err != nil {
		return nil, fmt.Errorf("%s stripe %d: %w", method, i, err)
	}
	if body != nil {
		r.Body, r.ContentLength = body, -1
		r.Header.Set("Content-Type", ContentType)
	}
	r.Header.Set("Incremental", "?1")
	r.Header.Set(StripesHeader, strconv.Itoa(len(s.lanes)))
	r.Header.Set(EpochHeader, strconv.FormatUint(s.epoch, 10))
	resp, err := s.conns.Do(r)
	if err != nil {
		return nil, fmt.Errorf("%s stripe %d: %w", method, i, err)
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return resp, nil
	case http.StatusNoContent:
		err = errSuperseded
	case http.StatusNotFound, http.StatusGone:
		err = errCallGone
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		err = errNoStripes
	default:
		err = fmt.Errorf("%s stripe %d: status %d", method, i, resp.StatusCode)
	}
	_ = resp.Body.Close()
	return nil, err
}

// beat says hello on every stripe from time to time, and opens those anew that
// have fallen silent.
func (s *clientStripes) beat() {
	tick := time.NewTicker(helloEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		for i := range s.lanes {
			s.lanes[i].push(message{body: control(chunk.ControlHello, s.hello)})
			if time.Since(s.opened)-time.Duration(s.heard[i].Load()) > stripeDead {
				s.breakOff(i)
			}
		}
	}
}

// breakOff ends both requests of a stripe, which are opened anew then.
func (s *clientStripes) breakOff(i int) {
	for _, at := range [...]int{i, maxStripes + i} {
		if cancel := s.reopen[at].Load(); cancel != nil {
			(*cancel)()
		}
	}
}

// finish ends the bodies in order, gives the server a moment to do the same,
// and waits for the requests.
func (s *clientStripes) finish() {
	s.p.detach(s)
	s.ending.Store(true)
	s.lanes.end()
	limit := time.AfterFunc(endWait, s.cancel)
	s.streams.Wait()
	limit.Stop()
	s.abort()
}

// abort ends the requests wherever they are.
func (s *clientStripes) abort() {
	s.p.detach(s)
	s.cancel()
	s.streams.Wait()
	s.beating.Wait()
	s.lanes.abandon()
}
