package media

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"riptide/h3/chunk"
)

const (
	maxOpenStripes = 6 * maxStripes // streams of one call: two sets, and what is being opened anew
	stripeWrite    = 10 * time.Second
)

// stripes is the server's end of the striped streams of one epoch.
type stripes struct {
	p     *Port
	epoch uint64
	lanes lanes // to the client, by the GET of the same number

	mu     sync.Mutex
	puts   int // open
	gets   int
	ended  int  // PUTs that the client has ended
	proven bool // something came after the hello: the client has seen the echoes
	used   bool // as a carrier of the port
	old    bool // there is a later set, or the call is over
}

func (s *stripes) about() traits  { return stripeTraits }
func (s *stripes) ready() bool    { return true }
func (s *stripes) send(m message) { s.lanes.push(m) }

// striped are the stripes of a call, of its latest epoch.
type striped struct {
	mu   sync.Mutex
	set  *stripes
	over bool
}

// of returns the stripes of an epoch; none if there are later ones.
func (st *striped) of(p *Port, epoch uint64, n int) (*stripes, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	switch s := st.set; {
	case st.over:
		return nil, nil
	case s == nil || s.epoch < epoch:
		st.set = &stripes{p: p, epoch: epoch, lanes: newLanes(p, n)}
		if s != nil {
			s.supersede()
		}
	case s.epoch > epoch:
		return nil, nil
	case len(s.lanes) != n:
		return nil, errors.New(StripesHeader + ": another number before")
	}
	return st.set, nil
}

// ServeStripe answers a request on {call}/media/stripes/{n} of the call whose
// end is p, as Serve does.
func (s *Server) ServeStripe(w http.ResponseWriter, r *http.Request, p *Port, number string) {
	epoch, err := epochOf(r)
	if err != nil {
		refuse(w, http.StatusBadRequest, EpochHeader+": want a number")
		return
	}
	n, err := strconv.ParseUint(r.Header.Get(StripesHeader), 10, 8)
	if err != nil || n < 1 || n > maxStripes {
		refuse(w, http.StatusBadRequest, StripesHeader+": want a number from 1 to "+strconv.Itoa(maxStripes))
		return
	}
	i, err := strconv.ParseUint(number, 10, 8)
	switch {
	case p.ctx.Err() != nil:
		refuse(w, http.StatusNotFound, "the call has ended")
		return
	case err != nil || i >= n:
		refuse(w, http.StatusNotFound, "there is no such stripe")
		return
	case r.Method != http.MethodPut && r.Method != http.MethodGet:
		w.Header().Set("Allow", "GET, PUT")
		refuse(w, http.StatusMethodNotAllowed, "a stripe takes GET and PUT")
		return
	case !p.open.stripes.enter(maxOpenStripes):
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusTooManyRequests, "there are "+strconv.Itoa(maxOpenStripes)+" stripes open on this call")
		return
	}
	defer p.open.stripes.leave()
	set, err := p.striped.of(p, epoch, int(n))
	switch {
	case err != nil:
		refuse(w, http.StatusConflict, err.Error())
	case set == nil:
		noStore(w.Header())
		w.WriteHeader(http.StatusNoContent) // there are stripes of a later epoch
	case r.Method == http.MethodPut:
		set.servePut(w, r, int(i))
	default:
		set.serveGet(w, r, int(i))
	}
}

// streamHeader tells everybody on the way to let each chunk through at once,
// and the client that we are here.
func streamHeader(w http.ResponseWriter) (*http.ResponseController, error) {
	noStore(w.Header())
	w.Header().Set("Content-Type", ContentType)
	w.Header().Set("Incremental", "?1") // RFC 10036
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	return rc, rc.Flush()
}

