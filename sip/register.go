package sip

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/policy"
)

// Register says that we tell the peer where its calls to us go (RFC 3261
// section 10), with the trunk's Login.
type Register struct {
	User    string        // of our address there; default: that of Login
	Domain  string        // default: the peer's host
	Expires time.Duration // asked for; the peer's word counts; default 1 h
	Bulk    bool          // for all numbers of the trunk at once (RFC 6140)
}

const (
	defaultRegisterExpires = time.Hour
	leastExpires           = 10 * time.Second // what we take of a peer that wants more often
	mostExpires            = 24 * time.Hour
	signOffTimeout         = 2 * time.Second
)

// registrant keeps one trunk registered. It belongs to its goroutine, but for
// what is behind the lock.
type registrant struct {
	agent   *Agent
	trunk   *trunk
	callID  string
	tag     string
	seq     uint32
	expires time.Duration
	seen    string // how the peer sees us: received and rport of our Via
	moved   bool   // that has just changed
	failed  int    // in a row

	mu      sync.Mutex
	until   time.Time // registered until then
	service []string  // what calls to the peer are routed through (RFC 3608)
	to      target    // that took it
	flow    flow
	why     string // not registered; "" before the first try
	said    bool   // what was logged last
}

func newRegistrant(a *Agent, t *trunk) *registrant {
	r := &registrant{agent: a, trunk: t, callID: newToken() + "@" + a.host, tag: newToken()}
	r.expires = cmp.Or(t.Register.Expires, defaultRegisterExpires)
	return r
}

// user is our address there.
func (t *trunk) registeredUser() string {
	if t.Register == nil {
		return ""
	}
	if t.Register.User == "" && t.Login != nil {
		return t.Login.User
	}
	return t.Register.User
}

// run registers until ctx ends, and then signs off.
func (r *registrant) run(ctx context.Context) {
	defer r.signOff(context.WithoutCancel(ctx))
	for {
		wait := r.once(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		case <-r.lost():
			// The way that calls would come by is gone. Not all of a peer's trunks
			// at once: they have lost it together.
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Duration(rand.Int64N(int64(time.Second)))):
			}
		}
	}
}

// lost is closed when the connection goes that we registered over; nil over
// UDP.
func (r *registrant) lost() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, ok := r.flow.(*stream); ok {
		return s.gone
	}
	return nil
}

// once sends a REGISTER, and says when the next one is due.
func (r *registrant) once(ctx context.Context) time.Duration {
	var life time.Duration
	for range 3 { // 423, and a NAT that has given us another address
		life = 0
		res, to, f, err := r.ask(ctx, r.expires)
		switch {
		case err != nil:
			return r.sorry(err.Error(), 0)
		case res.StatusCode == 423:
			least, _ := strconv.Atoi(strings.TrimSpace(first(headerValues(res, "Min-Expires"))))
			if d := time.Duration(least) * time.Second; d > r.expires && d <= mostExpires {
				r.expires = d
				continue
			}
			return r.sorry("423 without a Min-Expires that could be kept", 0)
		case !res.IsSuccess():
			why := fmt.Sprintf("it answered %d %s", res.StatusCode, clip(res.Reason, 100))
			if res.StatusCode == 401 || res.StatusCode == 407 {
				why += r.trunk.wallet.complaint(r.trunk.Name)
			}
			return r.sorry(why, max(retryAfterOf(res), patienceWith(res.StatusCode)))
		}
		if life = r.granted(res, f); life == 0 {
			r.forgotten()
			return r.sorry(fmt.Sprintf("it answered %d, and keeps us for no time (Expires 0)", res.StatusCode), patienceWith(403))
		}
		r.welcome(res, to, f, life)
		if !r.moved {
			break
		}
	}
	if life == 0 {
		return r.sorry(fmt.Sprintf("423, and a longer Min-Expires each time, now %v", r.expires), 0)
	}
	return refreshAfter(life, rand.Float64())
}

