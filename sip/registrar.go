package sip

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge/store"
)

// Limits of what is remembered of registrations.
const (
	maxBindings     = 8   // of one user
	maxTrunkBinding = 256 // of one trunk
	maxContact      = 512 // bytes of a contact's URI
	maxPath         = 512 // bytes of all its Path: what one user sends is stored with what the others do
)

// binding is where a user of a trunk said to be (RFC 3261 section 10).
type binding struct {
	User      string         `json:"user"`
	Contact   string         `json:"contact"`
	Bulk      bool           `json:"bulk,omitempty"` // stands for all numbers (RFC 6140)
	Received  netip.AddrPort `json:"received"`       // where the request came from: behind a NAT, the only way back
	Transport string         `json:"transport"`      // as configurations write it
	Path      []string       `json:"path,omitempty"` // proxies on the way (RFC 3327)
	CallID    string         `json:"callId"`
	CSeq      uint32         `json:"cseq"`
	Q         float64        `json:"q"`
	Until     time.Time      `json:"until"`
}

// bindings are those of one trunk.
type bindings struct {
	mu   sync.Mutex
	list []binding

	keeping sync.Mutex // one write at a time, so that the last one is the latest
}

// current are those that have not run out, best first: by q, then the latest.
func (b *bindings) current(now time.Time) []binding {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list = slices.DeleteFunc(b.list, func(x binding) bool { return !now.Before(x.Until) })
	out := slices.Clone(b.list)
	slices.SortStableFunc(out, func(x, y binding) int {
		switch {
		case x.Q != y.Q:
			return int(math.Copysign(1, y.Q-x.Q))
		default:
			return y.Until.Compare(x.Until)
		}
	})
	return out
}

// register is what one REGISTER wants.
type registration struct {
	user     string
	all      bool // remove every binding of the user
	contacts []binding
}

// readRegistration reads a REGISTER. The error is the answer to one that is
// refused.
func readRegistration(req *sipgo.Request, user string, source netip.AddrPort, transport string, limits *Accept, now time.Time) (registration, *refusal) {
	r := registration{user: user}
	expires, r2 := expiresOf(req)
	if r2 != nil {
		return r, r2
	}
	contacts := req.GetHeaders("Contact")
	var path []string
	long := 0
	for _, v := range headerValues(req, "Path") {
		path = append(path, splitList(v)...)
		long += len(v)
	}
	if long > maxPath {
		return r, refuse(400, "Path Too Long")
	}
	if len(contacts) > maxBindings || len(path) > maxRoutes {
		return r, refuse(403, "Too Many Contacts")
	}
	for _, h := range contacts {
		c, ok := h.(*sipgo.ContactHeader)
		if !ok {
			return r, refuse(400, "Bad Contact")
		}
		if c.Address.Wildcard {
			if len(contacts) != 1 || expires != 0 {
				return r, refuse(400, "Contact * Wants Expires 0 And No Other")
			}
			r.all = true
			return r, nil
		}
		b := binding{User: user, Received: source, Transport: transport, Path: path, CallID: req.CallID().Value(), CSeq: req.CSeq().SeqNo, Q: 1}
		if refused := b.read(c, expires, limits, now); refused != nil {
			return r, refused
		}
		r.contacts = append(r.contacts, b)
	}
	return r, nil
}

// expiresOf is the Expires header field, -1 without one.
func expiresOf(req *sipgo.Request) (int, *refusal) {
	values := headerValues(req, "Expires")
	if len(values) == 0 {
		return -1, nil
	}
	n, err := strconv.ParseUint(strings.TrimSpace(values[0]), 10, 32)
	if err != nil {
		return 0, refuse(400, "Bad Expires")
	}
	return int(min(n, math.MaxInt32)), nil
}

