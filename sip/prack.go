package sip

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/sip/sdp"
)

// What a trunk does about reliable provisional answers (RFC 3262).
const (
	ReliableOff     = "off"     // we know nothing of them
	ReliableSupport = "support" // where the peer requires them, and for early media where it supports them (default)
	ReliableRequire = "require" // a peer without them gets no call
)

const rel100 = "100rel"

// maxProvisionals is how many changes wait while one is being acknowledged.
const maxProvisionals = 8

// checkReliablePolicy checks the trunk's key and fills it in.
func (t *Trunk) checkReliablePolicy() error {
	switch t.Reliable {
	case "":
		t.Reliable = ReliableSupport
	case ReliableOff, ReliableSupport, ReliableRequire:
	default:
		return fmt.Errorf("reliable %q is not known, use off, support or require", t.Reliable)
	}
	return nil
}

// required is what the peer of a call that we place has to know.
func (t *Trunk) required() []sipgo.Header {
	if t.Reliable != ReliableRequire {
		return nil
	}
	return []sipgo.Header{sipgo.NewHeader("Require", rel100)}
}

// checkRequired refuses a call of a peer that lacks what its trunk requires.
func (t *Trunk) checkRequired(req *sipgo.Request) *refusal {
	if t.Reliable == ReliableRequire && req.IsInvite() && !offers(req, rel100) {
		return refuse(421, "", sipgo.NewHeader("Require", rel100))
	}
	return nil
}

// provisional is a provisional answer of ours that the peer acknowledges.
type provisional struct {
	status int
	body   []byte
	offer  bool // body is an offer: the PRACK has to answer it

	rseq  uint32
	pause time.Duration
	again *time.Timer
	limit *time.Timer
}

// reliable are those of an INVITE. One is under way at a time (RFC 3262 section
// 3), the others wait.
type reliable struct {
	rseq   uint32
	sent   *provisional   // not acknowledged yet
	queue  []*provisional // come after it
	spoken bool           // a description of ours is among them: there is no other
	given  bool           // and was acknowledged: offer and answer are done
	answer func()         // the 200, which waits for that

	overtaken *provisional // by the 200: its PRACK may come yet
}

// reliably decides whether a provisional answer goes out reliably.
func (l *Leg) reliably(early bool) bool {
	req := l.invite.req
	switch {
	case l.trunk.Reliable == ReliableOff:
		return false
	case l.trunk.Reliable == ReliableRequire || hasOption(req, "Require", rel100):
		return true
	}
	return early && offers(req, rel100)
}

// provide sends a provisional answer reliably, after those before it. A
// description goes with the first one only; where the INVITE had none, that is
// our offer (RFC 3262 section 5).
func (l *Leg) provide(status int, early *bridge.MediaPlan) error {
	p := &provisional{status: status}
	switch {
	case l.rel.spoken:
	case !l.offered():
		offer := l.info.Media
		if early != nil {
			offer = offerOf(*early)
		}
		p.body, p.offer = l.media.firstOffer(offer), true
	case early != nil:
		var err error
		if p.body, err = l.media.firstAnswer(*early); err != nil {
			return err
		}
	}
	l.rel.spoken = l.rel.spoken || p.body != nil
	switch r := &l.rel; {
	case r.sent == nil:
		l.provideNow(p)
	case len(r.queue) < maxProvisionals:
		r.queue = append(r.queue, p)
	}
	return nil
}

func (l *Leg) provideNow(p *provisional) {
	r := &l.rel
	if r.rseq == 0 {
		r.rseq = uint32(rand.Int32N(1 << 30)) // RFC 3262 section 3: below 2**31
	}
	r.rseq++
	p.rseq, p.pause, r.sent = r.rseq, sipgo.T1, p
	headers := append(l.contactHeaders(p.body), sipgo.NewHeader("Require", rel100), sipgo.NewHeader("RSeq", strconv.FormatUint(uint64(p.rseq), 10)))
	res := l.invite.response(p.status, "", p.body, headers...)
	l.invite.status = p.status
	var again func()
	again = func() {
		l.invite.send(res)
		p.pause *= 2
		p.again = l.after(p.pause, again)
	}
	p.again = l.after(p.pause, again)
	p.limit = l.after(64*sipgo.T1, l.unprovided)
	l.invite.send(res)
}

// provided stops the repetitions of what was acknowledged.
func (l *Leg) provided() {
	if p := l.rel.sent; p != nil {
		l.stop(p.again)
		l.stop(p.limit)
		l.rel.sent = nil
	}
}

// unprovided ends a call whose caller does not acknowledge what it required
// (RFC 3262 section 3).
func (l *Leg) unprovided() {
	c := bridge.CauseNoACK.With("trunk %q did not acknowledge (PRACK) the %d to call %s", l.trunk.Name, l.rel.sent.status, l.info.ID).EndedBy(bridge.ByBridge)
	l.invite.respond(504, "", nil, reasonHeaders(c, 504, statusPhrase(504), l.trunk.Name)...)
	l.ended(c, nil)
	l.over()
}

// rack is what a PRACK acknowledges.
type rack struct {
	rseq, seq uint32
	method    string
}

