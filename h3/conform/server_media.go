package conform

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"riptide/h3/chunk"
)

// mediaChecks judge media of PUT and GET, which every server has, and what all
// carriers have in common.
var mediaChecks = []check{
	{reqs: "61 A23", did: "compared what came with the server directive", run: onEach(obeysDirective)},
	{reqs: "62", did: "looked at the size of what came", run: onEach(withinPackets)},
	{reqs: "81 A38", did: "parked 30 GETs", run: thirtyGets},
	{reqs: "89 91", did: "looked at the numbers before we acknowledged any", run: onEach(fullUntilAcked)},
	{reqs: "94", did: "sent speech by PUT", run: withTalk(carrierPutGet, func(v *conversation) error {
		return v.awaitAck(1, v.c.p.opt.Timeout) // a 204 alone may be given by whoever throws it away
	})},
	{reqs: "100 102 104", did: "took media from parked GETs", run: getsAreAnswered},
	{reqs: "101", did: "looked at which of the parked GETs were answered", run: newestGetFirst},
	{reqs: "103", did: "looked for acknowledgements in the responses", run: getsCarryAcks},
	{reqs: "105 106 108", did: "took all GETs away for 7 s while the server spoke", run: mediaPanic, slow: 12 * time.Second},
	{reqs: "A19", did: "read the server's acknowledgements", run: onEach(acksAreTrue)},
	{reqs: "A21", did: "read every chunk that came in its canonical form", run: onEach(canonical)},
	{reqs: "A22", did: "sent truncated numbers, and looked for full ones", run: onEach(truncation)},
	{reqs: "A24", did: "compared timestamps and media clocks with the time", run: onEach(clocks)},
	{reqs: "A40", did: "parked GETs of a higher epoch", run: epochs},
	{reqs: "A43", did: "timed the gaps between chunks", run: onEach(noGaps)},
	{reqs: "90 92", did: "called a number with video, and asked for an intra frame", run: videoNumbers},
	{reqs: "A30", did: "called a number that sends digits, and sent some", run: digits},
	{reqs: "A31", did: "sent comfort noise, and looked at what came", run: comfortNoise},
}

// withTalk makes a check of a shared conversation.
func withTalk(carrier string, f func(*conversation) error) func(context.Context, *Probe) error {
	return func(ctx context.Context, p *Probe) error {
		v, err := p.talk(ctx, carrier)
		if err != nil {
			return err
		}
		return f(v)
	}
}

// onEach makes a check of the conversations on every carrier that the server has.
func onEach(f func(*conversation) error) func(context.Context, *Probe) error {
	return func(ctx context.Context, p *Probe) error {
		d, err := p.tg(ctx)
		if err != nil {
			return err
		}
		for _, carrier := range []string{carrierPutGet, carrierWebTransport, carrierStriped, carrierTrunk} {
			if carrier != carrierPutGet && !d.has(carrier) {
				continue
			}
			v, err := p.talk(ctx, carrier)
			if err != nil {
				return err
			}
			if err := f(v); err != nil {
				return fmt.Errorf("on %s: %w", carrier, err)
			}
		}
		return nil
	}
}

func obeysDirective(v *conversation) error {
	media, _, bad := v.snapshot()
	if len(bad) > 0 {
		return fmt.Errorf("%d things came that are no chunks: %w", len(bad), bad[0])
	}
	for _, a := range media {
		if a.c.Source != v.in.Source || a.c.Sink != v.in.Sink {
			return fmt.Errorf("a chunk of source %d for sink %d; the server directive is %d to %d", a.c.Source, a.c.Sink, v.in.Source, v.in.Sink)
		}
		ok := false
		for _, c := range v.in.Codecs {
			pt, known := payloadOf[codecName(c.Name)]
			ok = ok || known && pt == a.c.PayloadType
		}
		if !ok {
			return fmt.Errorf("a chunk of payload type %d, which the server directive does not have", a.c.PayloadType)
		}
	}
	return nil
}

