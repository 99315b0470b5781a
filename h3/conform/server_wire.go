package conform

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// wireChecks send chunks of every kind of wrong, and of every odd kind of right.
var wireChecks = []check{
	{reqs: "A20", did: "sent chunks with extension tags, unknown core tags, tags twice and out of order", run: tags},
	{reqs: "A21", did: "sent bodies that are too large, broken off or of another version", run: framing},
	{reqs: "A63", did: "sent a chunk again", run: replay},
	{reqs: "A27", did: "sent a sealed chunk without anybody having keys", run: sealedForNobody},
	{reqs: "A22", did: "sent every length of truncated numbers", run: everyLength},
	{reqs: "A19", did: "sent acknowledgements that cannot be", run: impossibleAcks},
}

// trial is one odd chunk: is it taken?
type trial struct {
	name string
	make func(m mediaChunk) []byte
	good bool
}

var trials = []trial{
	{"a chunk with extension tags", func(m mediaChunk) []byte {
		m.extra = []tlv{{firstGrease, []byte("grease")}, {firstGrease + 31*7, nil}}
		return m.bytes()
	}, true},
	{"a chunk with an audio level", func(m mediaChunk) []byte {
		f := m.fields()
		f = append(f[:5:5], tlv{11, []byte{30}}, f[5])
		return writeChunk(f, []tlv{{tagMedia, m.body}})
	}, true},
	{"a chunk with unknown core tag 31", func(m mediaChunk) []byte {
		m.extra = []tlv{{31, []byte{1}}}
		return m.bytes()
	}, false},
	{"a chunk with a tag twice", func(m mediaChunk) []byte {
		f := m.fields()
		return writeChunk(append(f[:4:4], append([]tlv{f[3]}, f[4:]...)...), []tlv{{tagMedia, m.body}})
	}, false},
	{"a chunk with tags out of order", func(m mediaChunk) []byte {
		f := m.fields()
		f[0], f[1] = f[1], f[0]
		return writeChunk(f, []tlv{{tagMedia, m.body}})
	}, false},
	{"a chunk without source", func(m mediaChunk) []byte {
		f := m.fields()
		return writeChunk(append(f[:3:3], f[4:]...), []tlv{{tagMedia, m.body}})
	}, false},
	{"a chunk with media in its envelope", func(m mediaChunk) []byte {
		f := m.fields()
		return writeChunk(append(f[:3:3], append([]tlv{{tagMedia, m.body}}, f[3:]...)...), nil)
	}, false},
	{"a sequence number of 3 bytes", func(m mediaChunk) []byte {
		f := m.fields()
		f[0].value = f[0].value[5:]
		return writeChunk(f, []tlv{{tagMedia, m.body}})
	}, false},
	{"a chunk of version 2", func(m mediaChunk) []byte {
		b := m.bytes()
		b[0] = 2
		return b
	}, false},
	{"a chunk that is cut off", func(m mediaChunk) []byte {
		b := m.bytes()
		return b[:len(b)-20]
	}, false},
	{"a chunk for a sink that is not there", func(m mediaChunk) []byte {
		m.sink = 99
		return m.bytes()
	}, false},
}

// tags sends each trial between two good chunks. What is good is acknowledged,
// what is not must not be, and harms nothing that comes after it.
func tags(ctx context.Context, p *Probe) error {
	v, err := p.freshTalk(ctx, 10)
	if err != nil {
		return err
	}
	defer v.c.close(ctx)
	v.full = true
	sent := map[string]uint64{}
	for _, t := range trials {
		m := v.next()
		m.seqLen, m.msLen = 8, 8
		sent[t.name] = m.seq
		r, err := v.putReply(ctx, 0, sized(t.make(m)))
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		if t.good && r.status/100 != 2 {
			return fmt.Errorf("%s: %w", t.name, r.is(http.StatusNoContent))
		}
		if r.status/100 == 5 {
			return fmt.Errorf("%s: answered %d", t.name, r.status)
		}
		if err := v.speak(ctx, 1); err != nil {
			return fmt.Errorf("after %s: %w", t.name, err)
		}
	}
	if err := v.speak(ctx, 10); err != nil {
		return err
	}
	if err := v.awaitAck(v.seq, p.opt.Timeout); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, t := range trials {
		if got := v.isAcked(sent[t.name]); got != t.good {
			return fmt.Errorf("%s: acknowledged is %t, want %t", t.name, got, t.good)
		}
	}
	return nil
}

