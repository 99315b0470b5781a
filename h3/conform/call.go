package conform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// advertisement is what our handler offers: all that is mandatory.
const advertisement = "1 in: PCMU; PCMA; opus; telephone-event; CN;\n1 out: PCMU; PCMA; opus; telephone-event; CN;"

// handler is a handler as it was registered.
type handler struct {
	reply
	uri string
}

func (p *Probe) register(ctx context.Context, body map[string]any) (*handler, error) {
	r, err := p.asTG(ctx, request{method: http.MethodPost, url: "/handlers", kind: "application/json", body: asJSON(body)})
	if err != nil {
		return nil, err
	}
	return &handler{reply: r, uri: r.header.Get("Location")}, nil
}

// registerAdvert registers a handler that is as it should be.
func (p *Probe) registerAdvert(ctx context.Context, name, adv string) (*handler, error) {
	h, err := p.register(ctx, map[string]any{"handler-id": "conform-" + name, "advertisement": adv})
	if err != nil {
		return nil, err
	}
	if err := h.is(http.StatusCreated); err != nil {
		return nil, fmt.Errorf("POST handlers: %w", err)
	}
	if h.uri == "" {
		var d struct {
			URI string `json:"uri"`
		}
		if json.Unmarshal(h.body, &d) == nil {
			h.uri = d.URI // go on as well as can be: the missing Location is judged elsewhere
		}
	}
	return h, nil
}

func (p *Probe) handler(ctx context.Context) (*handler, error) {
	return p.main.get(func() (*handler, error) { return p.registerAdvert(ctx, "main", advertisement) })
}

// dialled says how a call is placed. Empty fields are as they should be.
type dialled struct {
	to, from string
	handler  string
	passport string
	key      string         // Idempotency-Key
	more     map[string]any // members; a nil value removes one
	header   map[string]string
	over     http.RoundTripper
}

// description is the document of a call.
type description struct {
	URI              string  `json:"uri"`
	Handler          string  `json:"handler"`
	Direction        string  `json:"direction"`
	From             string  `json:"from"`
	To               string  `json:"to"`
	State            string  `json:"state"`
	ClientDirectives string  `json:"clientDirectives"`
	ServerDirectives string  `json:"serverDirectives"`
	Created          string  `json:"created"`
	EndedAt          string  `json:"endedAt"`
	EndedBy          string  `json:"endedBy"`
	CallTag          uint64  `json:"callTag"`
	ETag             string  `json:"etag"`
	Reason           *reason `json:"reason"`
}

// post places a call as it is told to, and returns the answer whatever it is.
func (p *Probe) post(ctx context.Context, d dialled) (reply, error) {
	body, err := p.callBody(ctx, &d)
	if err != nil {
		return reply{}, err
	}
	return p.postBody(ctx, d, asJSON(body))
}

func (p *Probe) postBody(ctx context.Context, d dialled, body []byte) (reply, error) {
	h := map[string]string{"Idempotency-Key": d.key}
	if d.key == "" {
		h["Idempotency-Key"] = uuid.NewString()
	}
	for k, v := range d.header {
		h[k] = v
	}
	r, err := p.asTG(ctx, request{method: http.MethodPost, url: "/calls", kind: "application/json", body: body, header: h, over: d.over})
	if err == nil && r.status == http.StatusCreated {
		p.remember(ctx, r)
	}
	return r, err
}

// callBody makes the members of a call.
func (p *Probe) callBody(ctx context.Context, d *dialled) (map[string]any, error) {
	var err error
	if d.from == "" {
		if d.from, err = p.from(ctx); err != nil {
			return nil, err
		}
	}
	if d.to == "" {
		if d.to, err = p.to(ctx); err != nil {
			return nil, err
		}
	}
	if d.handler == "" {
		h, err := p.handler(ctx)
		if err != nil {
			return nil, err
		}
		d.handler = h.uri
	}
	if d.passport == "" {
		s, err := p.identity(ctx)
		if err != nil {
			return nil, err
		}
		if d.passport, err = s.sign(passport{from: d.from, to: d.to}); err != nil {
			return nil, err
		}
	}
	body := map[string]any{"handler": d.handler, "destination": d.to, "passport": d.passport}
	for k, v := range d.more {
		if body[k] = v; v == nil {
			delete(body, k)
		}
	}
	return body, nil
}