// withinPackets: speech of at most 60 ms, and what a datagram holds.
func withinPackets(v *conversation) error {
	media, _, _ := v.snapshot()
	for _, a := range media {
		if (a.c.PayloadType == payloadPCMU || a.c.PayloadType == payloadPCMA) && len(a.c.Media) > 480 {
			return fmt.Errorf("a chunk of %d bytes of G.711, which is %d ms", len(a.c.Media), len(a.c.Media)/8)
		}
		if len(a.raw) > 1200 {
			return fmt.Errorf("a chunk of speech of %d bytes, more than a datagram takes", len(a.raw))
		}
	}
	return nil
}

func thirtyGets(ctx context.Context, p *Probe) error {
	v, err := p.talk(ctx, carrierPutGet)
	if err != nil {
		return err
	}
	for _, g := range v.lot.all() {
		if !g.answered.IsZero() && g.status != http.StatusOK && g.status != http.StatusNoContent {
			return fmt.Errorf("GET %d was answered %d", g.n+1, g.status)
		}
	}
	return nil
}

func fullUntilAcked(v *conversation) error {
	media, _, _ := v.snapshot()
	if len(media) < 10 {
		return fmt.Errorf("only %d chunks came", len(media))
	}
	// The first ten came before we acknowledged anything.
	for i, a := range media[:10] {
		if a.c.Seq.Len != chunk.Full {
			return fmt.Errorf("chunk %d has a sequence number of %d bytes, nothing was acknowledged yet", i+1, a.c.Seq.Len)
		}
		if a.c.Timestamp.Len != chunk.Full {
			return fmt.Errorf("chunk %d has a timestamp of %d bytes, nothing was acknowledged yet", i+1, a.c.Timestamp.Len)
		}
	}
	return nil
}

func getsAreAnswered(ctx context.Context, p *Probe) error {
	v, err := p.talk(ctx, carrierPutGet)
	if err != nil {
		return err
	}
	answered := 0
	for _, g := range v.lot.all() {
		if g.answered.IsZero() || g.status != http.StatusOK {
			continue
		}
		if g.chunks+g.acks == 0 {
			return fmt.Errorf("GET %d was answered with no chunk in its body", g.n+1)
		}
		if kind := g.header.Get("Content-Type"); kind != octets {
			return fmt.Errorf("GET %d was answered with Content-Type %q, want %s", g.n+1, kind, octets)
		}
		answered++
	}
	if answered < 5 {
		return fmt.Errorf("only %d GETs were answered", answered)
	}
	return nil
}

// newestGetFirst: while thirty are parked and every answered one is replaced, the
// oldest are never the most recent, and stay.
func newestGetFirst(ctx context.Context, p *Probe) error {
	v, err := p.talk(ctx, carrierPutGet)
	if err != nil {
		return err
	}
	gets := v.lot.all()
	if len(gets) < 60 {
		return fmt.Errorf("only %d GETs were answered, too few to tell", len(gets)-30)
	}
	waiting := 0
	for _, g := range gets[:30] {
		if g.answered.IsZero() {
			waiting++
		}
	}
	if waiting == 0 {
		return errors.New("all of the first 30 GETs were answered while newer ones were parked")
	}
	return nil
}

func getsCarryAcks(ctx context.Context, p *Probe) error {
	v, err := p.talk(ctx, carrierPutGet)
	if err != nil {
		return err
	}
	_, acks, _ := v.snapshot()
	if len(acks) == 0 {
		return fmt.Errorf("we sent %d chunks, no response holds an acknowledgement", v.seq)
	}
	return nil
}

