package conform

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"time"

	"riptide/h3/chunk"
)

// carrierChecks judge the ladder of carriers.
var carrierChecks = []check{
	{reqs: "93 99", did: "spoke and heard over WebTransport datagrams", run: withTalk(carrierWebTransport, onDatagrams)},
	{reqs: "A32", did: "asked for a session with the sub-protocol, without a token, and of a call that is not there", run: sessionManners},
	{reqs: "A29", did: "sent a chunk of 4000 bytes on a stream of its own, and measured datagrams", run: withTalk(carrierWebTransport, largeChunk)},
	{reqs: "A39", did: "spoke and heard over striped streams", run: withTalk(carrierStriped, onStripes)},
	{reqs: "A39", did: "opened stripes of wrong numbers", run: wrongStripes},
	{reqs: "A39a", did: "carried two calls on one trunk session", run: onTrunk},
	{reqs: "A39a", did: "moved a running call to a trunk session, and to one that is not there", run: joinsTrunk},
}

func onDatagrams(v *conversation) error {
	media, acks, _ := v.snapshot()
	for _, a := range media {
		if a.way >= 0 {
			return errors.New("a chunk of speech came on a stream, want a datagram")
		}
	}
	if len(media) < 20 {
		return fmt.Errorf("only %d chunks came", len(media))
	}
	if len(acks) == 0 {
		return errors.New("no acknowledgement came")
	}
	return nil
}

func sessionManners(ctx context.Context, p *Probe) error {
	d, err := p.tg(ctx)
	if err != nil {
		return err
	}
	if !d.has(carrierWebTransport) {
		return skip("the TG does not list webtransport in media")
	}
	c, err := p.dial(ctx, dialled{})
	if err != nil {
		return err
	}
	defer c.close(ctx)
	_, sess, err := p.dialSession(ctx, c.uri+"/media", c.token, nil)
	if err != nil {
		return err
	}
	got := sess.SessionState().ApplicationProtocol
	_ = sess.CloseWithError(0, "")
	if got != subProtocol {
		return fmt.Errorf("the sub-protocol is %q, want %s", got, subProtocol)
	}
	for what, x := range map[string]struct{ uri, token string }{
		"without a token":             {c.uri + "/media", ""},
		"on a call that is not there": {c.uri + "0/media", c.token},
	} {
		rep, sess, err := p.dialSession(ctx, x.uri, x.token, nil)
		if err == nil {
			_ = sess.CloseWithError(0, "")
			return fmt.Errorf("a session %s was granted", what)
		}
		if rep.status == 0 {
			return fmt.Errorf("a session %s: no answer: %w", what, err)
		}
		if rep.status != http.StatusUnauthorized && rep.status != http.StatusNotFound {
			return fmt.Errorf("a session %s: answered %d", what, rep.status)
		}
	}
	return nil
}

func largeChunk(v *conversation) error {
	media, _, _ := v.snapshot()
	for _, a := range media {
		if a.way < 0 && len(a.raw) > 1200 {
			return fmt.Errorf("a datagram of %d bytes came", len(a.raw))
		}
	}
	// It is harmless, and too large to be anything but a stream.
	ctx, cancel := context.WithTimeout(context.Background(), v.c.p.opt.Timeout)
	defer cancel()
	m := v.next()
	m.seqLen, m.msLen, m.body = 8, 8, make([]byte, 4000)
	if err := v.transmit(ctx, m.bytes()); err != nil {
		return err
	}
	if err := v.awaitAck(m.seq, v.c.p.opt.Timeout); err != nil {
		return fmt.Errorf("a chunk on a stream of its own: %w", err)
	}
	return nil
}

func onStripes(v *conversation) error {
	media, acks, bad := v.snapshot()
	if len(bad) > 0 {
		return bad[0]
	}
	if len(media) < 20 || len(acks) == 0 {
		return fmt.Errorf("%d chunks and %d acknowledgements came", len(media), len(acks))
	}
	for _, a := range media {
		if a.c.Seq.Len == chunk.Full && int(a.c.Seq.Value%stripeCount) != a.way {
			return fmt.Errorf("chunk %d came on stripe %d, want %d", a.c.Seq.Value, a.way, a.c.Seq.Value%stripeCount)
		}
	}
	if err := v.awaitAck(v.seq, v.c.p.opt.Timeout); err != nil {
		return err
	}
	// The end is clean on both sides.
	v.stop()
	v.stripes.mu.Lock()
	defer v.stripes.mu.Unlock()
	for n := range stripeCount {
		if s := v.stripes.status[fmt.Sprint("PUT ", n)]; s/100 != 2 {
			return fmt.Errorf("PUT of stripe %d was answered %d", n, s)
		}
	}
	return nil
}