// call is a call of ours, with its byways.
type call struct {
	p      *Probe
	uri    string
	token  string
	reply  reply
	desc   description
	placed time.Time

	in      *recording
	header  http.Header // of the response to GET events
	proto   string
	status  int
	waited  time.Duration // for these headers
	bracket time.Duration // for the opening bracket
	out     *writer
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	closers []func() // of media; called in reverse
}

// onClose has something done when the call is closed.
func (c *call) onClose(f func()) { c.closers = append(c.closers, f) }

// remember keeps a call so that it does not outlive the probe.
func (p *Probe) remember(ctx context.Context, r reply) *call {
	c := &call{p: p, reply: r, uri: r.header.Get("Location"), placed: time.Now()}
	_ = json.Unmarshal(r.body, &c.desc) // what is missing is judged elsewhere
	if c.uri == "" {
		c.uri = c.desc.URI
	}
	if d, err := p.tg(ctx); err == nil {
		c.token, _ = p.token(ctx, d.uri) // it was got before
	}
	p.mu.Lock()
	p.calls = append(p.calls, c)
	p.mu.Unlock()
	return c
}

// last is the call that was made by this very response.
func (p *Probe) last(r reply) *call {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.calls {
		if c.uri != "" && (c.uri == r.header.Get("Location") || string(c.reply.body) == string(r.body)) {
			return c
		}
	}
	return nil
}

// place makes a call without byways.
func (p *Probe) place(ctx context.Context, d dialled) (*call, error) {
	r, err := p.post(ctx, d)
	if err != nil {
		return nil, err
	}
	if err := r.is(http.StatusCreated); err != nil {
		return nil, fmt.Errorf("POST calls to %s: %w", d.to, err)
	}
	c := p.last(r)
	if c == nil || c.uri == "" {
		return nil, errors.New("POST calls: the 201 does not say where the call is")
	}
	return c, nil
}

// dial makes a call and opens its byways.
func (p *Probe) dial(ctx context.Context, d dialled) (*call, error) {
	c, err := p.place(ctx, d)
	if err != nil {
		return nil, err
	}
	return c, c.attach(ctx)
}

// attach opens GET and PUT events.
func (c *call) attach(ctx context.Context) error {
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.cancel = cancel
	began := time.Now()
	rec, rep, err := c.openGet(life, nil)
	if err != nil {
		cancel()
		return err
	}
	c.in, c.header, c.status, c.proto, c.waited = rec, rep.header, rep.status, rep.proto, time.Since(began)
	c.out = c.openPut(life, nil)
	if !c.in.await(c.p.opt.Timeout, func() bool { opened, _, _, _ := rec.state(); return opened }) {
		return fmt.Errorf("GET events: no opening bracket within %v", c.p.opt.Timeout)
	}
	c.bracket = time.Since(began)
	return nil
}

var incremental = map[string]string{"Incremental": "?1", "Accept": "application/json"}

// openGet opens one reverse byway and records it.
func (c *call) openGet(ctx context.Context, over http.RoundTripper) (*recording, reply, error) {
	// The headers must come at once; the body lasts as long as the call.
	ctx, cancel := context.WithCancel(ctx)
	limit := time.AfterFunc(c.p.opt.Timeout, cancel)
	resp, err := c.p.open(ctx, request{method: http.MethodGet, url: c.uri + "/events", token: c.token, header: incremental, over: over}, nil)
	if !limit.Stop() && err != nil {
		cancel()
		return nil, reply{}, fmt.Errorf("GET events: no response headers within %v", c.p.opt.Timeout)
	}
	if err != nil {
		cancel()
		return nil, reply{}, err
	}
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, maxDocument))
		_ = resp.Body.Close()
		cancel()
		return nil, reply{}, fmt.Errorf("GET events: %w", reply{resp.StatusCode, resp.Header, b, resp.Proto}.is(http.StatusOK))
	}
	rec := newRecording()
	rec.stop = cancel
	c.wg.Go(func() {
		defer cancel()
		defer func() { _ = resp.Body.Close() }()
		rec.read(resp.Body)
	})
	return rec, reply{status: resp.StatusCode, header: resp.Header, proto: resp.Proto}, nil
}