func acksAreTrue(v *conversation) error {
	_, acks, bad := v.snapshot()
	if len(bad) > 0 {
		return bad[0]
	}
	if len(acks) == 0 {
		return errors.New("none came")
	}
	v.mu.Lock()
	sent := v.seq
	v.mu.Unlock()
	for _, a := range acks {
		switch {
		case a.Direction != chunk.ClientToServer:
			return errors.New("an acknowledgement of what the server itself sent")
		case a.Source != v.out.Source || a.Sink != v.out.Sink:
			return fmt.Errorf("it is about source %d, sink %d; the client directive is %d to %d", a.Source, a.Sink, v.out.Source, v.out.Sink)
		case a.Largest() > sent+100:
			return fmt.Errorf("it acknowledges %d, we sent %d", a.Largest(), sent)
		case a.Ranges[len(a.Ranges)-1].First == 0:
			return errors.New("it acknowledges number 0, which is never sent")
		case a.Delay > uint64(10*time.Second/time.Microsecond):
			return fmt.Errorf("it says it was delayed by %d µs", a.Delay)
		}
	}
	// All of the first second must have been acknowledged by now.
	for seq := uint64(1); seq <= 25; seq++ {
		v.mu.Lock()
		ok := v.isAcked(seq)
		v.mu.Unlock()
		if !ok && v.carrier != carrierWebTransport && v.carrier != carrierTrunk {
			return fmt.Errorf("chunk %d was never acknowledged, though nothing can be lost", seq)
		}
	}
	return nil
}

func canonical(v *conversation) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.bad) > 0 {
		return v.bad[0]
	}
	for _, a := range append(append([]arrived(nil), v.media...), v.control...) {
		if a.canon != nil {
			return a.canon
		}
	}
	return nil
}

func truncation(v *conversation) error {
	media, _, _ := v.snapshot()
	// Ours were truncated from the first acknowledgement on.
	if v.seq > 40 {
		if err := v.awaitAck(v.seq-3, v.c.p.opt.Timeout); err != nil && v.carrier != carrierWebTransport && v.carrier != carrierTrunk {
			return fmt.Errorf("with truncated numbers: %w", err)
		}
	}
	lastFull := time.Time{}
	for i, a := range media {
		if a.c.Seq.Len == chunk.Full && a.c.Timestamp.Len == chunk.Full {
			lastFull = a.at
		} else if i > 0 && a.at.Sub(lastFull) > 1300*time.Millisecond {
			return fmt.Errorf("no full numbers for %v, they must come every second", a.at.Sub(lastFull).Round(10*time.Millisecond))
		}
	}
	return nil
}

// clocks compares how far timestamps, media clocks and the time went.
func clocks(v *conversation) error {
	media, _, _ := v.snapshot()
	var first, last *arrived
	for i := range media {
		if a := &media[i]; a.c.Timestamp.Len == chunk.Full && a.c.Clock.Len == chunk.Full && a.c.PayloadType == payloadPCMU && len(a.c.Media) > 0 {
			if first == nil {
				first = a
			}
			last = a
		}
	}
	if first == nil || last.at.Sub(first.at) < 150*time.Millisecond {
		return nil // too little to tell: requirements 89 and A22 show why
	}
	took := float64(last.at.Sub(first.at).Milliseconds())
	ms := float64(last.c.Timestamp.Value) - float64(first.c.Timestamp.Value)
	if math.Abs(ms-took) > 0.5*took+400 {
		return fmt.Errorf("timestamps went %0.f in %0.f ms", ms, took)
	}
	if off := time.Since(time.UnixMilli(int64(last.c.Timestamp.Value))); off < -time.Hour || off > time.Hour {
		return fmt.Errorf("timestamp %d is not of this hour: want milliseconds since 1970", last.c.Timestamp.Value)
	}
	clock := (float64(last.c.Clock.Value) - float64(first.c.Clock.Value)) / 8
	if math.Abs(clock-took) > 0.5*took+400 {
		return fmt.Errorf("the media clock of PCMU went %0.f ms in %0.f ms", clock, took)
	}
	return nil
}

func noGaps(v *conversation) error {
	media, _, _ := v.snapshot()
	for i := 1; i < len(media); i++ {
		if gap := media[i].at.Sub(media[i-1].at); gap > 2500*time.Millisecond {
			return fmt.Errorf("no chunk for %v", gap.Round(10*time.Millisecond))
		}
	}
	return nil
}

