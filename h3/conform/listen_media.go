package conform

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/quic-go/webtransport-go"

	"riptide/h3/chunk"
)

// outlet is one way on which we can send chunks to the client.
type outlet struct {
	carrier string
	epoch   uint64
	at      time.Time
	send    func([]byte) bool // false: it is gone
	closed  bool
}

// rank orders carriers of the same epoch.
var rank = map[string]int{carrierPutGet: 1, carrierStriped: 2, carrierTrunk: 3, carrierWebTransport: 4}

// heardMedia is a chunk of the client's, and how it came.
type heardMedia struct {
	heardChunk
	at      time.Time
	carrier string
	epoch   uint64
	way     int // stripe; number of the PUT
	size    int // of the datagram; 0 = no datagram
}

// mediaServed is the media of a call, from the server's side.
type mediaServed struct {
	c *played

	mu      sync.Mutex
	outlets []*outlet
	in      []heardMedia // of the client's audio
	other   []heardMedia // its control chunks, and other streams
	acks    []ackHeard
	bad     []error
	puts    int
	putBody []int // chunks in each PUT
	parked  []*parkedGet
	maxPark int
	refused map[string]int // carriers that were refused
	opened  map[string]time.Time
	seq     uint64
	clock   uint64
	quiet   bool // send nothing
	noAcks  bool
	unacked []uint64
	acked   map[uint64]bool // of ours
	sets    map[uint64]*stripeSet
}

// parkedGet is a GET of the client's on media.
type parkedGet struct {
	epoch uint64
	body  chan []byte
}

func (m *mediaServed) init(c *played) {
	m.c, m.refused, m.opened, m.acked, m.sets = c, map[string]int{}, map[string]time.Time{}, map[uint64]bool{}, map[uint64]*stripeSet{}
	m.outlets = append(m.outlets, &outlet{carrier: carrierPutGet, send: m.answerGet})
}

// best is the way of the highest epoch, and of these the best.
func (m *mediaServed) best() *outlet {
	m.mu.Lock()
	defer m.mu.Unlock()
	var best *outlet
	for _, o := range m.outlets {
		if o.closed || o.carrier == carrierPutGet && len(m.parked) == 0 {
			continue
		}
		if best == nil || o.epoch > best.epoch || o.epoch == best.epoch && rank[o.carrier] > rank[best.carrier] {
			best = o
		}
	}
	return best
}

// play sends a tone until the call is over.
func (m *mediaServed) play() {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-m.c.ending:
			return
		case <-tick.C:
		}
		m.mu.Lock()
		quiet := m.quiet
		m.clock += 160
		m.mu.Unlock()
		if quiet {
			continue
		}
		if o := m.best(); o != nil {
			m.sendOn(o)
		}
	}
}

func (m *mediaServed) sendOn(o *outlet) {
	m.c.mu.Lock()
	payload := payloadOf[codecName(m.c.codec)]
	m.c.mu.Unlock()
	m.mu.Lock()
	m.seq++
	c := mediaChunk{
		seq: m.seq, ms: uint64(time.Now().UnixMilli()), clock: m.clock, payload: payload, source: 1, sink: 1, body: tone(int(m.seq)),
	}
	if odd := m.c.script.oddChunk; odd != nil {
		odd(&c)
	}
	body := c.bytes()
	ack := m.ackLocked()
	m.mu.Unlock()
	if o.carrier == carrierPutGet {
		body = sized(body)
		if ack != nil {
			body = append(body, sized(ack)...)
		}
		ack = nil
	}
	if !o.send(body) || ack != nil && !o.send(ack) {
		m.mu.Lock()
		o.closed = true
		m.mu.Unlock()
	}
}

// ackLocked is an acknowledgement of what came since the last. mu is held.
func (m *mediaServed) ackLocked() []byte {
	if m.noAcks || len(m.unacked) == 0 {
		return nil
	}
	slices.Sort(m.unacked)
	m.unacked = slices.Compact(m.unacked)
	ranges := rangesOf(m.unacked)
	m.unacked = m.unacked[max(0, len(m.unacked)-64):]
	return ackChunk(false, 1, 1, ranges...)
}

// take notes chunks of the client's.
func (m *mediaServed) take(chunks []heardChunk, carrier string, epoch uint64, way, size int) {
	m.mu.Lock()
	now := time.Now()
	for _, h := range chunks {
		x := heardMedia{h, now, carrier, epoch, way, size}
		switch {
		case h.err != nil:
			m.bad = append(m.bad, h.err)
		case h.c.Control && h.c.ControlType == chunk.ControlAck:
			m.takeAck(h)
		case h.c.Control || h.c.Source != 1:
			m.other = append(m.other, x)
		default:
			expected := uint64(1)
			if n := len(m.in); n > 0 {
				expected = m.in[n-1].c.Seq.Value + 1
			}
			x.c.Seq.Value = h.c.Seq.Near(expected) // Len still says how it came
			m.in = append(m.in, x)
			m.unacked = append(m.unacked, x.c.Seq.Value)
		}
	}
	m.mu.Unlock()
	m.c.mu.Lock()
	m.c.bump()
	m.c.mu.Unlock()
}

func (m *mediaServed) takeAck(h heardChunk) {
	a, err := chunk.ParseAck(h.c.Ack, nil)
	if err != nil {
		m.bad = append(m.bad, err)
		return
	}
	m.acks = append(m.acks, ackHeard{a, time.Now(), 0})
	for _, r := range a.Ranges {
		for s := r.First; s <= r.Last && s-r.First < 4096; s++ {
			m.acked[s] = true
		}
	}
}

func epochOf(r *http.Request) uint64 {
	n, _ := strconv.ParseUint(r.Header.Get("Ript-Epoch"), 10, 62) // absent is 0
	return n
}

