package conform

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"riptide/h3/chunk"
)

func (c *played) byRequests() {
	const did = "refused WebTransport"
	if !c.await(10*time.Second, func() bool { return len(c.gets) > 0 && !c.gets[0].headers.IsZero() }) {
		return
	}
	c.say("alerting", nil)
	m := &c.media
	parked := func() int {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.maxPark
	}
	c.await(6*time.Second, func() bool { return parked() >= 4 })
	var err error
	if n := parked(); n < 4 || n > 20 {
		err = fmt.Errorf("before the answer it had parked %d GETs, want 4 to 20", n)
	}
	c.judge([]string{"80"}, did, err)
	c.say("answered", nil)
	c.judge([]string{"94"}, did, c.awaitChunks(carrierPutGet, 40, 8*time.Second))
	c.wait(2 * time.Second)
	m.mu.Lock()
	defer m.mu.Unlock()
	err = nil
	if len(m.bad) > 0 {
		err = m.bad[0]
	}
	c.judge([]string{"95"}, did, err)
	err = nil
	if len(m.acks) == 0 {
		err = fmt.Errorf("its %d PUTs hold no acknowledgement of the %d chunks that we sent", m.puts, m.seq)
	}
	c.judge([]string{"96"}, did, err)
	err = nil
	if m.puts < 10 {
		err = fmt.Errorf("its media came in %d PUTs only", m.puts)
	}
	c.judge([]string{"97"}, did, err)
	err = nil
	if m.maxPark > 20 {
		err = fmt.Errorf("it parked %d GETs, the TG says 20", m.maxPark)
	}
	c.judge([]string{"A38"}, did, err)
}

func (c *played) byStripes() {
	if !c.answer(time.Second) {
		return
	}
	err := c.awaitChunks(carrierStriped, 40, 10*time.Second)
	c.media.mu.Lock()
	never := c.media.opened[carrierStriped].IsZero()
	c.media.mu.Unlock()
	if err != nil && never {
		err = fmt.Errorf("it never opened a stripe; its media came on %s; refused was %v", c.carriersSeen(), c.media.refused)
	}
	if err == nil {
		c.media.mu.Lock()
		for _, x := range c.media.in {
			if x.carrier == carrierStriped && int(x.c.Seq.Value%stripeCount) != x.way {
				err = fmt.Errorf("chunk %d came on stripe %d", x.c.Seq.Value, x.way)
				break
			}
		}
		c.media.mu.Unlock()
	}
	c.judge([]string{"A39"}, "offered striped streams, and no WebTransport", err)
}

// carriersSeen are those on which media came, and how much.
func (c *played) carriersSeen() string {
	var out []string
	for _, name := range []string{carrierWebTransport, carrierTrunk, carrierStriped, carrierPutGet} {
		if n := c.chunks(name); n > 0 {
			out = append(out, fmt.Sprintf("%s (%d chunks)", name, n))
		}
	}
	return strings.Join(out, ", ")
}

func (c *played) slowSession() {
	ok := c.await(2*time.Second, func() bool { return len(c.gets) > 0 && len(c.puts) > 0 })
	var err error
	if !ok {
		err = errors.New("while CONNECT is not answered it does not open its byways")
	}
	c.judge([]string{"A33"}, "let it wait 3 s for CONNECT", err)
	if c.answer(200 * time.Millisecond) {
		c.judge([]string{"A33"}, "", c.awaitChunks("", 10, 2500*time.Millisecond))
	}
}

func (c *played) slowHeaders() {
	if !c.answer(200 * time.Millisecond) {
		return
	}
	c.judge([]string{"A37"}, "answered GET events late", c.mediaAfterHeaders(false))
	c.wait(500 * time.Millisecond)
}

// mediaAfterHeaders wants no media byway before the response headers of GET
// events went out.
func (c *played) mediaAfterHeaders(moved bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var headers time.Time
	for _, g := range c.gets {
		if g.moved == moved && !g.headers.IsZero() {
			headers = g.headers
			break
		}
	}
	for _, r := range c.requests {
		if !moved && r.method == http.MethodConnect {
			continue // the first session is tried side by side (A33)
		}
		if r.moved == moved && r.what == "media" && (headers.IsZero() || r.at.Before(headers)) {
			return fmt.Errorf("%s media came %v before the response headers of GET events", r.method, headers.Sub(r.at).Round(time.Millisecond))
		}
	}
	return nil
}