// servePut reads a stripe of the client's.
func (s *stripes) servePut(w http.ResponseWriter, r *http.Request, i int) {
	s.count(1, 0)
	defer s.count(-1, 0)
	_ = http.NewResponseController(w).EnableFullDuplex() // where it is not there, it needs not be enabled
	rc, err := streamHeader(w)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	var alive deadline
	alive.set = rc.SetReadDeadline
	alive.extend()
	stop := alive.endWith(s.p)
	defer stop()
	in := newChunkStream(r.Body, alive.extend)
	for {
		one, err := in.next()
		switch {
		case err == nil:
			s.take(one, i, r.RemoteAddr)
			continue
		case errors.Is(err, io.EOF):
			s.putEnded()
			return
		case s.p.ctx.Err() != nil:
			return
		}
		if errors.Is(err, chunk.ErrMalformed) {
			s.p.malformed()
		}
		panic(http.ErrAbortHandler) // a normal return would look like the end of the body
	}
}

// take takes a chunk of stripe i.
func (s *stripes) take(b []byte, i int, peer string) {
	kind, body, ok := greeting(b)
	if ok && kind == chunk.ControlHello {
		s.lanes[i].push(message{body: control(chunk.ControlEcho, body)})
		return
	}
	s.mu.Lock()
	if !s.proven {
		s.proven = true
		s.use(peer)
	}
	s.mu.Unlock()
	s.p.receive(b, Striped, s.epoch)
}

// use makes the stripes a carrier, if they are none and can be: they have proven
// themselves, and there is a stream to the client. All of them may be opened anew
// at once, so it is not the first alone that looks. The caller holds mu, so that
// what was lost before is not taken for what is there now.
func (s *stripes) use(peer string) {
	if s.proven && !s.used && s.gets > 0 && s.ended < len(s.lanes) {
		s.used = true
		s.p.takeOver(s, s.epoch, peer)
	}
}

// rest takes them out of use. The caller holds mu.
func (s *stripes) rest() {
	s.used = false
	s.p.handBack(s)
}

// serveGet writes a stripe to the client.
func (s *stripes) serveGet(w http.ResponseWriter, r *http.Request, i int) {
	out := s.lanes[i].open(nil)
	defer func() { _ = out.Close() }() // it never fails
	s.count(0, 1)
	defer s.count(0, -1)
	rc, err := streamHeader(w)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	s.mu.Lock()
	s.use(r.RemoteAddr)
	s.mu.Unlock()
	defer context.AfterFunc(r.Context(), func() { _ = out.Close() })()
	defer context.AfterFunc(s.p.ctx, s.lanes[i].end)()
	buf := make([]byte, streamBuffer)
	for {
		n, err := out.Read(buf)
		if n > 0 {
			_ = rc.SetWriteDeadline(time.Now().Add(stripeWrite)) // without support there is none
			if _, err := w.Write(buf[:n]); err != nil {
				panic(http.ErrAbortHandler)
			}
			if err := rc.Flush(); err != nil {
				panic(http.ErrAbortHandler)
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return
		default:
			panic(http.ErrAbortHandler)
		}
	}
}

// count counts the streams that are open. Without a GET the stripes are no
// carrier.
func (s *stripes) count(puts, gets int) {
	s.mu.Lock()
	s.puts += puts
	s.gets += gets
	none := gets < 0 && s.gets == 0
	if none {
		s.rest()
	}
	last := none && s.old
	s.mu.Unlock()
	if last {
		s.lanes.abandon()
	}
}

// supersede is for stripes to which the client will not come back. What they
// hold goes out on the streams that are still open, or goes back to the port.
func (s *stripes) supersede() {
	s.mu.Lock()
	s.old = true
	none := s.gets == 0
	s.mu.Unlock()
	if none {
		s.lanes.abandon()
	}
}

// end is for the end of the call.
func (st *striped) end() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.over = true
	if st.set != nil {
		st.set.supersede()
	}
}

// putEnded ends the GETs when the client has ended all its PUTs.
func (s *stripes) putEnded() {
	s.mu.Lock()
	s.ended++
	over := s.ended >= len(s.lanes)
	if over {
		s.rest()
	}
	s.mu.Unlock()
	if over {
		s.lanes.end()
	}
}
