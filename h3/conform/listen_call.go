package conform

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"riptide/h3/advert"
	"riptide/policy"
)

// placed is what a request with an Idempotency-Key led to.
type placed struct {
	body string
	call *played
}

// callPosted is the body of POST calls as we read it.
type callPosted struct {
	Handler     string `json:"handler"`
	Destination string `json:"destination"`
	Passport    string `json:"passport"`
	Hops        *int   `json:"hops"`
	Session     string `json:"session"`
}

// played is one call of the client's, and the script that is played with it.
type played struct {
	l      *Listener
	id     string
	script *script
	posted callPosted
	from   string
	codec  string
	at     time.Time // of the 201
	cookie string
	tag    uint64 // in its trunk session

	wg     sync.WaitGroup
	ending chan struct{} // closed when the call is over

	watched
	state    string
	reason   map[string]any
	isOver   bool
	moved    bool // it is at its second URI
	seq      uint64
	last     map[string]any // the last state event
	gets     []*getServed
	puts     []*putServed
	said     []event // of the client, all PUTs
	requests []requestSeen
	deaf     bool // forward byways are not read: something holds them back
	mute     bool // nothing more is written to reverse byways
	cut      int  // grows to abort all byways
	media    mediaServed
}

// requestSeen is a request of the call's.
type requestSeen struct {
	method, what string
	at           time.Time
	cookie       string
	epoch        string
	moved        bool // to the second URI
}

// getServed is one reverse byway.
type getServed struct {
	at, headers time.Time
	ended       time.Time
	queue       chan map[string]any
	moved       bool
}

// putServed is one forward byway.
type putServed struct {
	at, ended time.Time
	rec       *recording
	single    bool
	moved     bool
}

// path is where the call is.
func (c *played) path(moved bool) string {
	if moved {
		return pathTG + "/calls/" + c.id + "-moved"
	}
	return pathTG + "/calls/" + c.id
}

// withPlayed finds the call of a request, at its first URI or its second.
func (l *Listener) withPlayed(f func(*played, http.ResponseWriter, *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, moved := strings.CutSuffix(r.PathValue("id"), "-moved")
		l.state.mu.Lock()
		c := l.state.byID[id]
		l.state.mu.Unlock()
		if c == nil {
			refuse(w, http.StatusNotFound, "call-ended", "no such call")
			return
		}
		c.mu.Lock()
		gone := c.moved != moved || c.isOver && r.Method != http.MethodGet
		c.requests = append(c.requests, requestSeen{
			method: r.Method, what: r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:], at: time.Now(),
			cookie: r.Header.Get("Cookie"), epoch: r.Header.Get("Ript-Epoch"), moved: moved,
		})
		c.bump()
		c.mu.Unlock()
		if gone {
			refuse(w, http.StatusNotFound, "call-ended", "the call is not here")
			return
		}
		if c.cookie != "" {
			http.SetCookie(w, &http.Cookie{Name: "ript_node", Value: c.cookie, Path: "/", Secure: true, HttpOnly: true})
		}
		f(c, w, r)
	}
}

// serveHandlers registers, and judges what the client says it can do.
func (l *Listener) serveHandlers(w http.ResponseWriter, r *http.Request) {
	l.saw("handlers")
	raw, _ := io.ReadAll(io.LimitReader(r.Body, maxDocument))
	var h struct {
		ID  string `json:"handler-id"`
		Adv string `json:"advertisement"`
	}
	err := json.Unmarshal(raw, &h)
	if err == nil && (h.ID == "" || h.Adv == "") {
		err = errors.New("handler-id or advertisement is missing")
	}
	l.note([]string{"27"}, "read its handlers", err)
	if err != nil {
		refuse(w, http.StatusBadRequest, "bad-request", "not a handler")
		return
	}
	l.judgeAdvert(h.Adv)
	uri := l.tg() + "/handlers/" + uuid.NewString()
	l.state.mu.Lock()
	for _, old := range l.state.handlers {
		if old.id == h.ID && !l.state.forgot[old.uri] {
			uri = old.uri
		}
	}
	l.state.handlers[uri] = handlerSeen{uri, h.ID, h.Adv, time.Now()}
	l.state.mu.Unlock()
	w.Header().Set("Location", uri)
	writeJSON(w, http.StatusCreated, map[string]any{"uri": uri, "handler-id": h.ID, "advertisement": h.Adv, "x-conform": 1})
}

func (l *Listener) judgeAdvert(text string) {
	const did = "read its advertisements"
	a, err := advert.ParseAdvert(text)
	l.note([]string{"A61", "30"}, did, err)
	if err != nil {
		return
	}
	l.note([]string{"31", "A25"}, did, oneOfEach(a))
	l.note([]string{"33", "34"}, did, parameters(a))
	l.note([]string{"36"}, did, everyDirectionHas(a, []string{"telephone-event"}))
	l.note([]string{"37"}, did, everyDirectionHas(a, []string{"CN"}))
}

