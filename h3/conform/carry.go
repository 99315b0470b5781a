package conform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/quic-go/quic-go/quicvarint"
	"github.com/quic-go/webtransport-go"
)

const octets = "application/octet-stream"

// parked is one GET on media, from its start to its answer.
type parked struct {
	n        int
	at       time.Time
	answered time.Time // zero while it is parked
	status   int
	chunks   int
	acks     int
	header   http.Header
}

// lot is our parked GETs.
type lot struct {
	v      *conversation
	epoch  uint64
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu   sync.Mutex
	gets []*parked
}

// overRequests carries media by PUT and parked GETs.
func (v *conversation) overRequests(ctx context.Context, gets int) error {
	l := v.park(ctx, gets, 0)
	v.c.onClose(l.close)
	v.stop = l.close
	v.lot = l
	v.transmit = func(ctx context.Context, c []byte) error { return v.put(ctx, 0, sized(c)) }
	return nil
}

// park keeps GETs parked until it is closed.
func (v *conversation) park(ctx context.Context, n int, epoch uint64) *lot {
	ctx, cancel := context.WithCancel(ctx)
	l := &lot{v: v, epoch: epoch, cancel: cancel}
	for range n {
		l.wg.Go(func() {
			for ctx.Err() == nil && l.once(ctx) {
			}
		})
	}
	return l
}

func (l *lot) close() {
	l.cancel()
	l.wg.Wait()
}

// once parks one GET and takes its answer; false: not again.
func (l *lot) once(ctx context.Context) bool {
	l.mu.Lock()
	g := &parked{n: len(l.gets), at: time.Now()}
	l.gets = append(l.gets, g)
	l.mu.Unlock()
	resp, err := l.v.c.p.open(ctx, request{
		method: http.MethodGet, url: l.v.c.uri + "/media", token: l.v.c.token,
		header: map[string]string{"Ript-Epoch": strconv.FormatUint(l.epoch, 10)},
	}, nil)
	if err != nil {
		return false
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument))
	_ = resp.Body.Close()
	if err != nil {
		return false
	}
	chunks, bad := splitBody(body)
	if resp.StatusCode != http.StatusOK {
		chunks, bad = nil, nil
	}
	l.mu.Lock()
	g.answered, g.status, g.header = time.Now(), resp.StatusCode, resp.Header
	for _, c := range chunks {
		if c.err == nil && c.c.Control {
			g.acks++
		} else {
			g.chunks++
		}
	}
	l.mu.Unlock()
	if bad != nil {
		l.v.badBody(bad)
	}
	l.v.take(chunks, g.n)
	return resp.StatusCode == http.StatusOK && len(body) > 0
}

func (l *lot) all() []parked {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]parked, len(l.gets))
	for i, g := range l.gets {
		out[i] = *g
	}
	return out
}

// put sends a body of chunks.
func (v *conversation) put(ctx context.Context, epoch uint64, body []byte) error {
	r, err := v.putReply(ctx, epoch, body)
	if err == nil && r.status/100 != 2 {
		err = fmt.Errorf("PUT media: %w", r.is(http.StatusNoContent, http.StatusOK))
	}
	return err
}

func (v *conversation) putReply(ctx context.Context, epoch uint64, body []byte) (reply, error) {
	return v.c.p.do(ctx, request{
		method: http.MethodPut, url: v.c.uri + "/media", token: v.c.token, kind: octets, body: body,
		header: map[string]string{"Ript-Epoch": strconv.FormatUint(epoch, 10)},
	})
}

// overSession carries media as datagrams.
func (v *conversation) overSession(ctx context.Context) error {
	rep, sess, err := v.c.p.dialSession(ctx, v.c.uri+"/media", v.c.token, http.Header{"Ript-Epoch": {"1"}})
	if err != nil {
		return err
	}
	v.session = rep.header
	v.useSession(sess)
	return nil
}

func (v *conversation) useSession(sess *webtransport.Session) {
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			b, err := sess.ReceiveDatagram(sess.Context())
			if err != nil {
				return
			}
			v.take([]heardChunk{readChunk(b)}, -1)
		}
	})
	wg.Go(func() {
		for n := 0; ; n++ {
			s, err := sess.AcceptUniStream(sess.Context())
			if err != nil {
				return
			}
			b, err := io.ReadAll(io.LimitReader(s, maxDocument))
			if err == nil {
				v.take([]heardChunk{readChunk(b)}, n)
			}
		}
	})
	v.stop = sync.OnceFunc(func() {
		_ = sess.CloseWithError(0, "")
		wg.Wait()
	})
	v.c.onClose(v.stop)
	v.transmit = func(_ context.Context, c []byte) error {
		if len(c) > 1200 {
			return sendAlone(sess, c)
		}
		return sess.SendDatagram(c)
	}
}