// ask sends one REGISTER to whichever target takes it; the last one first.
func (r *registrant) ask(ctx context.Context, expires time.Duration) (*sipgo.Response, target, flow, error) {
	t := r.trunk
	targets, err := t.standing.order(t.targets(), r.agent.cfg.Now())
	if err != nil { // calls are not tried now; this is how we find out that they may be
		targets = t.targets()
	}
	r.mu.Lock()
	last := r.to
	r.mu.Unlock()
	for i, to := range targets {
		if to.reached() == last.reached() {
			targets[0], targets[i] = targets[i], targets[0]
		}
	}
	return r.agent.askAny(ctx, t, targets, func(f flow) *sipgo.Request { return r.request(f, expires) }, &r.seq)
}

// request is one REGISTER.
func (r *registrant) request(f flow, expires time.Duration) *sipgo.Request {
	t := r.trunk
	r.seq++
	domain := cmp.Or(t.Register.Domain, t.host)
	req := sipgo.NewRequest(sipgo.REGISTER, sipgo.Uri{Scheme: "sip", Host: domain})
	address := sipgo.Uri{Scheme: "sip", User: escape(t.registeredUser()), Host: domain}
	from := &sipgo.FromHeader{Address: *address.Clone()}
	from.Params.Add("tag", r.tag)
	forwards, id := sipgo.MaxForwardsHeader(70), sipgo.CallIDHeader(r.callID)
	c := contact(escape(t.registeredUser()), f, false)
	if t.Register.Bulk {
		c.Address.User = "" // RFC 6140 section 5.2
		c.Address.UriParams.Add("bnc", "")
	}
	for _, h := range []sipgo.Header{
		&forwards, from, &sipgo.ToHeader{Address: *address.Clone()}, &id,
		&sipgo.CSeqHeader{SeqNo: r.seq, MethodName: sipgo.REGISTER}, c,
		sipgo.NewHeader("Expires", strconv.Itoa(int(expires.Seconds()))), sipgo.NewHeader("Allow", allowed),
	} {
		req.AppendHeader(h)
	}
	if t.Register.Bulk {
		for _, name := range []string{"Require", "Proxy-Require"} {
			req.AppendHeader(sipgo.NewHeader(name, "gin"))
		}
	}
	req.AppendHeader(sipgo.NewHeader("Supported", "path"))
	req.SetBody(nil)
	return req
}

// granted is how long the peer keeps us, 0 if it does not, and notes whether it
// sees us at another address than before.
func (r *registrant) granted(res *sipgo.Response, f flow) time.Duration {
	o := f.self()
	life := r.expires
	if d, ok := parseExpires(first(headerValues(res, "Expires"))); ok {
		life = d
	}
	for _, h := range res.GetHeaders("Contact") { // there may be others of the same user
		c, ok := h.(*sipgo.ContactHeader)
		if !ok || !strings.EqualFold(strings.Trim(c.Address.Host, "[]"), strings.Trim(o.host, "[]")) || cmp.Or(c.Address.Port, 5060) != int(o.port) {
			continue
		}
		if v, ok := c.Params.Get("expires"); ok {
			if d, ok := parseExpires(v); ok {
				life = d
			}
		}
	}
	via := res.Via()
	received, _ := via.Params.Get("received")
	rport, _ := via.Params.Get("rport")
	seen := received + ":" + rport
	r.moved = r.seen != "" && r.seen != seen
	r.seen = seen
	if life == 0 {
		return 0
	}
	return min(max(life, leastExpires), mostExpires)
}

// parseExpires reads a number of seconds. What is none says nothing.
func parseExpires(s string) (time.Duration, bool) {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 32)
	return time.Duration(n) * time.Second, err == nil
}

// forgotten notes that the peer does not know us any more.
func (r *registrant) forgotten() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.until = time.Time{}
}

