package conform

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/quic-go/quic-go/quicvarint"
	"github.com/quic-go/webtransport-go"
)

// trunkSession is a WebTransport session that calls share.
type trunkSession struct {
	id   string
	sess *webtransport.Session
	wg   sync.WaitGroup

	mu    sync.Mutex
	calls map[uint64]*conversation // by callTag
	lost  map[uint64]int           // chunks for tags that are nobody's
	bad   []error
}

// openTrunk opens a session on the TG.
func (p *Probe) openTrunk(ctx context.Context) (*trunkSession, error) {
	d, err := p.tg(ctx)
	if err != nil {
		return nil, err
	}
	token, err := p.token(ctx, d.uri)
	if err != nil {
		return nil, err
	}
	rep, sess, err := p.dialSession(ctx, d.uri+"/media", token, nil)
	if err != nil {
		return nil, err
	}
	s := &trunkSession{id: rep.header.Get("Ript-Session"), sess: sess, calls: map[uint64]*conversation{}, lost: map[uint64]int{}}
	if s.id == "" {
		_ = sess.CloseWithError(0, "")
		return nil, errors.New("CONNECT on the TG's media: the response has no Ript-Session")
	}
	s.wg.Go(s.receive)
	return s, nil
}

func (s *trunkSession) close() {
	_ = s.sess.CloseWithError(0, "")
	s.wg.Wait()
}

// receive takes datagrams apart: call tag, length, chunk, and so on.
func (s *trunkSession) receive() {
	for {
		b, err := s.sess.ReceiveDatagram(s.sess.Context())
		if err != nil {
			return
		}
		if err := s.split(b); err != nil {
			s.mu.Lock()
			s.bad = append(s.bad, err)
			s.mu.Unlock()
		}
	}
}

func (s *trunkSession) split(b []byte) error {
	for len(b) > 0 {
		tag, n, err := quicvarint.Parse(b)
		if err != nil {
			return fmt.Errorf("datagram of a trunk session: call tag: %w", err)
		}
		l, k, err := quicvarint.Parse(b[n:])
		if err != nil || l > uint64(len(b)-n-k) {
			return errors.New("datagram of a trunk session: a chunk's length is past the end")
		}
		body := b[n+k : n+k+int(l)]
		b = b[n+k+int(l):]
		s.mu.Lock()
		v := s.calls[tag]
		if v == nil {
			s.lost[tag]++
		}
		s.mu.Unlock()
		if v != nil {
			v.take([]heardChunk{readChunk(body)}, -1)
		}
	}
	return nil
}

// tagged is a chunk as trunk sessions carry it.
func tagged(tag uint64, c []byte) []byte {
	return append(quicvarint.Append(nil, tag), sized(c)...)
}

// join makes the session the carrier of a call.
func (s *trunkSession) join(c *call, tag uint64) (*conversation, error) {
	v, err := newConversation(c, carrierTrunk)
	if err != nil {
		return nil, err
	}
	v.trunk = s
	s.mu.Lock()
	s.calls[tag] = v
	s.mu.Unlock()
	v.transmit = func(_ context.Context, c []byte) error { return s.sess.SendDatagram(tagged(tag, c)) }
	return v, nil
}

// converseTrunk places a call whose media is on a trunk session.
func (p *Probe) converseTrunk(ctx context.Context) (*conversation, error) {
	s, err := p.openTrunk(ctx)
	if err != nil {
		return nil, err
	}
	v, err := p.dialTrunk(ctx, s)
	if err != nil {
		s.close()
		return nil, err
	}
	v.c.onClose(s.close)
	return v, v.exchange(ctx)
}

// dialTrunk places one call on a session.
func (p *Probe) dialTrunk(ctx context.Context, s *trunkSession) (*conversation, error) {
	c, err := p.place(ctx, dialled{more: map[string]any{"session": s.id}})
	if err != nil {
		return nil, err
	}
	if c.desc.CallTag == 0 {
		return nil, errors.New("POST calls with session: the 201 has no callTag")
	}
	v, err := s.join(c, c.desc.CallTag)
	if err != nil {
		return nil, err
	}
	return v, c.attach(ctx)
}

// update is POST on a call.
func (c *call) update(ctx context.Context, body map[string]any, header map[string]string) (reply, error) {
	return c.p.do(ctx, request{method: http.MethodPost, url: c.uri, token: c.token, kind: "application/json", body: asJSON(body), header: header})
}
