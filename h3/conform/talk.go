package conform

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"riptide/h3/advert"
	"riptide/h3/chunk"
)

// arrived is a chunk of the server's, and how it came.
type arrived struct {
	heardChunk
	at  time.Time
	way int // number of the GET, stripe or stream that brought it; -1 a datagram
}

// ackHeard is an acknowledgement of ours that came.
type ackHeard struct {
	chunk.Ack
	at  time.Time
	way int
}

// conversation is the media of one call on one carrier, from our side.
type conversation struct {
	c        *call
	carrier  string
	transmit func(context.Context, []byte) error // one chunk; the error is the server's refusal
	stop     func()
	lot      *lot        // of put-get
	stripes  *stripes    // of striped
	session  http.Header // of the response to CONNECT, of webtransport and trunk
	trunk    *trunkSession

	out, in   advert.Stream // what we were told to send, and the server will
	payload   uint64
	clockRate uint64

	watched
	media   []arrived
	acks    []ackHeard
	control []arrived // hellos and what else there is
	bad     []error   // what came and was no chunk
	seq     uint64    // the last sent
	clock   uint64
	began   time.Time
	acking  bool   // acknowledge what comes
	acked   uint64 // the largest of the server's numbers that we did
	full    bool   // never truncate
}

func newConversation(c *call, carrier string) (*conversation, error) {
	v := &conversation{c: c, carrier: carrier, watched: watched{changed: make(chan struct{})}, stop: func() {}}
	out, err := advert.ParseDirective(c.desc.ClientDirectives)
	if err != nil {
		return nil, fmt.Errorf("clientDirectives: %w", err)
	}
	in, err := advert.ParseDirective(c.desc.ServerDirectives)
	if err != nil {
		return nil, fmt.Errorf("serverDirectives: %w", err)
	}
	if len(out) == 0 || len(in) == 0 || len(out[0].Codecs) == 0 {
		return nil, errors.New("the directives leave out a direction that both handlers offer")
	}
	v.out, v.in, v.clockRate = out[0], in[0], 8000
	payload, ok := payloadOf[codecName(v.out.Codecs[0].Name)]
	if !ok {
		return nil, fmt.Errorf("clientDirectives chooses %q, which our handler does not offer", v.out.Codecs[0].Name)
	}
	v.payload = payload
	return v, nil
}

// payloadOf is the registry, by names in small letters.
var payloadOf = map[string]uint64{
	"pcmu": 0, "pcma": 8, "g722": 9, "cn": 13, "opus": 128, "telephone-event": 129, "l16": 130,
	"h264": 144, "av1": 145, "vp8": 146, "vp9": 147,
}

// codecName is a codec's name in small letters: case does not matter.
func codecName(s string) string { return strings.ToLower(s) }

// take notes chunks that came.
func (v *conversation) take(chunks []heardChunk, way int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	for _, h := range chunks {
		a := arrived{h, now, way}
		switch {
		case h.err != nil:
			v.bad = append(v.bad, h.err)
		case h.c.Control && h.c.ControlType == chunk.ControlAck:
			ack, err := chunk.ParseAck(h.c.Ack, nil)
			if err != nil {
				v.bad = append(v.bad, fmt.Errorf("acknowledgement: %w", err))
				continue
			}
			v.acks = append(v.acks, ackHeard{ack, now, way})
		case h.c.Control:
			v.control = append(v.control, a)
		default:
			v.media = append(v.media, a)
		}
	}
	v.bump()
}

func (v *conversation) badBody(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.bad = append(v.bad, err)
}