// sendAlone sends a chunk on a stream of its own.
func sendAlone(sess *webtransport.Session, c []byte) error {
	s, err := sess.OpenUniStream()
	if err != nil {
		return fmt.Errorf("open a stream for a large chunk: %w", err)
	}
	if _, err := s.Write(c); err != nil {
		return fmt.Errorf("send a large chunk: %w", err)
	}
	return s.Close()
}

const stripeCount = 4

// stripes are the streams of one epoch.
type stripes struct {
	v    *conversation
	puts []*io.PipeWriter
	wg   sync.WaitGroup
	stop context.CancelFunc

	mu     sync.Mutex
	status map[string]int // "PUT 0" …
	clean  map[string]bool
}

// overStripes carries media on four PUTs and four GETs.
func (v *conversation) overStripes(ctx context.Context, epoch uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	s := &stripes{v: v, stop: cancel, status: map[string]int{}, clean: map[string]bool{}}
	v.stripes = s
	for n := range stripeCount {
		r, w := io.Pipe()
		s.puts = append(s.puts, w)
		s.wg.Go(func() { s.openPut(ctx, n, epoch, r) })
		s.wg.Go(func() { s.openGet(ctx, n, epoch) })
		v.c.onClose(func() { _ = w.Close() })
	}
	v.stop = sync.OnceFunc(func() {
		for _, w := range s.puts {
			_ = w.Close()
		}
		time.AfterFunc(time.Second, cancel)
		s.wg.Wait()
		cancel()
	})
	v.c.onClose(v.stop)
	for n := range stripeCount {
		if err := s.write(n, controlChunk(controlHello, tlv{tagControlBody, helloBody(n)})); err != nil {
			return err
		}
	}
	v.transmit = func(_ context.Context, c []byte) error {
		v.mu.Lock()
		n := int(v.seq % stripeCount)
		v.mu.Unlock()
		return s.write(n, c)
	}
	return s.echoed(v.c.p.opt.Timeout)
}

// helloBody is what stripe n says first.
func helloBody(n int) []byte { return append([]byte("conform-"), byte('0'+n)) }

// echoed waits for the echo of each stripe's hello on that stripe.
func (s *stripes) echoed(limit time.Duration) error {
	for n := range stripeCount {
		if !s.v.await(limit, func() bool {
			for _, c := range s.v.control {
				if c.way == n && c.c.ControlType == controlEcho && bytes.Contains(c.raw, helloBody(n)) {
					return true
				}
			}
			return false
		}) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return fmt.Errorf("stripe %d: the hello was not echoed within %v (PUT %d, GET %d)", n, limit,
				s.status[fmt.Sprint("PUT ", n)], s.status[fmt.Sprint("GET ", n)])
		}
	}
	return nil
}

func (s *stripes) write(n int, c []byte) error {
	if _, err := s.puts[n].Write(sized(c)); err != nil {
		return fmt.Errorf("stripe %d: %w", n, err)
	}
	return nil
}

func (s *stripes) request(method string, n int, epoch uint64) request {
	q := request{method: method, url: fmt.Sprintf("%s/media/stripes/%d", s.v.c.uri, n), token: s.v.c.token, header: map[string]string{
		"Ript-Stripes": strconv.Itoa(stripeCount), "Ript-Epoch": strconv.FormatUint(epoch, 10), "Incremental": "?1",
	}}
	if method == http.MethodPut {
		q.kind = octets
	}
	return q
}

func (s *stripes) openPut(ctx context.Context, n int, epoch uint64, body *io.PipeReader) {
	defer func() { _ = body.CloseWithError(errors.New("the server ended the stripe")) }()
	resp, err := s.v.c.p.open(ctx, s.request(http.MethodPut, n, epoch), body)
	s.note(http.MethodPut, n, resp, err)
	if err != nil {
		return
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	s.ended(http.MethodPut, n, err)
}

func (s *stripes) openGet(ctx context.Context, n int, epoch uint64) {
	resp, err := s.v.c.p.open(ctx, s.request(http.MethodGet, n, epoch), nil)
	s.note(http.MethodGet, n, resp, err)
	if err != nil {
		return
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return
	}
	r := quicvarint.NewReader(resp.Body)
	for {
		l, err := quicvarint.Read(r)
		if err != nil || l > maxDocument {
			s.ended(http.MethodGet, n, err)
			return
		}
		b := make([]byte, l)
		if _, err := io.ReadFull(r, b); err != nil {
			s.ended(http.MethodGet, n, fmt.Errorf("in mid-chunk: %w", err))
			return
		}
		s.v.take([]heardChunk{readChunk(b)}, n)
	}
}

func (s *stripes) note(method string, n int, resp *http.Response, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.status[fmt.Sprint(method, " ", n)] = resp.StatusCode
	}
}

func (s *stripes) ended(method string, n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clean[fmt.Sprint(method, " ", n)] = err == nil || errors.Is(err, io.EOF)
}
