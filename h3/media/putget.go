package media

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"riptide/bridge"
	"riptide/h3/chunk"
)

const (
	maxPuts    = 16              // in flight per call
	minParked  = 4               // GETs, however short the round trip
	startParks = 8               // before it is known
	putTimeout = 5 * time.Second // then the media in it is worthless
	getBackoff = 50 * time.Millisecond
	getBackMax = 2 * time.Second
)

// requests carries chunks as the core draft has it: each message is the body
// of a PUT, what the server sends comes in the responses to parked GETs.
type requests struct {
	p     *Port
	conns Doer
	url   string
	epoch uint64

	life   context.Context // of the client: PUTs outlast a change of carrier
	ctx    context.Context // of these requests
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	puts   int
	parked int // GETs, or on their way to be
	want   int // how many there should be
	most   int // as the server wants it
	least  int
	closed bool // stopped

	hurry chan struct{} // closed and replaced: GETs that wait go at once
}

var requestTraits = traits{rung: PutGet, framed: true, limit: maxBody}

func (q *requests) about() traits { return requestTraits }

func newRequests(c *Client, epoch uint64) *requests {
	ctx, cancel := context.WithCancel(c.ctx)
	q := &requests{
		p: c.p, conns: c.conns, url: c.url, epoch: epoch, life: c.ctx, ctx: ctx, cancel: cancel,
		most: DefaultParked, hurry: make(chan struct{}),
	}
	if c.opt.Parked > 0 {
		q.most = min(c.opt.Parked, MaxParked)
	}
	q.least = min(minParked, q.most)
	if c.opt.Draft {
		q.least = q.most
	}
	q.resize(0)
	c.p.attach(q, epoch, c.authority)
	return q
}

// resize parks as many GETs as the round trip takes packets, and two, so that
// the server always has one: more of them would only cost streams, of which
// balancers allow a hundred to a connection.
func (q *requests) resize(roundTrip time.Duration) {
	want := startParks
	if roundTrip > 0 {
		want = int((roundTrip+bridge.DefaultPtime-1)/bridge.DefaultPtime) + 2
	}
	want = max(min(want, q.most), q.least)
	q.mu.Lock()
	defer q.mu.Unlock()
	// What is too many goes home with its next answer.
	for q.want = want; q.parked < q.want && !q.closed; q.parked++ {
		q.wg.Go(q.park)
	}
}

// surplus tells a GET that it is one too many, and need not come back.
func (q *requests) surplus() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.parked <= q.want {
		return false
	}
	q.parked--
	return true
}

func (q *requests) carrier() carrier      { return q }
func (q *requests) over() <-chan struct{} { return nil }
func (q *requests) move() <-chan struct{} { return nil }

// close ends what is parked, takes no more messages, and waits for those that
// are under way: they outlast a change of carrier.
func (q *requests) close() {
	q.p.detach(q)
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.cancel()
	q.wg.Wait()
}

func (q *requests) ready() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.puts < maxPuts
}

// send PUTs a message. Several are in flight at once, so that the round trip
// does not slow the media; chunks then may overtake each other.
func (q *requests) send(m message) {
	m.body = slices.Clone(m.body)
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		q.p.settle(m, errClosed)
		return
	}
	q.puts++
	q.wg.Add(1)
	q.mu.Unlock()
	go q.put(m)
}

func (q *requests) put(m message) {
	defer q.wg.Done()
	ctx, cancel := context.WithTimeout(q.life, putTimeout)
	defer cancel()
	status, err := q.do(ctx, http.MethodPut, m.body, nil)
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("PUT media: status %d", status)
	}
	q.p.settle(m, err)
	q.mu.Lock()
	q.puts--
	q.mu.Unlock()
	q.p.poke()
}

// park keeps one GET parked until the requests are stopped, or the call is
// gone at the server.
func (q *requests) park() {
	backoff := getBackoff
	for q.ctx.Err() == nil {
		home := false
		status, err := q.do(q.ctx, http.MethodGet, nil, q.take)
		switch {
		case err == nil && status == http.StatusOK:
			backoff = getBackoff
			if q.surplus() {
				return
			}
			continue
		case err == nil && status == http.StatusNoContent:
			// Sent home: another carrier has taken over, or the call has ended.
			// If neither is so, we are wanted back, but without haste.
			home = true
		case err == nil && (status == http.StatusNotFound || status == http.StatusGone):
			return
		}
		select {
		case <-q.ctx.Done():
			return
		case <-q.hurried():
		case <-time.After(backoff/2 + rand.N(backoff)):
		}
		if home && !q.p.carriers.uses(q) {
			return
		}
		backoff = min(2*backoff, getBackMax)
	}
}

// take is for the body of a response. An empty one is an error, lest a server
// make us spin.
func (q *requests) take(body []byte) error {
	if len(body) == 0 {
		return errors.New("a response without chunks")
	}
	return q.p.receiveBody(body, q.epoch)
}

// do makes one request and hands the body of a 200 to take.
func (q *requests) do(ctx context.Context, method string, body []byte, take func([]byte) error) (status int, err error) {
	var content io.Reader
	if body != nil {
		content = bytes.NewReader(body)
	}
	r, err := http.NewRequestWithContext(ctx, method, q.url, content)
	if err != nil {
		return 0, fmt.Errorf("%s media: %w", method, err)
	}
	r.Header.Set(EpochHeader, strconv.FormatUint(q.epoch, 10))
	if body != nil {
		r.Header.Set("Content-Type", ContentType)
	}
	resp, err := q.conns.Do(r)
	if err != nil {
		return 0, fmt.Errorf("%s media: %w", method, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, chunk.MaxBody+1))
	if err != nil {
		return 0, fmt.Errorf("%s media: read response: %w", method, err)
	}
	if resp.StatusCode == http.StatusOK && take != nil {
		if err := take(b); err != nil {
			return 0, fmt.Errorf("%s media: %w", method, err)
		}
	}
	return resp.StatusCode, nil
}