func wrongStripes(ctx context.Context, p *Probe) error {
	d, err := p.tg(ctx)
	if err != nil {
		return err
	}
	if !d.has(carrierStriped) {
		return skip("the TG does not list striped in media")
	}
	c, err := p.dial(ctx, dialled{})
	if err != nil {
		return err
	}
	defer c.close(ctx)
	for what, x := range map[string]struct{ n, count string }{
		"stripe 4 of 4": {"4", "4"}, "of 9": {"0", "9"}, "of 0": {"0", "0"}, "a stripe that is no number": {"x", "4"}, "of no number": {"0", "many"},
	} {
		r, err := p.do(ctx, request{
			method: http.MethodPut, url: c.uri + "/media/stripes/" + x.n, token: c.token, kind: octets, body: sized(controlChunk(controlHello, tlv{tagControlBody, helloBody(0)})),
			header: map[string]string{"Ript-Stripes": x.count, "Ript-Epoch": "1"},
		})
		if err != nil {
			return err
		}
		if r.status/100 != 4 {
			return fmt.Errorf("%s: answered %d, want a refusal", what, r.status)
		}
	}
	return nil
}

func onTrunk(ctx context.Context, p *Probe) error {
	v, err := p.talk(ctx, carrierTrunk)
	if err != nil {
		return err
	}
	if raw, err := base64.RawURLEncoding.DecodeString(v.trunk.id); err != nil || len(raw) < 16 {
		return fmt.Errorf("Ript-Session is %q, want 128 bits in base64url", v.trunk.id)
	}
	other, err := p.dialTrunk(ctx, v.trunk)
	if err != nil {
		return fmt.Errorf("a second call: %w", err)
	}
	defer other.c.close(ctx)
	if other.c.desc.CallTag == v.c.desc.CallTag {
		return fmt.Errorf("both calls have callTag %d", v.c.desc.CallTag)
	}
	if err := other.c.answered(); err != nil {
		return err
	}
	before, _, _ := v.snapshot()
	if err := other.speak(ctx, 30); err != nil {
		return err
	}
	if err := other.heard(10, p.opt.Timeout); err != nil {
		return fmt.Errorf("the second call: %w", err)
	}
	if after, _, _ := v.snapshot(); len(after) == len(before) {
		return errors.New("the first call is silent since there is a second")
	}
	v.trunk.mu.Lock()
	defer v.trunk.mu.Unlock()
	if len(v.trunk.bad) > 0 {
		return v.trunk.bad[0]
	}
	return nil
}

func joinsTrunk(ctx context.Context, p *Probe) error {
	d, err := p.tg(ctx)
	if err != nil {
		return err
	}
	if !d.has(carrierTrunk) {
		return skip("the TG does not list trunk in media")
	}
	v, err := p.freshTalk(ctx, 10)
	if err != nil {
		return err
	}
	defer v.c.close(ctx)
	r, err := v.c.update(ctx, map[string]any{"session": "AAAAAAAAAAAAAAAAAAAAAA"}, map[string]string{"Ript-Epoch": "1"})
	if err != nil {
		return err
	}
	if err := r.refused(http.StatusConflict); err != nil {
		return fmt.Errorf("a session that is not there: %w", err)
	}
	if prob, _ := r.problem(); prob.code() != "session-unknown" {
		return fmt.Errorf("a session that is not there: the problem is %q, want …/session-unknown", prob.Type)
	}
	s, err := p.openTrunk(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if r, err = v.c.update(ctx, map[string]any{"session": s.id}, map[string]string{"Ript-Epoch": "2"}); err != nil {
		return err
	}
	if err := r.is(http.StatusOK); err != nil {
		return fmt.Errorf("POST of the session to the call: %w", err)
	}
	var desc description
	if err := r.decode(&desc); err != nil {
		return err
	}
	if desc.CallTag == 0 {
		return errors.New("POST of the session to the call: the 200 has no callTag")
	}
	moved, err := s.join(v.c, desc.CallTag)
	if err != nil {
		return err
	}
	moved.seq, moved.clock = v.seq, v.clock
	for end := time.Now().Add(p.opt.Timeout); time.Now().Before(end); {
		if err := moved.speak(ctx, 10); err != nil {
			return err
		}
		if moved.heard(5, 0) == nil {
			return nil
		}
	}
	return errors.New("the call is on the session, and no media came there")
}
