package sip

import (
	"cmp"
	"context"
	"fmt"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/policy/stir"
	"riptide/sip/sdp"
)

// maxDatagramRequest is the largest request sent over UDP when there is a
// choice (RFC 3261 section 18.1.1): beyond it, fragments get lost in firewalls.
const maxDatagramRequest = 1300

// outgoing is what a leg that we placed needs until its answer, and for the
// answers that come after it.
type outgoing struct {
	*attempt                // the one there is
	rest      []target      // not tried yet
	between   bool          // the attempt was left, and the next one is on its way
	tries     tries         // challenges that were answered
	redirects int           // that were followed
	called    *sipgo.Uri    // Request-URI where a target has no other
	given     *bridge.Cause // we gave up, for this reason
	ringing   *time.Timer   // until nobody waits for an answer any more
	raised    int           // times the peer found the session interval too small

	early    map[string]*dialog // by To tag: one for each fork
	answered map[string]func()  // repeats the ACK of each fork that answered
	sdpFrom  string             // To tag whose SDP the media runs on
	last     progressed
}

// progressed is what the bridge was last told.
type progressed struct {
	kind bridge.EventKind
	plan bridge.MediaPlan
}

// maxForks bounds the early dialogs of one INVITE.
const maxForks = 32

// Dial implements bridge.Dialer.
func (a *Agent) Dial(ctx context.Context, in bridge.Intent) (bridge.Leg, error) {
	l, err := a.placeCall(ctx, in, false)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// placeCall is Dial; goesOn is that of enter.
func (a *Agent) placeCall(ctx context.Context, in bridge.Intent, goesOn bool) (*Leg, error) {
	t := a.byName[in.Trunk]
	if t == nil {
		return nil, bridge.CauseInternal.With("no SIP trunk is named %q", in.Trunk)
	}
	targets, err := a.targetsOf(t, in.To)
	if err != nil {
		return nil, fmt.Errorf("dial trunk %q: %w", t.Name, err)
	}
	shown := a.originOf(t)
	callID := newToken() + "@" + shown.host
	if a.cfg.Tap.Placing != nil {
		a.cfg.Tap.Placing(PlacingLeg{callID, in})
	}
	media, err := a.openSession(t, callID, shown, t.over)
	if err != nil {
		return nil, fmt.Errorf("dial trunk %q: %w", t.Name, err)
	}
	offer := media.firstOffer(in.Media)
	m := a.box(callID)
	l := a.newLeg(m, t, nil, media, false)
	l.info = bridge.LegInfo{
		ID: m.callID, Protocol: "sip", Trunk: t.Name, From: in.From, To: in.To, Hops: in.Hops,
		Identity: bridge.Identity{Passport: in.Passport, Others: in.Others}, Facts: in.Facts, Trace: in.Trace,
	}
	l.session.local = in.Trace.ID
	l.terms = t.asksTimer()
	fail := func(err error) (*Leg, error) {
		l.cancel()
		media.port.Close()
		return nil, fmt.Errorf("dial trunk %q: %w", t.Name, err)
	}
	l.out = &outgoing{attempt: &attempt{}, early: map[string]*dialog{}, answered: map[string]func(){}}
	if l.out.invite, err = a.buildInvite(in, t, m.callID, offer); err == nil {
		l.flow, l.out.to, l.out.rest, err = a.reach(ctx, t, targets, len(encode(l.out.invite)))
	}
	if err != nil {
		return fail(err)
	}
	if err := a.enter(l, goesOn); err != nil {
		return fail(err)
	}
	if err := l.place(ctx); err != nil {
		a.leave(l)
		return fail(err)
	}
	return l, nil
}

// contactUser is the user part of an INVITE's Contact. It tells no more of the
// caller than From does.
func (l *Leg) contactUser() string {
	user := l.trunk.Numbers.Format(l.info.From)
	if l.info.Facts.Anonymous() && !l.trunk.Facts.Trusts() || user == "" {
		user = "anonymous"
	}
	return contactUser(user, l.trunk.Facts.Sendable(l.info.Facts))
}

// buildInvite makes the INVITE of a call, without Via and Contact, which
// depend on the way it takes.
func (a *Agent) buildInvite(in bridge.Intent, t *trunk, callID string, offer []byte) (*sipgo.Request, error) {
	to := sipgo.Uri{Scheme: "sip", User: t.Numbers.Format(in.To), Host: cmp.Or(t.host, a.host)}
	if t.port != 0 && t.port != 5060 {
		to.Port = int(t.port)
	}
	if in.To.IsE164() {
		to.UriParams.Add("user", "phone")
	}
	f := t.Facts.Sendable(in.Facts)
	target := *to.Clone()
	target.User = calledUser(target.User, f)
	req := sipgo.NewRequest(sipgo.INVITE, target)
	forwards := sipgo.MaxForwardsHeader(min(max(in.Hops, 0), 70))
	id := sipgo.CallIDHeader(callID)
	req.AppendHeader(&forwards)
	caller := a.callerHeaders(in, t, f)
	req.AppendHeader(caller[0])
	req.AppendHeader(&sipgo.ToHeader{Address: *to.Clone()})
	req.AppendHeader(&id)
	req.AppendHeader(&sipgo.CSeqHeader{SeqNo: 1, MethodName: sipgo.INVITE})
	rest, err := identityHeaders(in, t)
	if err != nil {
		return nil, err
	}
	location := newToken() + "@" + a.originOf(t).host
	pidf := ""
	if f.Location != nil {
		pidf = f.Location.PIDF
	}
	body, types := pack(offer, pidf, location)
	rest = append(append(append(caller[1:], rest...), a.factHeaders(in, t, f, location)...), sessionID{local: in.Trace.ID}.headers()...)
	rest = append(append(rest, allowHeader, acceptHeader), t.supported()...)
	rest = append(rest, timerOf(t.asksTimer(), 0)...)
	rest = append(append(rest, a.transferHeaders(in, t)...), t.required()...)
	for _, h := range append(rest, types...) {
		req.AppendHeader(h)
	}
	req.SetBody(body)
	return req, nil
}

// identityHeaders are the PASSporTs of a call. They tell the caller's number as
// well as any other header field does.
func identityHeaders(in bridge.Intent, t *trunk) ([]sipgo.Header, error) {
	if in.Passport == "" || in.Facts.Anonymous() && !t.Facts.Trusts() {
		return nil, nil
	}
	var out []sipgo.Header
	for _, passport := range append([]string{in.Passport}, in.Others...) {
		identity, err := stir.FormatIdentity(passport)
		if err != nil {
			return nil, fmt.Errorf("identity of %s: %w", in.From, err)
		}
		out = append(out, sipgo.NewHeader("Identity", identity))
	}
	return out, nil
}

// flowTo finds the way to a target. A peer that takes no TCP only loses what
// TCP was to mend: an INVITE that is larger than a datagram should be, because
// of its Identity, then goes over UDP after all.
func (a *Agent) flowTo(ctx context.Context, t *trunk, to target, size int) (flow, error) {
	const viaAndContact = 250
	if to.over != overUDP {
		s, err := a.connect(ctx, t, to.over, to.addr)
		if err != nil {
			return nil, bridge.CauseUnreachable.With("%v", err)
		}
		return s, nil
	}
	direct, err := a.datagramsTo(t, to.addr)
	if err != nil {
		return nil, bridge.CauseUnreachable.With("%v", err)
	}
	s, err := a.roomier(ctx, direct, size+viaAndContact)
	if ctx.Err() != nil {
		return nil, bridge.CauseCancelled.With("the caller gave up")
	}
	if err != nil {
		return direct, nil
	}
	return s, nil
}

// onAnswer takes a response to the INVITE, also long after the call is over.
func (l *Leg) onAnswer(res *sipgo.Response) {
	switch {
	case res.StatusCode < 200:
		l.onProvisional(res)
	case res.IsSuccess():
		l.onSuccess(res)
	case l.closed:
	case l.state == ending:
		l.over() // as we wanted
	case res.StatusCode == 422 && l.longerSession(res):
	default:
		l.ended(l.causeOf(res), nil)
		l.over()
	}
}

// onProvisional passes each change on as an event of its own: a 180 after a 183
// means something else than a 183 alone.
func (l *Leg) onProvisional(res *sipgo.Response) {
	if l.closed {
		return
	}
	first := !l.out.heard
	l.out.heard = true
	if l.state == ending {
		if first {
			_ = l.sendCancel() // it was only waiting for this
		}
		return
	}
	tag := toTag(res)
	l.notes(res)
	if l.state != inviting || res.StatusCode == 100 || tag == "" && len(res.Body()) > 0 {
		return
	}
	if tag != "" {
		l.earlyDialog(tag, res)
	}
	if !l.prack(l.out.early[tag], res) {
		return
	}
	l.earlyMedia(tag, res)
	now := progressed{kind: bridge.Proceeding}
	if res.StatusCode == 180 {
		now.kind = bridge.Alerting
	}
	plan := l.media.planCopy()
	if plan != nil {
		now.plan = *plan
	}
	if now.kind == l.out.last.kind && now.plan.Equal(l.out.last.plan) {
		return
	}
	if l.emit(bridge.Event{Kind: now.kind, Plan: plan}) {
		l.out.last = now
	}
}

func (l *Leg) earlyDialog(tag string, res *sipgo.Response) {
	if d := l.out.early[tag]; d != nil {
		d.adopt(res)
	} else if len(l.out.early) < maxForks {
		l.out.early[tag] = dialogOfResponse(l.out.invite, res)
	}
	if l.dlg == nil {
		l.dlg = l.out.early[tag] // until one of them answers
	}
}

// earlyMedia starts media on the SDP of a provisional answer. Of several forks
// the first one is heard.
func (l *Leg) earlyMedia(tag string, res *sipgo.Response) {
	if l.out.sdpFrom != "" || len(res.Body()) == 0 || !isSDP(res) {
		return
	}
	d, err := sdp.Parse(res.Body())
	if err != nil || l.media.accept(d) != nil {
		return // the final answer may do better; until then there is no early media
	}
	l.out.sdpFrom = tag
	if early := l.out.early[tag]; early != nil {
		l.dlg = early // whom we hear is whom we talk to
	}
}

// onSuccess takes a 2xx. The first one wins; every other fork is acknowledged
// and hung up at once (RFC 3261 section 13.2.2.4). A repetition means that our
// ACK was lost.
func (l *Leg) onSuccess(res *sipgo.Response) {
	tag := toTag(res)
	if again := l.out.answered[tag]; again != nil {
		again()
		return
	}
	if len(l.out.answered) >= maxForks {
		return
	}
	d := l.out.early[tag]
	if d == nil {
		d = dialogOfResponse(l.out.invite, res)
	} else {
		d.adopt(res)
	}
	l.out.answered[tag] = l.acknowledge(d, l.out.invite.CSeq().SeqNo)
	switch {
	case l.state == inviting:
		l.dlg = d
		l.state = confirmed
		l.session.remote = sessionOf(res)
		l.take200(tag, res)
	case l.state == ending && l.out.given != nil && len(l.out.answered) == 1:
		// The answer crossed our CANCEL: the peer thinks it is in a call.
		l.dlg = d
		_ = l.bye(*l.out.given)
	default:
		l.dismiss(d)
	}
}

// take200 settles the media of the fork that won.
func (l *Leg) take200(tag string, res *sipgo.Response) {
	var err error
	said := res.Body()
	if len(said) == 0 && l.out.sdpFrom != tag {
		said = l.dlg.answer // RFC 6337 section 3.1.1: it need not say it again
	}
	switch {
	case l.changed && l.dlg.answer != nil:
		// What was agreed on since by UPDATE counts; this is what was said before
		// (RFC 3261 section 13.2.1).
	case len(said) > 0:
		var answer sdp.Description
		if answer, err = sdp.Parse(said); err == nil {
			err = l.media.accept(answer)
		}
	case l.out.sdpFrom != tag || tag == "":
		err = fmt.Errorf("no SDP in it")
	}
	if err != nil {
		c := bridge.CauseMediaIncompatible.With("answer of trunk %q: %v", l.trunk.Name, err).EndedBy(l.peerParty())
		l.ended(c, nil)
		_ = l.bye(c)
		return
	}
	l.stop(l.out.ringing) // and nothing else: a change may wait for its record
	l.media.settle()
	l.notes(res)
	l.keepAlive(answeredTimer(l.trunk.Timer, l.terms, res))
	l.watch()
	l.mindMedia()
	facts := l.trunk.Facts.Accepted(factsOf(res, l.trunk.Numbers, l.trunk.Facts.Carry, ""))
	facts.Session = l.session.remote
	l.emit(bridge.Event{Kind: bridge.Answered, Plan: l.media.planCopy(), Facts: &facts})
}

// dismiss hangs up a fork that lost.
func (l *Leg) dismiss(d *dialog) {
	req := d.request(sipgo.BYE)
	for _, h := range append(reasonHeaders(bridge.Cause{Code: "answered-elsewhere"}, 0, "", l.trunk.Name), l.session.headers()...) {
		req.AppendHeader(h)
	}
	req.SetBody(nil)
	f, err := l.route(d)
	if err == nil {
		err = l.request(d, req, f, nil, nil)
	}
	if err != nil {
		l.agent.counts.unsent.Add(1)
	}
}

func toTag(res *sipgo.Response) string {
	if to := res.To(); to != nil {
		tag, _ := to.Params.Get("tag")
		return tag
	}
	return ""
}