// writer is one forward byway.
type writer struct {
	c    *call
	pipe *io.PipeWriter
	mu   sync.Mutex
	any  bool

	done   chan struct{} // the response is over
	status int
	err    error
}

// openPut opens one forward byway, bracket and all.
func (c *call) openPut(ctx context.Context, over http.RoundTripper) *writer {
	r, w := io.Pipe()
	out := &writer{c: c, pipe: w, done: make(chan struct{})}
	c.wg.Go(func() {
		defer close(out.done)
		defer func() { _ = r.CloseWithError(errors.New("the PUT is over")) }()
		resp, err := c.p.open(ctx, request{
			method: http.MethodPut, url: c.uri + "/events", token: c.token, kind: "application/json", header: incremental, over: over,
		}, r)
		if err != nil {
			out.err = err
			return
		}
		out.status = resp.StatusCode
		_, out.err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	})
	_ = out.raw("[\n")
	return out
}

func (w *writer) raw(s string) error {
	_, err := io.WriteString(w.pipe, s)
	return err
}

// send writes an event; members of more win.
func (w *writer) send(seq uint64, kind string, more map[string]any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	sep := ""
	if w.any {
		sep = ",\n"
	}
	w.any = true
	return w.raw(sep + string(asJSON(w.c.event(seq, kind, more))))
}

// event makes an event of ours.
func (c *call) event(seq uint64, kind string, more map[string]any) map[string]any {
	ev := map[string]any{
		"type": kind, "direction": "c2s", "timestamp": time.Now().UTC().Format(time.RFC3339Nano), "call": c.uri, "seq": seq,
	}
	for k, v := range more {
		if ev[k] = v; v == nil {
			delete(ev, k)
		}
	}
	return ev
}

// await waits for an event on the call's first byway.
func (c *call) await(limit time.Duration, kinds ...string) (event, error) {
	ev, ok := c.in.find(limit, typed(kinds...))
	if ok {
		return ev, nil
	}
	var said []string
	for _, e := range c.in.all() {
		said = append(said, e.Type)
	}
	return ev, fmt.Errorf("no event %s within %v (there were: %s)", strings.Join(kinds, " or "), limit, strings.Join(said, " "))
}

// answered waits until the call is.
func (c *call) answered() error {
	ev, err := c.await(answerLimit, "answered", "end", "declined", "failed", "noanswer")
	if err == nil && ev.Type != "answered" {
		err = fmt.Errorf("the call to %s was not answered: %s", c.desc.To, ev.Type)
	}
	return err
}

// answerLimit is what the far side may take to answer, decline, or be busy.
const answerLimit = 20 * time.Second

// putEvents sends a complete array.
func (c *call) putEvents(ctx context.Context, over http.RoundTripper, body string) (reply, error) {
	return c.p.do(ctx, request{method: http.MethodPut, url: c.uri + "/events", token: c.token, kind: "application/json", body: []byte(body), over: over})
}

// end hangs up.
func (c *call) end(ctx context.Context) (reply, error) {
	return c.putEvents(ctx, nil, string(asJSON([]any{c.event(1<<40, "end", map[string]any{"reason": map[string]any{"code": "normal"}})})))
}

// close hangs up, whatever there is, and lets go of the byways.
func (c *call) close(ctx context.Context) {
	if c.uri != "" {
		_, _ = c.end(ctx) // it may have ended long ago
	}
	if c.out != nil {
		_ = c.out.pipe.CloseWithError(errors.New("the call is over"))
	}
	for _, f := range slices.Backward(c.closers) {
		f()
	}
	if c.cancel != nil {
		c.cancel()
	}
	c.wg.Wait()
}

// get reads the call's document.
func (c *call) get(ctx context.Context) (reply, description, error) {
	var d description
	r, err := c.p.do(ctx, request{method: http.MethodGet, url: c.uri, token: c.token})
	if err == nil {
		err = r.is(http.StatusOK)
	}
	if err == nil {
		err = r.decode(&d)
	}
	return r, d, err
}