// welcome notes that we are registered.
func (r *registrant) welcome(res *sipgo.Response, to target, f flow, life time.Duration) {
	r.failed = 0
	r.mu.Lock()
	r.until, r.to, r.flow, r.why = r.agent.cfg.Now().Add(life), to, f, ""
	r.service = nil
	for _, v := range headerValues(res, "Service-Route") {
		if r.service = append(r.service, splitList(v)...); len(r.service) > maxRoutes {
			r.service = nil
			break
		}
	}
	news := !r.said
	r.said = true
	r.mu.Unlock()
	if news {
		r.agent.cfg.Logger.Info("registered", "trunk", r.trunk.Name, "user", r.trunk.registeredUser(), "at", to.String(), "for", life)
	}
}

// sorry notes that we are not, and says when to try again.
func (r *registrant) sorry(why string, least time.Duration) time.Duration {
	wait := max(backOff(r.failed, rand.Float64()), least)
	r.failed++
	r.mu.Lock()
	news := r.said || r.why == ""
	if news {
		r.said = false
	}
	r.why = why
	if r.flow != nil && !r.flow.alive() {
		r.flow = nil // that it is lost is no news any more
	}
	r.mu.Unlock()
	if news {
		r.agent.cfg.Logger.Warn("not registered", "trunk", r.trunk.Name, "user", r.trunk.registeredUser(), "why", why, "again", wait.Round(time.Second))
	}
	return wait
}

// state tells why calls cannot be made; nil = we are registered.
func (r *registrant) state() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.agent.cfg.Now().Before(r.until):
		return nil
	case r.why == "":
		return bridge.CauseUnreachable.With("not registered yet")
	}
	return bridge.CauseUnreachable.With("not registered: %s", r.why)
}

// signOff takes our address back, if the peer has it.
func (r *registrant) signOff(ctx context.Context) {
	if r.state() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, signOffTimeout)
	defer cancel()
	if _, _, _, err := r.ask(ctx, 0); err != nil {
		r.agent.cfg.Logger.Warn("the peer was not told that we are gone", "trunk", r.trunk.Name, "error", err)
	}
	r.mu.Lock()
	r.until = time.Time{}
	r.mu.Unlock()
}

// refreshAfter is when to register again: at 50 to 90 % of the time, so that
// the trunks of many boxes do not come all at once.
func refreshAfter(life time.Duration, random float64) time.Duration {
	return time.Duration(float64(life) * (0.5 + 0.4*random))
}

// backOff is how long to wait after the nth failure in a row: from 2 s doubled
// up to 5 min, between half of it and all (RFC 5626 section 4.5).
func backOff(n int, random float64) time.Duration {
	most := math.Min(float64(5*time.Minute), float64(2*time.Second)*math.Pow(2, float64(n)))
	return time.Duration(most * (0.5 + 0.5*random))
}

// patienceWith is how long to leave a peer alone that knows us and does not
// want us: it may shut out who asks too often.
func patienceWith(status int) time.Duration {
	switch status {
	case 401, 403, 404, 407:
		return time.Minute
	}
	return 0
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// home is the target that has our registration: calls go there first.
func (r *registrant) home() (to target, service []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.to, r.service
}

// called is the number that a call is for. Peers that we register at may call
// our contact, as RFC 3261 has it, and say the number beside it (RFC 7315
// section 4.2), or in To.
func (t *trunk) called(req *sipgo.Request) (policy.Number, error) {
	uri := &req.Recipient
	if user := t.registeredUser(); user != "" && unescape(uri.User) == user {
		var party sipgo.Uri
		value := first(headerValues(req, "P-Called-Party-ID"))
		if i := strings.IndexByte(value, '<'); i >= 0 {
			value, _, _ = strings.Cut(value[i+1:], ">")
		}
		switch {
		case value != "" && sipgo.ParseUri(value, &party) == nil:
			uri = &party
		case req.To().Address.User != "":
			uri = &req.To().Address
		}
	}
	return t.Numbers.numberOf(uri)
}