func epochs(ctx context.Context, p *Probe) error {
	v, err := p.freshTalk(ctx, 4)
	if err != nil {
		return err
	}
	defer v.c.close(ctx)
	newer := v.park(context.WithoutCancel(ctx), 6, 1)
	defer newer.close()
	if err := pause(ctx, time.Second); err != nil {
		return err
	}
	fresh := 0
	for _, g := range newer.all() {
		if g.status == http.StatusOK {
			fresh++
		}
	}
	if fresh == 0 {
		return errors.New("no GET of the higher epoch was answered with media within 1 s")
	}
	for _, g := range v.lot.all() {
		if g.answered.IsZero() {
			return errors.New("a GET of the lower epoch is still parked, want 204")
		}
		if g.status != http.StatusOK && g.status != http.StatusNoContent {
			return fmt.Errorf("a GET of the lower epoch was answered %d, want 204", g.status)
		}
	}
	return nil
}

// freshTalk is an answered call on PUT and GET with media, for one check.
func (p *Probe) freshTalk(ctx context.Context, gets int) (*conversation, error) {
	c, err := p.dial(ctx, dialled{})
	if err != nil {
		return nil, err
	}
	v, err := newConversation(c, carrierPutGet)
	if err != nil {
		return nil, err
	}
	if err := v.overRequests(context.WithoutCancel(ctx), gets); err != nil {
		return nil, err
	}
	if err := c.answered(); err != nil {
		return nil, err
	}
	if err := v.speak(ctx, 10); err != nil {
		return nil, err
	}
	return v, v.heard(5, p.opt.Timeout)
}

// away is longer than what both sides keep.
const away = 7 * time.Second

func mediaPanic(ctx context.Context, p *Probe) error {
	v, err := p.freshTalk(ctx, 10)
	if err != nil {
		return err
	}
	defer v.c.close(ctx)
	media, _, _ := v.snapshot()
	offset := medianOffset(media)
	v.lot.close()
	began := time.Now()
	if _, err := v.c.await(p.opt.Timeout, "media-panic"); err != nil {
		return fmt.Errorf("no GET is parked: %w", err)
	}
	if err := v.keepSpeaking(ctx, away-time.Since(began)); err != nil {
		return err
	}
	v.mu.Lock()
	v.media = nil
	v.mu.Unlock()
	l := v.park(context.WithoutCancel(ctx), 20, 1)
	defer l.close()
	if err := v.heard(20, p.opt.Timeout); err != nil {
		return fmt.Errorf("GETs are parked again: %w", err)
	}
	media, _, _ = v.snapshot()
	// What the server kept is 5 s at most; the rest was dropped.
	for _, a := range media {
		if a.c.Timestamp.Len != chunk.Full {
			continue
		}
		age := a.at.Sub(time.UnixMilli(int64(a.c.Timestamp.Value)).Add(offset))
		if age > 6*time.Second {
			return fmt.Errorf("a chunk came that is %v old", age.Round(100*time.Millisecond))
		}
	}
	return nil
}

// medianOffset is how far our clock is ahead of the server's, the way included.
func medianOffset(media []arrived) time.Duration {
	for _, a := range media {
		if a.c.Timestamp.Len == chunk.Full {
			return a.at.Sub(time.UnixMilli(int64(a.c.Timestamp.Value)))
		}
	}
	return 0
}

// keepSpeaking sends now and then, which keeps our side of the call alive.
func (v *conversation) keepSpeaking(ctx context.Context, d time.Duration) error {
	for end := time.Now().Add(d); time.Now().Before(end); {
		if err := v.speak(ctx, 5); err != nil {
			return err
		}
	}
	return nil
}

func comfortNoise(ctx context.Context, p *Probe) error {
	v, err := p.freshTalk(ctx, 10)
	if err != nil {
		return err
	}
	defer v.c.close(ctx)
	m := v.next()
	m.payload, m.body = payloadCN, []byte{60}
	if err := v.transmit(ctx, m.bytes()); err != nil {
		return err
	}
	if err := v.awaitAck(m.seq, p.opt.Timeout); err != nil {
		return fmt.Errorf("comfort noise: %w", err)
	}
	media, _, _ := v.snapshot()
	for _, a := range media {
		if a.c.PayloadType == payloadCN && len(a.c.Media) < 1 {
			return errors.New("comfort noise without its level came")
		}
	}
	return nil
}