// greasy adds extension tags to some chunks, and an unknown core tag to others.
func greasy(m *mediaChunk) {
	switch m.seq % 4 {
	case 0:
		m.extra = []tlv{{firstGrease, []byte("grease")}, {firstGrease + 31*1000, nil}}
	case 1:
		m.extra = []tlv{{31, []byte{1}}}
	}
}

func truncated(m *mediaChunk) {
	if m.seq > 50 && m.seq%25 != 0 {
		m.seqLen, m.msLen = 1+int(m.seq%2), 4
	}
}

// sealedAndNoise seals every fifth chunk with a key that nobody has.
func sealedAndNoise(m *mediaChunk) {
	switch m.seq % 5 {
	case 0:
		m.sealed = true
	case 1:
		m.payload, m.body = payloadCN, []byte{70}
	}
}

// ackedOf tells how many of our chunks of a kind the client has acknowledged.
func (c *played) ackedOf(is func(seq uint64) bool) (acked, sent int) {
	c.media.mu.Lock()
	defer c.media.mu.Unlock()
	for s := uint64(1); s+25 < c.media.seq; s++ {
		if is(s) {
			sent++
			if c.media.acked[s] {
				acked++
			}
		}
	}
	return acked, sent
}

func (c *played) oddChunks() {
	if !c.answer(200 * time.Millisecond) {
		return
	}
	c.wait(4 * time.Second)
	var err error
	if acked, sent := c.ackedOf(func(s uint64) bool { return s%4 == 0 }); sent == 0 || acked < sent/2 {
		err = fmt.Errorf("it took %d of %d chunks with extension tags", acked, sent)
	} else if acked, sent := c.ackedOf(func(s uint64) bool { return s%4 == 1 }); acked > 0 {
		err = fmt.Errorf("it took %d of %d chunks with an unknown core tag", acked, sent)
	}
	c.judge([]string{"A20"}, "sent it chunks with extension tags, and with an unknown core tag", err)
}

func (c *played) truncatedNumbers() {
	if !c.answer(200 * time.Millisecond) {
		return
	}
	c.wait(5 * time.Second)
	var err error
	if acked, sent := c.ackedOf(func(s uint64) bool { return s > 60 }); sent == 0 || acked < sent/2 {
		err = fmt.Errorf("it took %d of %d chunks with truncated numbers", acked, sent)
	}
	c.judge([]string{"A22"}, "sent it truncated numbers", err)
}

func (c *played) sealedAmongClear() {
	if !c.answer(200 * time.Millisecond) {
		return
	}
	c.wait(4 * time.Second)
	err := c.pings("sealed", 3*time.Second)
	if acked, sent := c.ackedOf(func(s uint64) bool { return s%5 > 1 }); err == nil && (sent == 0 || acked < sent/2) {
		err = fmt.Errorf("among sealed ones it took %d of %d clear chunks", acked, sent)
	}
	c.judge([]string{"A27"}, "sent it chunks sealed with a key that nobody has", err)
	err = nil
	if acked, sent := c.ackedOf(func(s uint64) bool { return s%5 == 1 }); sent == 0 || acked < sent/2 {
		err = fmt.Errorf("it took %d of %d chunks of comfort noise", acked, sent)
	}
	c.judge([]string{"A31"}, "sent it comfort noise", err)
}

func (c *played) newDirective() {
	if !c.answer(200 * time.Millisecond) {
		return
	}
	if err := c.awaitChunks("", 20, 6*time.Second); err != nil {
		c.judge([]string{"98"}, "", err)
		return
	}
	c.mu.Lock()
	c.codec = "PCMA"
	c.mu.Unlock()
	c.say("handler-changed", map[string]any{
		"handler": c.posted.Handler, "clientDirectives": c.directives(), "serverDirectives": c.directives(), "etag": `"conform"`,
	})
	var err error
	if !c.await(6*time.Second, func() bool {
		c.media.mu.Lock()
		defer c.media.mu.Unlock()
		last := c.media.in[len(c.media.in)-1].c
		return last.PayloadType == payloadPCMA
	}) && !c.clientEnded("media-incompatible") {
		err = errors.New("6 s after handler-changed it neither sends what the new directive says nor ends the call as media-incompatible")
	}
	c.judge([]string{"98"}, "gave it a new directive in mid-call", err)
}

// clientEnded tells whether the client has ended the call for this reason.
func (c *played) clientEnded(code string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.said {
		if e.Type == "end" && e.Reason != nil && e.Reason.Code == code {
			return true
		}
	}
	return false
}

