package h3

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Timers of a call's signalling.
const (
	attachLimit = 5 * time.Second        // for the headers of GET events
	attachAgain = time.Second            // the same, of a call that runs
	pingPeriod  = 5 * time.Second        // something crosses each byway at least this often
	pongLimit   = 2 * time.Second        // for the first pong; then the PUT stream is held up on its way
	silentLimit = 15 * time.Second       // without a byte a byway is dead
	closeLimit  = 500 * time.Millisecond // for the peer to take note of `]`
	endLimit    = time.Second            // for it to take note of `end` on the stream
	watchPeriod = 250 * time.Millisecond
)

// errLinkClosed ends a request body whose link is over.
var errLinkClosed = errors.New("event byway closed")

// received is what a link's reader found.
type received struct {
	event    Event
	attached bool  // the response headers of GET events are here
	err      error // the last: the byway is lost, or closed (io.EOF)
}

// link is one attachment of a call to its peer: GET events for what the peer
// says, and for what we say one never-ending PUT, or one PUT per event where
// something on the way holds bodies back (20-protocol.md A.4-35). A call has
// one link at a time and opens the next when that is lost.
type link struct {
	t      *trunk
	uri    string // of events
	tg     string
	jar    *cookieJar
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	body *io.PipeReader // of the PUT stream
	pipe *io.PipeWriter

	in     chan *received // from the reader, which waits while it is full
	out    chan *Event    // to the sender; full means that it is stuck
	split  chan struct{}  // closed: one PUT per event from now on
	finish chan struct{}  // closed: close the array, nothing more will be sent
	ended  chan error     // what became of `end`; nil: the peer has it
	broken chan error     // a PUT of one event failed: the peer is out of reach

	opened  time.Time
	heard   atomic.Int64 // when the last byte came, since opened: the clock may be set
	single  atomic.Bool
	unheard atomic.Uint64 // events that did not fit into out
	once    struct{ split, finish sync.Once }
}

func (t *trunk) openLink(ctx context.Context, call, tg string, jar *cookieJar) *link {
	ctx, cancel := context.WithCancel(ctx)
	k := &link{
		t: t, uri: call + "/events", tg: tg, jar: jar, ctx: ctx, cancel: cancel,
		in: make(chan *received, 32), out: make(chan *Event, 16),
		split: make(chan struct{}), finish: make(chan struct{}),
		ended: make(chan error, 1), broken: make(chan error, 1),
	}
	k.body, k.pipe = io.Pipe()
	k.opened = t.client.cfg.Now()
	k.wg.Go(k.read)
	k.wg.Go(k.send)
	return k
}

// close ends both requests and waits for them. kindly gives the peer a moment
// to see the end of the array first.
func (k *link) close(kindly bool) {
	if kindly {
		k.once.finish.Do(func() { close(k.finish) })
		timer := time.AfterFunc(closeLimit, k.cancel)
		defer timer.Stop()
	} else {
		k.cancel()
	}
	k.wg.Wait()
	k.cancel()
}

// toSingle changes to one PUT per event.
func (k *link) toSingle() {
	k.once.split.Do(func() {
		close(k.split)
		_ = k.pipe.CloseWithError(errLinkClosed) // the sender may be writing
	})
}

// age is how long the link is open.
func (k *link) age() time.Duration { return k.t.client.cfg.Now().Sub(k.opened) }

// silence is how long nothing has come.
func (k *link) silence() time.Duration { return k.age() - time.Duration(k.heard.Load()) }

// post hands an event to the sender. One that finds the sender stuck is
// dropped: pings come again, and `end` is sent on another way.
func (k *link) post(ev Event) bool {
	select {
	case k.out <- &ev:
		return true
	default:
		k.unheard.Add(1)
		return false
	}
}

// read holds GET events open and delivers what comes.
func (k *link) read() {
	err := k.readAll()
	k.deliver(received{err: err})
}