// read fills a binding in from a Contact.
func (b *binding) read(c *sipgo.ContactHeader, expires int, limits *Accept, now time.Time) *refusal {
	u := *c.Address.Clone()
	if u.Scheme != "sip" && u.Scheme != "sips" || u.Host == "" {
		return refuse(400, "Bad Contact")
	}
	b.Bulk = u.UriParams.Has("bnc")
	u.Headers = nil
	if b.Contact = u.String(); len(b.Contact) > maxContact {
		return refuse(400, "Contact Too Long")
	}
	if q, ok := c.Params.Get("q"); ok {
		f, err := strconv.ParseFloat(q, 64)
		if err != nil || !(f >= 0 && f <= 1) {
			return refuse(400, "Bad q")
		}
		b.Q = f
	}
	if v, ok := c.Params.Get("expires"); ok {
		if n, err := strconv.ParseUint(v, 10, 32); err == nil { // malformed: as if it were not there (section 10.2.1.1)
			expires = int(min(n, math.MaxInt32))
		}
	}
	life := limits.MaxExpires
	if expires >= 0 {
		life = min(life, time.Duration(expires)*time.Second)
	}
	if expires > 0 && life < limits.MinExpires {
		return refuse(423, "Interval Too Brief", sipgo.NewHeader("Min-Expires", strconv.Itoa(int(limits.MinExpires.Seconds()))))
	}
	b.Until = now.Add(life)
	return nil
}

// apply changes the bindings as a REGISTER wants, all of it or nothing (RFC
// 3261 section 10.3).
func (b *bindings) apply(r registration, callID string, seq uint32, now time.Time) *refusal {
	b.mu.Lock()
	defer b.mu.Unlock()
	next := slices.DeleteFunc(slices.Clone(b.list), func(x binding) bool { return !now.Before(x.Until) })
	outOfOrder := func(x binding) bool { return x.CallID == callID && seq <= x.CSeq }
	if r.all {
		for _, x := range next {
			if x.User == r.user && outOfOrder(x) {
				return refuse(500, "CSeq Out Of Order")
			}
		}
		b.list = slices.DeleteFunc(next, func(x binding) bool { return x.User == r.user })
		return nil
	}
	for _, c := range r.contacts {
		i := slices.IndexFunc(next, func(x binding) bool { return x.User == c.User && sameContact(x.Contact, c.Contact) })
		switch {
		case i >= 0 && outOfOrder(next[i]):
			return refuse(500, "CSeq Out Of Order")
		case i >= 0 && !now.Before(c.Until):
			next = slices.Delete(next, i, i+1)
		case i >= 0:
			next[i] = c
		case now.Before(c.Until):
			next = append(next, c)
		}
	}
	mine := 0
	for _, x := range next {
		if x.User == r.user {
			mine++
		}
	}
	if mine > maxBindings || len(next) > maxTrunkBinding {
		return refuse(403, "Too Many Contacts")
	}
	b.list = next
	return nil
}

// sameContact compares two contacts as RFC 3261 section 10.3 has it: as URIs,
// not as text.
func sameContact(a, b string) bool {
	if a == b {
		return true
	}
	var x, y sipgo.Uri
	if sipgo.ParseUri(a, &x) != nil || sipgo.ParseUri(b, &y) != nil {
		return false
	}
	transport := func(u sipgo.Uri) string { v, _ := u.UriParams.Get("transport"); return strings.ToLower(v) }
	port := func(u sipgo.Uri) int { return u.Port }
	return x.Scheme == y.Scheme && x.User == y.User && strings.EqualFold(x.Host, y.Host) && port(x) == port(y) && transport(x) == transport(y)
}

// onRegister serves REGISTER. The answer waits until the bindings are on
// record: a peer that heard 200 will not come again for an hour.
func (m *mailbox) onRegister(req *sipgo.Request, s *serverTx, t *trunk) {
	a := m.agent
	if r := checkRegister(req); r != nil {
		s.refuse(r)
		return
	}
	user, ok := m.authenticate(req, s, t)
	if !ok {
		return
	}
	registered := unescape(req.To().Address.User)
	if t.asks() && registered != user {
		s.refuse(refuse(403, "Not Your Address"))
		return
	}
	now := a.cfg.Now()
	r, refused := readRegistration(req, registered, sourceOf(req), transports[s.flow.transport()].key, t.Accept, now)
	before := t.bindings.current(now)
	if refused == nil {
		refused = t.bindings.apply(r, req.CallID().Value(), req.CSeq().SeqNo, now)
	}
	if refused != nil {
		s.refuse(refused)
		return
	}
	after := t.bindings.current(now)
	a.logRegistration(t, registered, before, after)
	answer := func() {
		s.respond(200, "", nil, registrationHeaders(req, after, registered, now)...)
	}
	if a.cfg.Store == nil || len(req.GetHeaders("Contact")) == 0 {
		answer()
		return
	}
	a.work.Go(func() {
		ctx, cancel := context.WithTimeout(a.base, storedTimeout)
		defer cancel()
		if err := a.keepBindings(ctx, t); err != nil {
			a.cfg.Logger.Warn("registrations are not on record, and will be lost at a restart", "trunk", t.Name, "error", err)
		}
		m.post(answer)
	})
}