// oneOfEach: the streams that can be active at once are audio and video.
func oneOfEach(a advert.Advert) error {
	count := map[string]int{}
	for _, line := range a {
		kind := "audio"
		for _, c := range line.Codecs {
			if n := payloadOf[codecName(c.Name)]; n >= 144 {
				kind = "video"
			}
		}
		count[fmt.Sprint(kind, line.In)]++
	}
	for _, in := range []bool{true, false} {
		if count[fmt.Sprint("audio", in)] == 0 {
			return errors.New("there is no stream of audio in one direction")
		}
	}
	return nil
}

func parameters(a advert.Advert) error {
	for _, line := range a {
		for _, c := range line.Codecs {
			for _, p := range c.Params {
				if p.Name == "ch" && p.HasValue && p.Value == 1 {
					return fmt.Errorf("%s spells out ch=1, which is the default", c.Name)
				}
				if p.Name == "ss" && p.Value < 8 {
					return fmt.Errorf("%s has ss=%d", c.Name, p.Value)
				}
			}
		}
	}
	return nil
}

// everyDirectionHas wants the codecs somewhere among the sources and the sinks.
func everyDirectionHas(a advert.Advert, names []string) error {
	for _, in := range []bool{true, false} {
		for _, name := range names {
			ok := false
			for _, line := range a {
				ok = ok || line.In == in && streamHas(advert.Stream{Codecs: line.Codecs}, name)
			}
			if !ok {
				return fmt.Errorf("%s is missing in one direction of %q", name, clip(a.String(), 200))
			}
		}
	}
	return nil
}

// serveCalls is POST calls: what the next script makes of it.
func (l *Listener) serveCalls(w http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(io.LimitReader(r.Body, maxDocument))
	var b callPosted
	err := json.Unmarshal(raw, &b)
	l.note([]string{"45"}, "read its calls", err)
	if err != nil {
		refuse(w, http.StatusBadRequest, "bad-request", "not a call")
		return
	}
	key := r.Header.Get("Idempotency-Key")
	from := l.judgePost(key, b)
	l.state.mu.Lock()
	before := l.state.placed[key]
	l.state.mu.Unlock()
	if before != nil && before.call != nil {
		l.replay(w, before, string(raw))
		return
	}
	if l.forgets(b.Handler) {
		refuse(w, http.StatusInternalServerError, "handler-not-registered", "register the handler")
		return
	}
	s := l.nextScript()
	if s == nil {
		refuse(w, http.StatusServiceUnavailable, "overloaded", "the judge has seen enough")
		return
	}
	c, err := l.newPlayed(s, b, from)
	if err != nil {
		l.note([]string{"38"}, "", err)
		refuse(w, http.StatusUnprocessableEntity, "media-incompatible", err.Error())
		return
	}
	l.state.mu.Lock()
	l.state.placed[key] = &placed{string(raw), c}
	l.state.mu.Unlock()
	l.say("call %d: %s", len(l.calls()), s.name)
	c.start()
	if s.lose201 {
		panic(http.ErrAbortHandler) // the client must ask again
	}
	c.created(w)
}

// forgets tells whether a handler is not registered any more. A script may want
// that of one that was good until now.
func (l *Listener) forgets(uri string) bool {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	if len(l.state.scripts) > 0 && l.state.scripts[0].forget && l.state.seen["500"].IsZero() {
		l.state.seen["500"] = time.Now()
		for known := range l.state.handlers {
			l.state.forgot[known] = true
		}
	}
	return l.state.forgot[uri]
}

// revokeAll makes every token that was given an expired one.
func (l *Listener) revokeAll() {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	for t := range l.state.tokens {
		l.state.revoked[t] = true
	}
}

func (l *Listener) calls() []*played {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	return append([]*played(nil), l.state.order...)
}

// replay answers a request that comes again.
func (l *Listener) replay(w http.ResponseWriter, before *placed, raw string) {
	before.call.mu.Lock()
	before.call.requests = append(before.call.requests, requestSeen{method: http.MethodPost, what: "again", at: time.Now()})
	before.call.bump()
	before.call.mu.Unlock()
	if before.body != raw {
		l.note([]string{"A11"}, "", errors.New("it sends another body with the same Idempotency-Key"))
		refuse(w, http.StatusUnprocessableEntity, "idempotency-key-reused", "another body")
		return
	}
	before.call.created(w)
}