func framing(ctx context.Context, p *Probe) error {
	v, err := p.freshTalk(ctx, 10)
	if err != nil {
		return err
	}
	defer v.c.close(ctx)
	good := v.next()
	good.seqLen, good.msLen = 8, 8
	body := sized(good.bytes())
	for name, b := range map[string][]byte{
		"a body that ends in mid-chunk": body[:len(body)-5], "a length of 0": {0}, "a length past the end": {0x7f, 0xff, 1, 2, 3},
		"a body of 300 KiB": make([]byte, 300<<10),
	} {
		r, err := v.putReply(ctx, 0, b)
		if err != nil {
			continue // reset: as good a refusal
		}
		if r.status/100 == 2 || r.status/100 == 5 {
			return fmt.Errorf("%s: answered %d", name, r.status)
		}
	}
	// Several chunks in one body are allowed.
	var many []byte
	first := v.seq + 1
	for range 5 {
		m := v.next()
		m.seqLen, m.msLen = 8, 8
		many = append(many, sized(m.bytes())...)
	}
	if err := v.put(ctx, 0, many); err != nil {
		return fmt.Errorf("five chunks in one body: %w", err)
	}
	for seq := first; seq < first+5; seq++ {
		if err := v.awaitAck(seq, p.opt.Timeout); err != nil {
			return fmt.Errorf("five chunks in one body: %w", err)
		}
	}
	return nil
}

func replay(ctx context.Context, p *Probe) error {
	v, err := p.freshTalk(ctx, 10)
	if err != nil {
		return err
	}
	defer v.c.close(ctx)
	m := v.next()
	m.seqLen, m.msLen = 8, 8
	for range 3 {
		if err := v.transmit(ctx, m.bytes()); err != nil {
			return err
		}
	}
	if err := v.speak(ctx, 10); err != nil {
		return err
	}
	return v.awaitAck(v.seq, p.opt.Timeout)
}

func sealedForNobody(ctx context.Context, p *Probe) error {
	v, err := p.freshTalk(ctx, 10)
	if err != nil {
		return err
	}
	defer v.c.close(ctx)
	m := v.next()
	m.seqLen, m.msLen, m.sealed = 8, 8, true
	if r, err := v.putReply(ctx, 0, sized(m.bytes())); err != nil {
		return err
	} else if r.status/100 == 5 {
		return fmt.Errorf("answered %d", r.status)
	}
	if err := v.speak(ctx, 10); err != nil {
		return err
	}
	if err := v.awaitAck(v.seq, p.opt.Timeout); err != nil {
		return fmt.Errorf("after a sealed chunk: %w", err)
	}
	if _, d, err := v.c.get(ctx); err != nil {
		return err
	} else if d.State != "answered" {
		return fmt.Errorf("after a sealed chunk the call is %s", d.State)
	}
	return nil
}

func everyLength(ctx context.Context, p *Probe) error {
	v, err := p.freshTalk(ctx, 10)
	if err != nil {
		return err
	}
	defer v.c.close(ctx)
	if err := v.awaitAck(v.seq, p.opt.Timeout); err != nil {
		return err
	}
	for _, size := range []int{4, 2, 1, 8} {
		m := v.next()
		m.seqLen, m.msLen = size, max(size, 4)
		if err := v.transmit(ctx, m.bytes()); err != nil {
			return err
		}
		if err := v.awaitAck(m.seq, p.opt.Timeout); err != nil {
			return fmt.Errorf("a sequence number of %d bytes: %w", size, err)
		}
	}
	return nil
}

func impossibleAcks(ctx context.Context, p *Probe) error {
	v, err := p.freshTalk(ctx, 10)
	if err != nil {
		return err
	}
	defer v.c.close(ctx)
	for name, c := range map[string][]byte{
		"of what was never sent":    ackChunk(true, v.in.Source, v.in.Sink, [2]uint64{1, 1 << 40}),
		"of a stream not there":     ackChunk(true, 77, 77, [2]uint64{1, 5}),
		"with nothing in it":        controlChunk(controlAck, tlv{tagAck, nil}),
		"of a control type unknown": controlChunk(63, tlv{tagControlBody, []byte("x")}),
	} {
		r, err := v.putReply(ctx, 0, sized(c))
		if err != nil {
			return err
		}
		if r.status/100 == 5 {
			return fmt.Errorf("an acknowledgement %s: answered %d", name, r.status)
		}
	}
	if err := v.speak(ctx, 10); err != nil {
		return err
	}
	if err := v.awaitAck(v.seq, p.opt.Timeout); err != nil {
		return fmt.Errorf("after acknowledgements that cannot be: %w", err)
	}
	before := len(v.lot.all())
	if err := pause(ctx, 500*time.Millisecond); err != nil {
		return err
	}
	if len(v.lot.all()) == before {
		return errors.New("after acknowledgements that cannot be the server sends no more media")
	}
	return nil
}