func parseRAck(s string) (rack, error) {
	fields := strings.Fields(s)
	if len(fields) != 3 {
		return rack{}, fmt.Errorf("RAck %q: want two numbers and a method", clip(s, 64))
	}
	rseq, err := strconv.ParseUint(fields[0], 10, 32)
	if err != nil {
		return rack{}, fmt.Errorf("RAck: RSeq %q is not a number", clip(fields[0], 32))
	}
	seq, err := strconv.ParseUint(fields[1], 10, 32)
	if err != nil {
		return rack{}, fmt.Errorf("RAck: CSeq %q is not a number", clip(fields[1], 32))
	}
	return rack{uint32(rseq), uint32(seq), fields[2]}, nil
}

// onPRACK takes the acknowledgement of a provisional answer, and what it brings:
// the answer to our offer, or an offer.
func (l *Leg) onPRACK(req *sipgo.Request, s *serverTx) {
	s.tag = l.dlg.localTag
	if r := l.trunk.checkContent(req); r != nil {
		s.refuse(r)
		return
	}
	values := headerValues(req, "RAck")
	if len(values) != 1 {
		s.refuse(refuse(400, "One RAck Header Wanted"))
		return
	}
	ack, err := parseRAck(values[0])
	if err != nil {
		s.refuse(refuse(400, "Bad RAck Header"))
		return
	}
	p := l.rel.sent
	if p == nil {
		p = l.rel.overtaken // RFC 3262 section 3
	}
	if p == nil || ack.rseq != p.rseq || ack.seq != l.invite.req.CSeq().SeqNo || ack.method != string(sipgo.INVITE) {
		s.refuse(refuse(481, ""))
		return
	}
	if p.offer && !l.offerAnswered(req, s) {
		return
	}
	l.rel.given = l.rel.given || p.body != nil
	l.provided()
	l.rel.overtaken = nil
	if len(req.Body()) > 0 && !p.offer {
		l.onPRACKOffer(req, s)
	} else {
		s.respond(200, "", nil)
	}
	l.provideNext()
}

// onPRACKOffer answers an offer in a PRACK. The provisional answer is
// acknowledged in any case.
func (l *Leg) onPRACKOffer(req *sipgo.Request, s *serverTx) {
	if r := l.glare(req); r != nil {
		s.refuse(r)
		return
	}
	l.onOffer(req, s)
}

// offerAnswered takes the answer to the offer that was in a reliable
// provisional answer. The bridge has to know what the caller settled for,
// since the rest of the call is made from it.
func (l *Leg) offerAnswered(req *sipgo.Request, s *serverTx) bool {
	if len(req.Body()) == 0 {
		s.refuse(refuse(400, "No Answer To Our Offer"))
		return false
	}
	answer, err := sdp.Parse(req.Body())
	if err == nil {
		err = l.media.accept(answer)
	}
	if err != nil {
		s.refuse(refuse(488, "", warning(s.flow, 305, bridge.CauseOf(err).Text)))
		return false
	}
	plan := l.media.planCopy()
	offer := plan.Offer()
	l.emit(bridge.Event{Kind: bridge.MediaChanged, Plan: plan, Held: l.media.held(), Offer: &offer})
	return true
}

// provideNext sends what has waited.
func (l *Leg) provideNext() {
	r := &l.rel
	switch {
	case l.state != inviting || r.sent != nil:
	case r.answer != nil:
		answer := r.answer
		r.answer = nil
		answer()
	case len(r.queue) > 0:
		p := r.queue[0]
		r.queue = r.queue[1:]
		l.provideNow(p)
	}
}

// waits tells whether the 200 has to wait: a description of ours must have been
// acknowledged before it (RFC 3262 section 3). All else is overtaken by it.
func (l *Leg) waits(answer func()) bool {
	r := &l.rel
	if r.sent == nil || r.sent.body == nil {
		r.overtaken, r.queue = r.sent, nil
		l.provided()
		return false
	}
	r.queue, r.answer = nil, answer
	return true
}

// rseqOf is the number of a reliable provisional response; ok is false for
// others.
func rseqOf(res *sipgo.Response) (rseq uint32, ok bool) {
	values := headerValues(res, "RSeq")
	if len(values) != 1 || !hasOption(res, "Require", rel100) {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(values[0]), 10, 32)
	return uint32(n), err == nil && n > 0
}

// prack acknowledges a reliable provisional response of the peer. It is false
// for one that is to be ignored: a repetition, or one that came before its
// predecessor (RFC 3262 section 4). Each fork counts by itself.
func (l *Leg) prack(d *dialog, res *sipgo.Response) bool {
	rseq, ok := rseqOf(res)
	if !ok || d == nil {
		return true
	}
	if d.rseq != 0 && rseq != d.rseq+1 {
		return false
	}
	d.rseq = rseq
	if d.answer == nil && len(res.Body()) > 0 && isSDP(res) {
		d.answer = res.Body()
	}
	req := d.request(sipgo.PRACK)
	req.AppendHeader(sipgo.NewHeader("RAck", fmt.Sprintf("%d %d %s", rseq, res.CSeq().SeqNo, sipgo.INVITE)))
	req.SetBody(nil)
	f, err := l.route(d)
	if err == nil {
		err = l.request(d, req, f, nil, nil)
	}
	if err != nil {
		l.agent.counts.unsent.Add(1) // the peer repeats its response, or gives the call up
	}
	return true
}