// judgePost judges what every call must have.
func (l *Listener) judgePost(key string, b callPosted) (from string) {
	const did = "read its calls"
	l.state.mu.Lock()
	_, registered := l.state.handlers[b.Handler]
	l.state.mu.Unlock()
	var err error
	if !registered {
		err = fmt.Errorf("it names handler %q, which it has not registered here", clip(b.Handler, 120))
	}
	l.note([]string{"26", "47"}, did, err)
	err = nil
	if b.Handler == "" || b.Destination == "" || b.Passport == "" {
		err = errors.New("handler, destination or passport is missing")
	}
	l.note([]string{"46"}, did, err)
	n, err := policy.ParseNumber(b.Destination)
	if err == nil && string(n) != b.Destination {
		err = fmt.Errorf("destination %q is not in its canonical form, %q", clip(b.Destination, 60), n)
	}
	l.note([]string{"49", "51", "52", "A14"}, did, err)
	from, err = l.verify(b.Passport, b.Destination)
	l.note([]string{"53", "54"}, "verified its PASSporTs", err)
	err = nil
	if l.firstSeen("certs given").IsZero() {
		err = errors.New("it called before it had a certificate of ours")
	}
	l.note([]string{"39"}, did, err)
	err = nil
	if key == "" || len(key) > 255 {
		err = fmt.Errorf("Idempotency-Key has %d bytes, want 1 to 255", len(key))
	}
	l.note([]string{"A11"}, did, err)
	err = nil
	if b.Hops != nil && (*b.Hops < 1 || *b.Hops > 70) {
		err = fmt.Errorf("hops is %d", *b.Hops)
	}
	l.note([]string{"A56"}, did, err)
	err = nil
	if l.firstSeen("list").IsZero() {
		err = errors.New("it never read providertgs")
	}
	l.note([]string{"3"}, did, err)
	err = nil
	if l.firstSeen("tg").IsZero() {
		err = errors.New("it never read the TG")
	}
	l.note([]string{"6"}, did, err)
	return from
}

// newPlayed makes the call of a script, with the directives it wants.
func (l *Listener) newPlayed(s *script, b callPosted, from string) (*played, error) {
	c := &played{
		l: l, id: uuid.NewString(), script: s, posted: b, from: from, at: time.Now(), state: "proceeding",
		ending: make(chan struct{}), watched: watched{changed: make(chan struct{})}, cookie: "node-" + uuid.NewString()[:8],
	}
	l.state.mu.Lock()
	adv := l.state.handlers[b.Handler].adv
	l.state.mu.Unlock()
	a, err := advert.ParseAdvert(adv)
	if err != nil {
		return nil, err
	}
	c.codec = s.codec
	if c.codec == "" {
		c.codec = "PCMU"
	}
	if err := everyDirectionHas(a, []string{c.codec}); err != nil {
		return nil, err
	}
	c.media.init(c)
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	l.state.byID[c.id] = c
	l.state.order = append(l.state.order, c)
	if t := l.state.sessions[b.Session]; t != nil && s.allows(carrierTrunk) {
		c.tag = t.join(c, 0)
	}
	return c, nil
}

func (c *played) directives() string {
	return "1 to 1: " + c.codec + "; telephone-event; CN;"
}

// describe is the call's document. There is always a member that nobody knows.
func (c *played) describe() map[string]any {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := map[string]any{
		"uri": c.l.base + c.path(c.moved), "handler": c.posted.Handler, "direction": "outbound", "from": c.from, "to": c.posted.Destination,
		"state": c.state, "clientDirectives": c.directives(), "serverDirectives": c.directives(), "created": c.at.UTC().Format(time.RFC3339Nano),
		"x-conform": []any{1, "two"},
	}
	if c.tag != 0 {
		d["callTag"] = c.tag
	}
	if c.isOver {
		d["state"], d["reason"], d["endedBy"] = "ended", c.reason, "callee"
		d["endedAt"] = time.Now().UTC().Format(time.RFC3339Nano)
	}
	return d
}

func (c *played) created(w http.ResponseWriter) {
	d := c.describe()
	w.Header().Set("Location", d["uri"].(string))
	http.SetCookie(w, &http.Cookie{Name: "ript_node", Value: c.cookie, Path: "/", Secure: true, HttpOnly: true})
	writeJSON(w, http.StatusCreated, d)
}

func (c *played) serveGet(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("ETag", `"conform"`)
	writeJSON(w, http.StatusOK, c.describe())
}

func (c *played) serveDelete(w http.ResponseWriter, _ *http.Request) {
	c.l.note([]string{"83"}, "", errors.New("it sent DELETE to a call"))
	refuse(w, http.StatusMethodNotAllowed, "about:blank", "calls are ended by an event")
}

func (c *played) serveUpdate(w http.ResponseWriter, r *http.Request) {
	var u struct {
		Handler string `json:"handler"`
		Session string `json:"session"`
	}
	_ = json.NewDecoder(io.LimitReader(r.Body, maxDocument)).Decode(&u)
	if u.Handler != "" && r.Header.Get("If-Match") == "" {
		c.l.note([]string{"A57"}, "", errors.New("it changes the handler of a call without If-Match"))
		refuse(w, http.StatusPreconditionRequired, "about:blank", "If-Match")
		return
	}
	if u.Session != "" {
		c.l.state.mu.Lock()
		t := c.l.state.sessions[u.Session]
		c.l.state.mu.Unlock()
		if t == nil || !c.script.allows(carrierTrunk) {
			refuse(w, http.StatusConflict, "session-unknown", "no such session")
			return
		}
		tag := t.join(c, epochOf(r))
		c.mu.Lock()
		c.tag = tag
		c.mu.Unlock()
	}
	c.serveGet(w, r)
}