func (k *link) readAll() error {
	resp, err := k.t.Stream(k.ctx, request{Method: http.MethodGet, URL: k.uri, Resource: k.tg, Jar: k.jar}, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	heard := func() { k.heard.Store(int64(k.age())) }
	heard()
	if resp.ProtoMajor == 1 {
		k.toSingle() // the stream would take a connection, and may wait for its end
	}
	if !k.deliver(received{attached: true}) {
		return errLinkClosed
	}
	r := newBywayReader(heardReader{resp.Body, heard})
	defer func() {
		if n := r.Unknown(); n > 0 {
			k.t.count(func(t *trunk) { t.unknownEvents += n })
		}
	}()
	for {
		ev, err := r.Next()
		if err != nil {
			return err
		}
		if !k.deliver(received{event: ev}) {
			return errLinkClosed
		}
	}
}

func (k *link) deliver(r received) bool {
	select {
	case k.in <- &r:
		return true
	case <-k.ctx.Done():
		return false
	case <-k.finish:
		return false
	}
}

// send writes events: as one stream first, then, if it must be, one by one.
func (k *link) send() {
	if k.sendStream() {
		return
	}
	k.single.Store(true)
	for {
		select {
		case ev := <-k.out:
			k.sendSingle(*ev)
		case <-k.finish:
			return
		case <-k.ctx.Done():
			return
		}
	}
}

func (k *link) sendSingle(ev Event) {
	err := k.t.putEvent(k.ctx, k.uri, k.tg, k.jar, ev)
	switch {
	case ev.Type == eventEnd:
		k.ended <- err // only one `end` is ever posted
	case err != nil:
		select {
		case k.broken <- err:
		default:
		}
	}
}

// sendStream returns true when nothing is left to send, and false when single
// events must take the stream's place. An event that the stream swallowed is
// not repeated: pings come again, and for `end` the answer is waited for.
func (k *link) sendStream() bool {
	ctx, cancel := context.WithCancel(k.ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = k.pipe.CloseWithError(errLinkClosed) })
	defer stop()
	gone := make(chan error, 1)
	k.wg.Go(func() { gone <- k.putStream(ctx) })
	w := newBywayWriter(k.pipe, nil)
	open := w.Open() == nil
	for open {
		select {
		case ev := <-k.out:
			if ev.Type == eventEnd {
				k.ended <- k.streamEnd(w, gone, *ev)
				return true
			}
			open = w.Send(*ev) == nil
		case err := <-gone:
			_ = err // refused, or ended by the peer or something on the way: it is over
			open = false
		case <-k.split:
			open = false
		case <-k.finish:
			_ = w.Close()
			_ = k.pipe.Close()
			_ = k.await(gone, closeLimit)
			return true
		case <-k.ctx.Done():
			return true
		}
	}
	return k.ctx.Err() != nil
}

// streamEnd sends `end` and closes the array; the response to the PUT says that
// the peer has read it all. Without that, `end` goes once more by itself: the
// peer drops what it has seen.
func (k *link) streamEnd(w *bywayWriter, gone <-chan error, ev Event) error {
	if w.Send(ev) == nil && w.Close() == nil && k.pipe.Close() == nil {
		if err := k.await(gone, endLimit); err == nil {
			return nil
		}
	}
	return k.t.putEvent(k.ctx, k.uri, k.tg, k.jar, ev)
}

func (k *link) await(gone <-chan error, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-gone:
		return err
	case <-timer.C:
		return context.DeadlineExceeded
	case <-k.ctx.Done():
		return context.Cause(k.ctx)
	}
}

// putStream is the never-ending PUT. It returns nil when the peer has answered
// with a 2xx and ended its response.
func (k *link) putStream(ctx context.Context) error {
	resp, err := k.t.Stream(ctx, request{
		Method: http.MethodPut, URL: k.uri, Resource: k.tg, Jar: k.jar, ContentType: "application/json",
	}, k.body)
	if err != nil {
		_ = k.body.CloseWithError(errLinkClosed)
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body) // bounded by the context; whatever it says is of no interest
	return err
}

// putEvent sends one event as a complete array. A call that is gone has no
// more use for events, which is as good as having taken it.
func (t *trunk) putEvent(ctx context.Context, uri, tg string, jar *cookieJar, ev Event) error {
	text, err := json.Marshal([]Event{ev})
	if err != nil {
		return fmt.Errorf("encode event %s: %w", ev.Type, err)
	}
	_, err = t.Do(ctx, request{
		Method: http.MethodPut, URL: uri, Resource: tg, Jar: jar, Body: text, ContentType: "application/json",
	})
	if ev.Type == eventEnd && gone(err) {
		return nil
	}
	return err
}
