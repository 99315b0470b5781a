package conform

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/quic-go/quic-go/quicvarint"
	"github.com/quic-go/webtransport-go"
)

// trunkServed is a session that calls of the client share.
type trunkServed struct {
	id   string
	sess *webtransport.Session

	mu    sync.Mutex
	calls map[uint64]*played
	epoch map[uint64]uint64
	next  uint64
}

// serveTrunk is CONNECT on the TG's media. While no script wants a trunk session
// there is none to be had.
func (l *Listener) serveTrunk(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		refuse(w, http.StatusMethodNotAllowed, "about:blank", "CONNECT")
		return
	}
	l.note([]string{"A32"}, "", sessionRequest(r))
	raw := make([]byte, 16)
	_, _ = rand.Read(raw) // never fails
	t := &trunkServed{id: base64.RawURLEncoding.EncodeToString(raw), calls: map[uint64]*played{}, epoch: map[uint64]uint64{}}
	w.Header().Set("Ript-Session", t.id)
	sess, err := l.wt.Upgrade(w, r)
	if err != nil {
		return
	}
	t.sess = sess
	l.saw("trunk")
	l.state.mu.Lock()
	l.state.sessions[t.id] = t
	l.state.mu.Unlock()
	for {
		b, err := sess.ReceiveDatagram(sess.Context())
		if err != nil {
			break
		}
		l.note([]string{"A39a"}, "read the datagrams of its trunk sessions", t.split(b))
	}
	l.state.mu.Lock()
	delete(l.state.sessions, t.id)
	l.state.mu.Unlock()
}

// join gives a call a tag, and the session to the call.
func (t *trunkServed) join(c *played, epoch uint64) uint64 {
	t.mu.Lock()
	t.next++
	tag := t.next
	t.calls[tag], t.epoch[tag] = c, epoch
	t.mu.Unlock()
	c.media.attach(&outlet{carrier: carrierTrunk, epoch: epoch, at: time.Now(), send: func(b []byte) bool { return t.sess.SendDatagram(tagged(tag, b)) == nil }})
	return tag
}

// split gives the chunks of a datagram to their calls.
func (t *trunkServed) split(b []byte) error {
	size := len(b)
	for len(b) > 0 {
		tag, n, err := quicvarint.Parse(b)
		if err != nil {
			return errors.New("a datagram of a trunk session ends in a call tag")
		}
		l, k, err := quicvarint.Parse(b[n:])
		if err != nil || l > uint64(len(b)-n-k) {
			return errors.New("a datagram of a trunk session ends in a chunk")
		}
		body := b[n+k : n+k+int(l)]
		b = b[n+k+int(l):]
		if tag == 0 { // of the session itself: is anybody there?
			if h := readChunk(body); h.err == nil && h.c.Control && h.c.ControlType == controlHello {
				_ = t.sess.SendDatagram(tagged(0, controlChunk(controlEcho, tlv{tagControlBody, h.c.Body}))) // it asks again
			}
			continue
		}
		t.mu.Lock()
		c, epoch, given := t.calls[tag], t.epoch[tag], t.next
		t.mu.Unlock()
		if c == nil {
			return fmt.Errorf("a datagram of a trunk session has call tag %d, %d were given", tag, given)
		}
		c.media.take([]heardChunk{readChunk(body)}, carrierTrunk, epoch, -1, size)
	}
	return nil
}

// sessionRequest judges an extended CONNECT.
func sessionRequest(r *http.Request) error {
	switch {
	case !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer "):
		return errors.New("CONNECT has no bearer token")
	case !strings.Contains(r.Header.Get("WT-Available-Protocols"), subProtocol):
		return errors.New("CONNECT does not offer sub-protocol " + subProtocol)
	}
	return nil
}

var errBody = errors.New("GET events has a body")

// bufferable tells requests that ask nobody to let their bodies through at once.
func bufferable(r *http.Request) error {
	if r.ContentLength < 0 && r.Header.Get("Incremental") != "?1" {
		return errors.New("PUT events does not say Incremental: ?1")
	}
	return nil
}
