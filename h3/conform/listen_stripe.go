package conform

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/quic-go/quic-go/quicvarint"
)

// serveStripe is one PUT or GET of striped streams.
func (c *played) serveStripe(w http.ResponseWriter, r *http.Request) {
	if !c.enter() {
		refuse(w, http.StatusNotFound, "call-ended", "the call is over")
		return
	}
	defer c.wg.Done()
	m := &c.media
	m.mu.Lock()
	if m.opened[carrierStriped].IsZero() {
		m.opened[carrierStriped] = time.Now()
	}
	m.mu.Unlock()
	if !c.script.allows(carrierStriped) {
		c.refuseCarrier(w, carrierStriped)
		return
	}
	n, err := strconv.Atoi(r.PathValue("n"))
	count, cerr := strconv.Atoi(r.Header.Get("Ript-Stripes"))
	if err != nil || cerr != nil || n < 0 || n >= count || count > 8 {
		c.judge([]string{"A39"}, "", errors.New("it opens stripe "+clip(r.PathValue("n"), 10)+" of "+clip(r.Header.Get("Ript-Stripes"), 10)))
		refuse(w, http.StatusBadRequest, "bad-request", "no such stripe")
		return
	}
	set := m.stripeSet(epochOf(r), count)
	if len(set.ways) != count {
		c.judge([]string{"A39"}, "", errors.New("it changes the number of stripes within an epoch"))
		refuse(w, http.StatusConflict, "bad-request", "the stripes of this epoch are another number")
		return
	}
	if r.Method == http.MethodPut {
		c.readStripe(w, r, set, n)
	} else {
		c.writeStripe(w, r, set, n)
	}
}

// stripeSet is the stripes of one epoch at the server.
type stripeSet struct {
	epoch uint64
	ways  []chan []byte
}

func (m *mediaServed) stripeSet(epoch uint64, count int) *stripeSet {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.sets[epoch]; s != nil {
		return s
	}
	s := &stripeSet{epoch: epoch}
	for range count {
		s.ways = append(s.ways, make(chan []byte, 64))
	}
	m.sets[epoch] = s
	m.outlets = append(m.outlets, &outlet{carrier: carrierStriped, epoch: epoch, at: time.Now(), send: s.send})
	return s
}

// send puts a chunk on the stripe of its number; acknowledgements go on any.
func (s *stripeSet) send(b []byte) bool {
	n := uint64(0)
	if h := readChunk(b); h.err == nil && !h.c.Control {
		n = h.c.Seq.Value
	}
	select {
	case s.ways[n%uint64(len(s.ways))] <- b:
	default: // the client does not read
	}
	return true
}

func (c *played) readStripe(w http.ResponseWriter, r *http.Request, set *stripeSet, n int) {
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	_ = rc.Flush()
	read := make(chan struct{})
	defer close(read)
	go func() {
		select {
		case <-c.ending: // the client has a moment to end it by itself
			_ = rc.SetReadDeadline(time.Now().Add(time.Second))
		case <-read:
		}
	}()
	src := quicvarint.NewReader(r.Body)
	for first := true; ; first = false {
		l, err := quicvarint.Read(src)
		if err != nil || l > maxDocument {
			return
		}
		b := make([]byte, l)
		if _, err := io.ReadFull(src, b); err != nil {
			panic(http.ErrAbortHandler)
		}
		h := readChunk(b)
		if h.err == nil && h.c.Control && h.c.ControlType == controlHello {
			select {
			case set.ways[n] <- controlChunk(controlEcho, tlv{tagControlBody, h.c.Body}):
			default:
			}
			c.judge([]string{"A39"}, "", nil)
		} else if first {
			c.judge([]string{"A39"}, "", errors.New("the first chunk on a stripe is no hello"))
		}
		c.media.take([]heardChunk{h}, carrierStriped, set.epoch, n, 0)
	}
}

func (c *played) writeStripe(w http.ResponseWriter, r *http.Request, set *stripeSet, n int) {
	w.Header().Set("Content-Type", octets)
	w.Header().Set("Incremental", "?1")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	_ = rc.Flush()
	for {
		select {
		case b := <-set.ways[n]:
			if _, err := w.Write(sized(b)); err != nil || rc.Flush() != nil {
				return
			}
		case <-c.ending:
			return
		case <-r.Context().Done():
			return
		}
	}
}