// standingMedia judges all media of a call.
func (c *played) standingMedia() {
	m := &c.media
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.in) == 0 {
		return
	}
	const did = "looked at all its chunks"
	var form, numbers, stamps, types, ids, sizes error
	if len(m.bad) > 0 {
		form = m.bad[0]
	}
	firstAck := m.firstAckOf()
	for i, x := range m.in {
		form = errors.Join(form, x.canon)
		if x.c.Seq.Len != chunk.Full && i < firstAck {
			numbers = fmt.Errorf("chunk %d has a sequence number of %d bytes, nothing was acknowledged yet", i+1, x.c.Seq.Len)
		}
		if x.c.Timestamp.Len != chunk.Full && i < firstAck {
			stamps = fmt.Errorf("chunk %d has a timestamp of %d bytes, nothing was acknowledged yet", i+1, x.c.Timestamp.Len)
		}
		if x.c.Sink != 1 {
			ids = fmt.Errorf("a chunk for sink %d", x.c.Sink)
		}
		if pt := x.c.PayloadType; pt != payloadPCMU && pt != payloadPCMA && pt != payloadCN && pt != payloadDigits {
			types = fmt.Errorf("a chunk of payload type %d", pt)
		}
		if x.c.PayloadType == payloadDigits && len(x.c.Media) != 4 {
			c.judge([]string{"A30"}, "", fmt.Errorf("a digit has a body of %d bytes, want the 4 of RFC 4733", len(x.c.Media)))
		} else if x.c.PayloadType == payloadDigits {
			c.judge([]string{"A30"}, "", nil)
		}
		if x.size > 1200 {
			sizes = fmt.Errorf("a datagram of %d bytes", x.size)
		}
	}
	c.judge([]string{"A21"}, did, form)
	c.judge([]string{"89"}, did, numbers)
	c.judge([]string{"91"}, did, stamps)
	c.judge([]string{"A23"}, did, types)
	c.judge([]string{"A25"}, did, ids)
	c.judge([]string{"A29"}, did, sizes)
	c.judge([]string{"A24"}, did, m.clocks())
	c.judge([]string{"A43"}, did, m.gaps())
	c.judge([]string{"A19"}, "read its acknowledgements", m.acksTrue())
}

// firstAckOf is how many of its chunks came before we acknowledged any: at least
// the first two. mu is held.
func (m *mediaServed) firstAckOf() int { return 2 }

// clocks compares timestamps with the time. mu is held.
func (m *mediaServed) clocks() error {
	var first, last *heardMedia
	for i := range m.in {
		if x := &m.in[i]; x.c.Timestamp.Len == chunk.Full {
			if first == nil {
				first = x
			}
			last = x
		}
	}
	if first == nil {
		return errors.New("no chunk has a full timestamp")
	}
	took, ms := last.at.Sub(first.at), time.Duration(last.c.Timestamp.Value-first.c.Timestamp.Value)*time.Millisecond
	if d := ms - took; d > took/2+3*time.Second || d < -took/2-3*time.Second {
		return fmt.Errorf("its timestamps went %v in %v", ms.Round(time.Millisecond), took.Round(time.Millisecond))
	}
	if off := time.Since(time.UnixMilli(int64(last.c.Timestamp.Value))); off > time.Hour || off < -time.Hour {
		return fmt.Errorf("timestamp %d is not of this hour: want milliseconds since 1970", last.c.Timestamp.Value)
	}
	return nil
}

// gaps wants a chunk every second. What a script breaks on purpose does not
// count. mu is held.
func (m *mediaServed) gaps() error {
	if m.c.script.alone || m.quiet || m.noAcks {
		return nil
	}
	for i := 1; i < len(m.in); i++ {
		if gap := m.in[i].at.Sub(m.in[i-1].at); gap > 3*time.Second {
			return fmt.Errorf("it sent nothing for %v (%s)", gap.Round(10*time.Millisecond), m.c.script.name)
		}
	}
	return nil
}

// acksTrue judges acknowledgements. mu is held.
func (m *mediaServed) acksTrue() error {
	for _, a := range m.acks {
		switch {
		case a.Direction != chunk.ServerToClient:
			return errors.New("an acknowledgement of what the client itself sent")
		case a.Source != 1 || a.Sink != 1:
			return fmt.Errorf("an acknowledgement of source %d, sink %d", a.Source, a.Sink)
		case a.Largest() > m.seq:
			return fmt.Errorf("it acknowledges %d, we sent %d", a.Largest(), m.seq)
		}
	}
	return nil
}