// serveMedia is {call}/media: PUT, GET and CONNECT.
func (c *played) serveMedia(w http.ResponseWriter, r *http.Request) {
	if !c.enter() {
		refuse(w, http.StatusNotFound, "call-ended", "the call is over")
		return
	}
	defer c.wg.Done()
	m := &c.media
	carrier := carrierPutGet
	if r.Method == http.MethodConnect {
		carrier = carrierWebTransport
	}
	m.mu.Lock()
	if m.opened[carrier].IsZero() {
		m.opened[carrier] = time.Now()
	}
	m.mu.Unlock()
	if !c.script.allows(carrier) {
		c.refuseCarrier(w, carrier)
		return
	}
	switch r.Method {
	case http.MethodConnect:
		c.serveSession(w, r)
	case http.MethodPut:
		c.servePut(w, r)
	case http.MethodGet:
		c.servePark(w, r)
	default:
		refuse(w, http.StatusMethodNotAllowed, "about:blank", "media takes PUT, GET and CONNECT")
	}
}

func (c *played) refuseCarrier(w http.ResponseWriter, carrier string) {
	c.media.mu.Lock()
	c.media.refused[carrier]++
	c.media.mu.Unlock()
	refuse(w, http.StatusNotImplemented, "not-implemented", carrier+" is not to be had in this call")
}

func (c *played) servePut(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxDocument))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	chunks, err := splitBody(body)
	c.media.mu.Lock()
	n := c.media.puts
	c.media.puts++
	media := 0
	for _, h := range chunks {
		if h.err == nil && !h.c.Control {
			media++
		}
	}
	c.media.putBody = append(c.media.putBody, media)
	if err != nil {
		c.media.bad = append(c.media.bad, err)
	}
	if r.Header.Get("Content-Type") != octets {
		c.media.bad = append(c.media.bad, errors.New("a PUT on media has Content-Type "+clip(r.Header.Get("Content-Type"), 60)))
	}
	c.media.mu.Unlock()
	c.media.take(chunks, carrierPutGet, epochOf(r), n, 0)
	w.WriteHeader(http.StatusNoContent)
}

// servePark parks a GET: the newest of the highest epoch is answered first.
func (c *played) servePark(w http.ResponseWriter, r *http.Request) {
	m := &c.media
	g := &parkedGet{epoch: epochOf(r), body: make(chan []byte, 1)}
	m.mu.Lock()
	var old []*parkedGet
	for _, p := range m.parked {
		if p.epoch < g.epoch {
			old = append(old, p)
		}
	}
	m.parked = append(m.parked, g)
	m.maxPark = max(m.maxPark, len(m.parked))
	m.outlets[0].epoch = max(m.outlets[0].epoch, g.epoch)
	m.mu.Unlock()
	for _, p := range old {
		m.drop(p)
		close(p.body)
	}
	m.c.mu.Lock()
	m.c.bump()
	m.c.mu.Unlock()
	defer m.drop(g)
	select {
	case b, ok := <-g.body:
		if !ok {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Content-Type", octets)
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(b)
	case <-c.ending:
		w.WriteHeader(http.StatusNoContent)
	case <-r.Context().Done():
	}
}

// drop takes a GET out of the lot.
func (m *mediaServed) drop(g *parkedGet) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, p := range m.parked {
		if p == g {
			m.parked = append(m.parked[:i], m.parked[i+1:]...)
			return
		}
	}
}

// answerGet answers the newest parked GET. It never closes the outlet.
func (m *mediaServed) answerGet(b []byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := len(m.parked); n > 0 {
		g := m.parked[n-1]
		m.parked = m.parked[:n-1]
		g.body <- b
	}
	return true
}

func (c *played) serveSession(w http.ResponseWriter, r *http.Request) {
	c.judge([]string{"A32"}, "", sessionRequest(r))
	if d := c.script.lateSession; d > 0 {
		time.Sleep(d)
	}
	sess, err := c.l.wt.Upgrade(w, r)
	if err != nil {
		return
	}
	m := &c.media
	epoch := epochOf(r)
	m.attach(&outlet{carrier: carrierWebTransport, epoch: epoch, at: time.Now(), send: func(b []byte) bool { return sess.SendDatagram(b) == nil }})
	var wg sync.WaitGroup
	wg.Go(func() { m.readStreams(sess, epoch) })
	go func() {
		select {
		case <-c.ending:
		case <-sess.Context().Done():
		}
		_ = sess.CloseWithError(0, "")
	}()
	for {
		b, err := sess.ReceiveDatagram(sess.Context())
		if err != nil {
			break
		}
		m.take([]heardChunk{readChunk(b)}, carrierWebTransport, epoch, -1, len(b))
	}
	wg.Wait()
	m.detach(carrierWebTransport, epoch)
}

func (m *mediaServed) readStreams(sess *webtransport.Session, epoch uint64) {
	for n := 0; ; n++ {
		s, err := sess.AcceptUniStream(sess.Context())
		if err != nil {
			return
		}
		if b, err := io.ReadAll(io.LimitReader(s, maxDocument)); err == nil {
			m.take([]heardChunk{readChunk(b)}, carrierWebTransport, epoch, n, 0)
		}
	}
}

func (m *mediaServed) attach(o *outlet) {
	m.mu.Lock()
	m.outlets = append(m.outlets, o)
	m.mu.Unlock()
	m.c.mu.Lock()
	m.c.bump()
	m.c.mu.Unlock()
}

func (m *mediaServed) detach(carrier string, epoch uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range m.outlets {
		if o.carrier == carrier && o.epoch == epoch && carrier != carrierPutGet {
			o.closed = true
		}
	}
}
