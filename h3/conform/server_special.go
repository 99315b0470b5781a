package conform

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"riptide/h3/advert"
	"riptide/h3/chunk"
)

// digitEvent is the body of an RFC 4733 event.
func digitEvent(digit byte, end bool, duration uint16) []byte {
	b := []byte{digit, 10, 0, 0}
	if end {
		b[1] |= 0x80
	}
	binary.BigEndian.PutUint16(b[2:], duration)
	return b
}

func digits(ctx context.Context, p *Probe) error {
	to, err := p.target("digits")
	if err != nil {
		return err
	}
	c, err := p.dial(ctx, dialled{to: to})
	if err != nil {
		return err
	}
	defer c.close(ctx)
	v, err := newConversation(c, carrierPutGet)
	if err != nil {
		return err
	}
	if err := v.overRequests(context.WithoutCancel(ctx), 20); err != nil {
		return err
	}
	if err := c.answered(); err != nil {
		return err
	}
	if err := v.speak(ctx, 20); err != nil {
		return err
	}
	for i := range 6 {
		m := v.next()
		m.payload, m.body = payloadDigits, digitEvent(5, i >= 3, uint16(160*min(i+1, 4)))
		m.clock -= uint64(160 * i) // all packets of an event have its start time
		if err := v.transmit(ctx, m.bytes()); err != nil {
			return err
		}
		if i == 5 {
			if err := v.awaitAck(m.seq, p.opt.Timeout); err != nil {
				return fmt.Errorf("a digit: %w", err)
			}
		}
	}
	var events []arrived
	if !v.await(answerLimit, func() bool {
		events = events[:0]
		for _, a := range v.media {
			if a.c.PayloadType == payloadDigits {
				events = append(events, a)
			}
		}
		return len(events) > 0 && len(events[len(events)-1].c.Media) == 4 && events[len(events)-1].c.Media[1]&0x80 != 0
	}) {
		return errors.New("no digit came to its end")
	}
	for _, a := range events {
		if len(a.c.Media) != 4 {
			return fmt.Errorf("a digit has a body of %d bytes, want the 4 of RFC 4733", len(a.c.Media))
		}
		if a.c.Media[0] > 15 {
			return fmt.Errorf("a digit has event %d", a.c.Media[0])
		}
	}
	return nil
}

const videoAdvert = advertisement + "\n2 in: VP8; H264,profile-level-id=4366366,packetization-mode=1;\n2 out: VP8; H264,profile-level-id=4366366,packetization-mode=1;"

// videoNumbers asks for a picture that needs no other, whose numbers must be full.
func videoNumbers(ctx context.Context, p *Probe) error {
	to, err := p.target("video")
	if err != nil {
		return err
	}
	h, err := p.registerAdvert(ctx, "video", videoAdvert)
	if err != nil {
		return err
	}
	c, err := p.dial(ctx, dialled{to: to, handler: h.uri})
	if err != nil {
		return err
	}
	defer c.close(ctx)
	d, err := parseDirectives(c.desc)
	if err != nil {
		return err
	}
	stream, ok := videoStream(d.toClient)
	if !ok {
		return fmt.Errorf("serverDirectives %q has no video", c.desc.ServerDirectives)
	}
	v, err := newConversation(c, carrierPutGet)
	if err != nil {
		return err
	}
	if err := v.overRequests(context.WithoutCancel(ctx), 30); err != nil {
		return err
	}
	if err := c.answered(); err != nil {
		return err
	}
	v.acking = true
	if err := v.speak(ctx, 50); err != nil {
		return err
	}
	keyframe := controlChunk(1, tlv{tagControlBody, []byte{stream.Source, stream.Sink}})
	if err := v.transmit(ctx, keyframe); err != nil {
		return fmt.Errorf("ask for a keyframe: %w", err)
	}
	if err := v.speak(ctx, 100); err != nil {
		return err
	}
	media, _, _ := v.snapshot()
	intra := 0
	for _, a := range media {
		if a.c.Source != stream.Source || !startsIntra(a.c) {
			continue
		}
		if intra++; a.c.Seq.Len != chunk.Full || a.c.Timestamp.Len != chunk.Full {
			return fmt.Errorf("an intra frame begins with a sequence number of %d and a timestamp of %d bytes", a.c.Seq.Len, a.c.Timestamp.Len)
		}
	}
	if intra == 0 {
		return errors.New("no intra frame came")
	}
	return nil
}

func videoStream(d advert.Directive) (advert.Stream, bool) {
	for _, s := range d {
		for _, c := range s.Codecs {
			if name := codecName(c.Name); name == "vp8" || name == "h264" {
				return s, true
			}
		}
	}
	return advert.Stream{}, false
}

// startsIntra tells the first packet of a picture that needs no other.
func startsIntra(c chunk.Chunk) bool {
	switch c.PayloadType {
	case payloadOf["vp8"]:
		return vp8Intra(c.Media)
	case payloadOf["h264"]:
		return h264Intra(c.Media)
	}
	return false
}

// vp8Intra reads the payload descriptor (RFC 7741 section 4.2) and the first bit
// of the frame.
func vp8Intra(b []byte) bool {
	if len(b) < 2 || b[0]&0x10 == 0 || b[0]&0x0f != 0 {
		return false
	}
	n := 1
	if b[0]&0x80 != 0 {
		x := b[1]
		n = 2
		if x&0x80 != 0 {
			if len(b) <= n {
				return false
			}
			if n++; b[n-1]&0x80 != 0 {
				n++
			}
		}
		if x&0x40 != 0 {
			n++
		}
		if x&0x30 != 0 {
			n++
		}
	}
	return len(b) > n && b[n]&1 == 0
}

// h264Intra reads the NAL unit type (RFC 6184 section 5): IDR or parameter sets,
// alone, in an aggregate, or at the start of a fragment.
func h264Intra(b []byte) bool {
	if len(b) < 2 {
		return false
	}
	kind := b[0] & 0x1f
	switch {
	case kind == 24 && len(b) > 3:
		kind = b[3] & 0x1f
	case kind == 28:
		if b[1]&0x80 == 0 {
			return false
		}
		kind = b[1] & 0x1f
	}
	return kind == 5 || kind == 7
}