func (v *conversation) heard(n int, limit time.Duration) error {
	if v.await(limit, func() bool { return len(v.media) >= n }) {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return fmt.Errorf("%d chunks came on %s within %v, want %d", len(v.media), v.carrier, limit, n)
}

// isAcked tells whether the server says that it has one of our chunks.
func (v *conversation) isAcked(seq uint64) bool { // with mu held
	return slices.ContainsFunc(v.acks, func(a ackHeard) bool {
		return a.Direction == chunk.ClientToServer && slices.ContainsFunc(a.Ranges, func(r chunk.Range) bool { return r.First <= seq && seq <= r.Last })
	})
}

func (v *conversation) awaitAck(seq uint64, limit time.Duration) error {
	if v.await(limit, func() bool { return v.isAcked(seq) }) {
		return nil
	}
	return fmt.Errorf("chunk %d was not acknowledged on %s within %v", seq, v.carrier, limit)
}

// next is the next chunk of speech.
func (v *conversation) next() mediaChunk {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.seq++
	v.clock += v.clockRate / 50
	if v.began.IsZero() {
		v.began = time.Now()
	}
	m := mediaChunk{
		seq: v.seq, ms: uint64(time.Now().UnixMilli()), clock: v.clock, payload: v.payload,
		source: v.out.Source, sink: v.out.Sink, body: tone(int(v.seq)),
	}
	// Full until one was acknowledged, and again every second.
	if !v.full && len(v.acks) > 0 && v.seq%25 != 0 {
		m.seqLen, m.msLen = 2, 4
	}
	return m
}

// speak sends chunks at their pace.
func (v *conversation) speak(ctx context.Context, n int) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range n {
		if err := v.transmit(ctx, v.next().bytes()); err != nil {
			return err
		}
		if v.acking {
			if err := v.acknowledge(ctx); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// acknowledge tells the server what came.
func (v *conversation) acknowledge(ctx context.Context) error {
	v.mu.Lock()
	var seqs []uint64
	expected := v.acked + 1
	for _, a := range v.media {
		seqs = append(seqs, a.c.Seq.Near(expected))
		expected = seqs[len(seqs)-1] + 1
	}
	v.mu.Unlock()
	if len(seqs) == 0 {
		return nil
	}
	slices.Sort(seqs)
	seqs = slices.Compact(seqs)
	last := seqs[len(seqs)-1]
	if last == v.acked {
		return nil
	}
	ranges := rangesOf(seqs)
	v.acked = last
	return v.transmit(ctx, ackChunk(true, v.in.Source, v.in.Sink, ranges...))
}

// rangesOf are the newest runs of ascending numbers, the highest first.
func rangesOf(seqs []uint64) [][2]uint64 {
	var out [][2]uint64
	for i := len(seqs) - 1; i >= 0 && len(out) < chunk.MaxRanges; i-- {
		if n := len(out); n > 0 && out[n-1][0] == seqs[i]+1 {
			out[n-1][0] = seqs[i]
			continue
		}
		out = append(out, [2]uint64{seqs[i], seqs[i]})
	}
	return out
}

// snapshot is what came so far.
func (v *conversation) snapshot() (media []arrived, acks []ackHeard, bad []error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.media), slices.Clone(v.acks), slices.Clone(v.bad)
}

// talk is the shared conversation of a carrier: a call that is answered, in
// which both sides have spoken.
func (p *Probe) talk(ctx context.Context, carrier string) (*conversation, error) {
	o, _ := p.talks.LoadOrStore(carrier, &once[*conversation]{})
	return o.(*once[*conversation]).get(func() (*conversation, error) {
		if d, err := p.tg(ctx); err != nil {
			return nil, err
		} else if carrier != carrierPutGet && !d.has(carrier) {
			return nil, skip("the TG does not list %s in media", carrier)
		}
		v, err := p.converse(ctx, carrier)
		if err != nil {
			return nil, fmt.Errorf("a call with media on %s: %w", carrier, err)
		}
		return v, nil
	})
}

const (
	carrierWebTransport = "webtransport"
	carrierTrunk        = "trunk"
	carrierStriped      = "striped"
	carrierPutGet       = "put-get"
)

func (p *Probe) converse(ctx context.Context, carrier string) (*conversation, error) {
	var c *call
	var err error
	if carrier == carrierTrunk {
		return p.converseTrunk(ctx)
	}
	if c, err = p.dial(ctx, dialled{}); err != nil {
		return nil, err
	}
	v, err := newConversation(c, carrier)
	if err != nil {
		return nil, err
	}
	life := context.WithoutCancel(ctx)
	switch carrier {
	case carrierPutGet:
		err = v.overRequests(life, 30)
	case carrierWebTransport:
		err = v.overSession(ctx)
	case carrierStriped:
		err = v.overStripes(life, 1)
	}
	if err != nil {
		return nil, err
	}
	return v, v.exchange(ctx)
}

// exchange is what is said in a shared conversation: first we acknowledge
// nothing, so that the server's numbers must stay full, then everything.
func (v *conversation) exchange(ctx context.Context) error {
	if err := v.c.answered(); err != nil {
		return err
	}
	if err := v.speak(ctx, 25); err != nil {
		return err
	}
	if err := v.heard(10, v.c.p.opt.Timeout); err != nil {
		return err
	}
	v.mu.Lock()
	v.acking = true
	v.mu.Unlock()
	if err := v.speak(ctx, 75); err != nil {
		return err
	}
	return v.acknowledge(ctx)
}
