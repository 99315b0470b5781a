package h3

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"riptide/bridge"
)

// callAt finds the live call of a request, or refuses it: a byway to a call
// that has ended is 404.
func (s *Server) callAt(w http.ResponseWriter, r *http.Request) *serverCall {
	c, _, err := s.find(r.Context(), r.PathValue("tg"), r.PathValue("call"))
	if err == nil && c == nil {
		err = noCall()
	}
	if err != nil {
		refuse(bridge.CauseOf(err)).write(w)
		return nil
	}
	return c
}

// bywayHeader tells everybody on the way to let each event through at once.
func bywayHeader(h http.Header) {
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("X-Accel-Buffering", "no")
	h.Set(headerIncremental, "?1")
}

// serveGetEvents is a reverse byway: every event of the call from its current
// state to its end.
func (s *Server) serveGetEvents(w http.ResponseWriter, r *http.Request) {
	c := s.callAt(w, r)
	if c == nil {
		return
	}
	b, err := c.openReverse()
	if err != nil {
		refuse(bridge.CauseOf(err)).write(w)
		return
	}
	defer c.closeReverse(b)
	bywayHeader(w.Header())
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	// A write may take long only once: the deadline is set before each.
	out := newBywayWriter(deadlineWriter{w, rc}, rc.Flush)
	if err := sendEvents(r.Context(), c, b, out); err != nil {
		if errors.Is(err, errBywayBehind) {
			s.stats.count(func(st *ServerState) { st.CutByways++ })
		}
		breakOff()
	}
}

// sendEvents writes events until the call is over or the client cannot follow.
func sendEvents(ctx context.Context, c *serverCall, b *reverseByway, out *bywayWriter) error {
	if err := out.Open(); err != nil {
		return err
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		var err error
		select {
		case ev := <-b.queue:
			err = out.Send(*ev)
		case <-beat.C:
			err = out.Beat()
		case <-b.behind:
			return errBywayBehind
		case <-c.ended:
			if c.isLeft() {
				return errLeft
			}
			return sendLast(b, out)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
	}
}

var errBywayBehind = errors.New("the client does not read its events")

// sendLast empties the queue of a call that is over and closes the array.
func sendLast(b *reverseByway, out *bywayWriter) error {
	for {
		select {
		case ev := <-b.queue:
			if err := out.Send(*ev); err != nil {
				return err
			}
		default:
			return out.Close()
		}
	}
}

// deadlineWriter gives each write the same time.
type deadlineWriter struct {
	w  io.Writer
	rc *http.ResponseController
}

func (d deadlineWriter) Write(p []byte) (int, error) {
	_ = d.rc.SetWriteDeadline(time.Now().Add(bywayWrite)) // without support there is none
	return d.w.Write(p)
}

// servePutEvents is a forward byway: commands of the client, in the order in
// which they arrive. A complete array of one event is served alike, for clients
// behind balancers that hold request bodies back.
func (s *Server) servePutEvents(w http.ResponseWriter, r *http.Request) {
	c := s.callAt(w, r)
	if c == nil {
		return
	}
	if err := c.openForward(); err != nil {
		refuse(bridge.CauseOf(err)).write(w)
		return
	}
	defer c.closeForward()
	rc := http.NewResponseController(w)
	alive, stop := keepReading(c, rc)
	defer stop()
	in := newBywayReader(heardReader{r.Body, alive})
	if err := in.Open(); err != nil {
		putRefused(err).write(w)
		return
	}
	stream := r.ContentLength < 0
	bywayHeader(w.Header())
	if stream {
		_ = rc.EnableFullDuplex() // where it is not there, it needs not be enabled
		w.WriteHeader(http.StatusOK)
		_ = rc.Flush() // a client that is gone shows on the next read
	}
	err := readCommands(r.Context(), c, in)
	if n := in.Unknown(); n > 0 {
		s.stats.count(func(st *ServerState) { st.UnknownEvents += n })
	}
	if c.isLeft() {
		breakOff()
	}
	select {
	case <-c.ended:
		err = nil // the byway has done its work, whatever state it is in
	default:
	}
	if errors.Is(err, errBywaySyntax) || errors.Is(err, errEventTooBig) {
		s.stats.count(func(st *ServerState) { st.CutByways++ })
	}
	switch {
	case err == nil && stream:
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case stream:
		panic(http.ErrAbortHandler)
	default:
		putRefused(err).write(w)
	}
}

func readCommands(ctx context.Context, c *serverCall, in *bywayReader) error {
	for {
		ev, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		c.command(ctx, ev)
	}
}

func putRefused(err error) *problemError {
	if errors.Is(err, errEventTooBig) {
		return refuseHTTP(http.StatusRequestEntityTooLarge, "an event is larger than %d bytes", maxEvent)
	}
	return refuse(bridge.CauseBadRequest.With("the body is not a JSON array of events"))
}

// keepReading lets a forward byway be read while its client is heard, and ends
// the reading when the call is over. Call stop before the handler returns.
func keepReading(c *serverCall, rc *http.ResponseController) (alive func(), stop func()) {
	var mu sync.Mutex
	alive = func() {
		mu.Lock()
		defer mu.Unlock()
		select {
		case <-c.ended:
		default:
			_ = rc.SetReadDeadline(time.Now().Add(bywayDead))
		}
	}
	alive()
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-c.ended:
			mu.Lock()
			defer mu.Unlock()
			_ = rc.SetReadDeadline(time.Unix(1, 0))
		case <-done:
		}
	})
	return alive, func() {
		close(done)
		wg.Wait()
	}
}
