package media

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"

	"riptide/h3/chunk"
)

// EpochHeader counts the changes of a client's ways to a call: migrations, and
// fall-backs from WebTransport. The server uses the way of the highest epoch.
const EpochHeader = "Ript-Epoch"

// ContentType of bodies that hold chunks.
const ContentType = "application/octet-stream"

// Server answers the requests on {call}/media, on its stripes, and on {tg}/media.
type Server struct {
	wt     *webtransport.Server
	trunks trunkSessions
	conns  connections
}

// NewServer makes a Server. wt is that on which the requests arrive; nil means
// that there is no WebTransport.
func NewServer(wt *webtransport.Server) *Server { return &Server{wt: wt} }

// Serve answers one request on the media of the call whose end is p. The
// caller has authenticated it and found the call. It returns when the request
// is over: a parked GET, or a WebTransport session, may last as long as the
// call.
func (s *Server) Serve(w http.ResponseWriter, r *http.Request, p *Port) {
	epoch, err := epochOf(r)
	switch {
	case err != nil:
		refuse(w, http.StatusBadRequest, EpochHeader+": want a number")
	case p.ctx.Err() != nil:
		refuse(w, http.StatusNotFound, "the call has ended")
	case r.Method == http.MethodConnect:
		s.serveSession(w, r, p, epoch)
	case r.Method == http.MethodPut:
		s.servePut(w, r, p, epoch)
	case r.Method == http.MethodGet:
		s.serveGet(w, r, p, epoch)
	default:
		w.Header().Set("Allow", "GET, PUT")
		refuse(w, http.StatusMethodNotAllowed, "media takes GET, PUT and WebTransport")
	}
}

// Limits of what one call's client can keep open at a server. One at work has a
// session or two (a new one before the old is seen to be dead), and finishes a
// PUT before it begins the next sixteen.
const (
	maxOpenPuts = 64
	maxSessions = 8
)

// open counts what a client keeps open.
type open struct{ puts, sessions, stripes places }

// places counts those in a room.
type places struct{ taken atomic.Int32 }

// enter takes a place, if there are fewer than limit taken.
func (c *places) enter(limit int32) bool {
	if c.taken.Add(1) <= limit {
		return true
	}
	c.taken.Add(-1)
	return false
}

func (c *places) leave() { c.taken.Add(-1) }

func epochOf(r *http.Request) (uint64, error) {
	v := r.Header.Get(EpochHeader)
	if v == "" {
		return 0, nil
	}
	return strconv.ParseUint(v, 10, 62)
}

// serveSession carries the call over a WebTransport session.
func (s *Server) serveSession(w http.ResponseWriter, r *http.Request, p *Port, epoch uint64) {
	if s.wt == nil {
		refuse(w, http.StatusNotImplemented, "no WebTransport here; use GET and PUT")
		return
	}
	if _, ok := w.(http3.Settingser); !ok {
		refuse(w, http.StatusNotImplemented, "WebTransport needs HTTP/3; use GET and PUT")
		return
	}
	if !p.open.sessions.enter(maxSessions) {
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusTooManyRequests, "there are "+strconv.Itoa(maxSessions)+" sessions on this call")
		return
	}
	defer p.open.sessions.leave()
	defer s.conns.enter(r, false, func(b []byte) { p.receive(b, WebTransport, epoch) })()
	sess, err := s.wt.Upgrade(w, r)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	if sess.SessionState().ApplicationProtocol != Protocol {
		_ = sess.CloseWithError(0, "this server speaks "+Protocol)
		return
	}
	d := &datagrams{p: p, s: sess, epoch: epoch}
	p.takeOver(d, epoch, r.RemoteAddr)
	_ = p.carry(d) // how a session ends makes no difference to the call
	_ = sess.CloseWithError(0, "")
	p.handBack(d)
}

// servePut takes the chunks a client sends.
func (s *Server) servePut(w http.ResponseWriter, r *http.Request, p *Port, epoch uint64) {
	if !p.open.puts.enter(maxOpenPuts) {
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusTooManyRequests, "there are "+strconv.Itoa(maxOpenPuts)+" unfinished PUTs on this call")
		return
	}
	defer p.open.puts.leave()
	// Without support there is no limit of time, but still one of number.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(putTimeout))
	if r.ContentLength > chunk.MaxBody {
		refuse(w, http.StatusRequestEntityTooLarge, "a body of chunks has at most 256 KiB")
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, chunk.MaxBody+1))
	if err != nil {
		// A normal return would make a balancer answer 200 to a request that
		// never arrived.
		panic(http.ErrAbortHandler)
	}
	if len(body) > chunk.MaxBody {
		refuse(w, http.StatusRequestEntityTooLarge, "a body of chunks has at most 256 KiB")
		return
	}
	p.lot.use(epoch, r.RemoteAddr)
	if err := p.receiveBody(body, epoch); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// serveGet parks a GET until there is a chunk for it.
func (s *Server) serveGet(w http.ResponseWriter, r *http.Request, p *Port, epoch uint64) {
	p.lot.use(epoch, r.RemoteAddr)
	spot, ok := p.lot.park(epoch)
	if !ok {
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusTooManyRequests, "there are "+strconv.Itoa(MaxParked)+" GETs parked on this call")
		return
	}
	noStore(w.Header())
	if spot == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	p.poke()
	select {
	case m, ok := <-spot.answer:
		p.answer(w, m, ok)
		return
	case <-p.ctx.Done():
	case <-r.Context().Done():
	}
	if p.lot.leave(spot) {
		if r.Context().Err() != nil {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusNoContent)
		return
	}
	m, ok := <-spot.answer
	p.answer(w, m, ok)
}

// answer writes the chunks to a GET; without any, 204.
func (p *Port) answer(w http.ResponseWriter, m message, ok bool) {
	if !ok {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", ContentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(m.body)))
	_, err := w.Write(m.body)
	p.settle(m, err)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
}

// noStore keeps caches and buffers on the way out of it (RFC 9111, RFC 10036).
func noStore(h http.Header) {
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("X-Accel-Buffering", "no")
}

// refuse answers with a problem (RFC 9457).
func refuse(w http.ResponseWriter, status int, detail string) {
	body, err := json.Marshal(map[string]any{
		"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": detail,
	})
	if err != nil {
		panic(errors.New("a problem of strings does not marshal: " + err.Error()))
	}
	noStore(w.Header())
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