// sourceOf is where a request came from, which is not always where its answers
// are wanted.
func sourceOf(req *sipgo.Request) netip.AddrPort {
	source, _ := netip.ParseAddrPort(req.Source())
	return source
}

// checkRegister judges form. Of extensions we know the bulk registration.
func checkRegister(req *sipgo.Request) *refusal {
	var unknown []string
	for _, v := range headerValues(req, "Require") {
		for _, tag := range splitList(v) {
			if tag != "" && !strings.EqualFold(tag, "gin") && !strings.EqualFold(tag, "path") {
				unknown = append(unknown, tag)
			}
		}
	}
	if len(unknown) > 0 {
		return refuse(420, "", sipgo.NewHeader("Unsupported", strings.Join(unknown, ", ")))
	}
	if req.To().Address.User == "" {
		return refuse(404, "Not Found")
	}
	return nil
}

// registrationHeaders are the user's bindings as they are now.
func registrationHeaders(req *sipgo.Request, all []binding, user string, now time.Time) []sipgo.Header {
	var out []sipgo.Header
	for _, b := range all {
		if b.User == user {
			out = append(out, sipgo.NewHeader("Contact", fmt.Sprintf("<%s>;expires=%d", b.Contact, int(math.Ceil(b.Until.Sub(now).Seconds())))))
		}
	}
	for _, h := range req.GetHeaders("Path") {
		out = append(out, sipgo.HeaderClone(h)) // RFC 3327 section 5.3
	}
	if hasOption(req, "Require", "gin") {
		out = append(out, sipgo.NewHeader("Supported", "gin, path"))
	}
	return append(out, sipgo.NewHeader("Date", now.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")))
}

// logRegistration writes of users that came or went, not of each refresh.
func (a *Agent) logRegistration(t *trunk, user string, before, after []binding) {
	count := func(list []binding) (n int) {
		for _, b := range list {
			if b.User == user {
				n++
			}
		}
		return n
	}
	if was, is := count(before), count(after); was != is {
		a.cfg.Logger.Info("registration", "trunk", t.Name, "user", clip(user, 64), "contacts", is)
	}
}

// keepBindings writes a trunk's bindings to the store.
func (a *Agent) keepBindings(ctx context.Context, t *trunk) error {
	t.bindings.keeping.Lock()
	defer t.bindings.keeping.Unlock()
	value, err := json.Marshal(t.bindings.current(a.cfg.Now()))
	if err != nil {
		return fmt.Errorf("write registrations of trunk %q: %w", t.Name, err)
	}
	if _, err := a.cfg.Store.Put(ctx, store.Registrations, t.Name, value); err != nil {
		return fmt.Errorf("write registrations of trunk %q: %w", t.Name, err)
	}
	return nil
}

// loadBindings brings back what was registered before a restart, but for users
// that the trunk has no more, and ways that it does not take any more.
func (a *Agent) loadBindings(ctx context.Context, t *trunk) error {
	e, err := a.cfg.Store.Get(ctx, store.Registrations, t.Name)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read registrations of trunk %q: %w", t.Name, err)
	}
	var list []binding
	if err := json.Unmarshal(e.Value, &list); err != nil {
		return fmt.Errorf("registrations of trunk %q: %w", t.Name, err)
	}
	list = slices.DeleteFunc(list, func(b binding) bool {
		_, known := t.Accept.Users[b.User]
		over, err := parseTransport(b.Transport)
		return t.asks() && !known || err != nil || t.over.secure() && !over.secure()
	})
	t.bindings.mu.Lock()
	t.bindings.list = list[:min(len(list), maxTrunkBinding)]
	t.bindings.mu.Unlock()
	return nil
}
