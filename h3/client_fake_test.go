package h3

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"sync"
	"testing"
	"time"

	"riptide/bridge"
	"riptide/h3/advert"
	"riptide/h3/media"
	"riptide/policy"
	"riptide/policy/stir"
)

// fakePeer is a RIPT server made for tests: it does as it is told, right or
// wrong, and remembers what it was asked.
type fakePeer struct {
	*testH3
	t   testing.TB
	ca  *stir.CA
	key ClientKey // of the client

	// Hooks; nil means the ordinary behaviour. Set before the client runs.
	onRequest func(r *http.Request) // any that needs a token
	onPost    func(w http.ResponseWriter, r *http.Request, req CallRequest) (handled bool)
	onCall    func(c *fakeCall) // runs while the call's POST is handled
	onPut     func(w http.ResponseWriter, r *http.Request, c *fakeCall) (handled bool)
	onGet     func(w http.ResponseWriter, r *http.Request, c *fakeCall) (handled bool)
	later     int // how often a certificate is promised before it is there
	tg        TG  // template of the TG document

	mu       sync.Mutex
	tokens   map[string]string // token -> resource
	issued   int
	handlers map[string]Handler
	replays  map[string]*fakeCall // by idempotency key
	calls    map[string]*fakeCall
	posts    int
	certs    map[string][]byte
	docs     int // full TG documents sent
	media    *media.Server
}

// fakeCall is one call at the fake peer.
type fakeCall struct {
	peer *fakePeer
	id   string
	req  CallRequest

	mu      sync.Mutex
	history []Event // what the peer says, in order
	changed chan struct{}
	closed  bool
	gone    bool
	anyNode bool // cookies do not matter
	seq     uint64
	got     []Event // what the client said
	heard   chan Event
	puts    int
	gets    int
	port    *media.Port
}

func newFakePeer(t testing.TB) *fakePeer { return newFakePeerWith(t, 10_000) }

// newFakePeerWith makes one whose connections take so many streams.
func newFakePeerWith(t testing.TB, streams int64) *fakePeer {
	p := &fakePeer{
		t: t, media: media.NewServer(nil), tokens: map[string]string{}, handlers: map[string]Handler{}, replays: map[string]*fakeCall{},
		calls: map[string]*fakeCall{}, certs: map[string][]byte{},
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if p.key, err = NewClientKey(key, ""); err != nil {
		t.Fatal(err)
	}
	p.ca = testSTIRCA(t)
	p.testH3 = serveH3(t, streams, p.tree())
	t.Cleanup(p.closePorts)
	return p
}

func testSTIRCA(t testing.TB) *stir.CA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test STIR CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := stir.NewCA(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func (p *fakePeer) base() string  { return "https://" + p.Addr }
func (p *fakePeer) tgURI() string { return p.base() + "/tg/1" }

func (p *fakePeer) tree() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/ript", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/ript", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("GET /.well-known/ript-oauth", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, wellKnownAS, http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("GET "+wellKnownAS, func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, authServer{Issuer: p.base(), TokenEndpoint: p.base() + "/token"})
	})
	mux.HandleFunc("POST /token", p.token)
	mux.HandleFunc("GET /ript/v1/providertgs", p.authorised("/ript", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, TGList{TGs: []TGEntry{{URI: p.tgURI(), Name: "main"}, {URI: p.base() + "/tg/2", Name: "other"}}})
	}))
	mux.HandleFunc("GET /tg/1", p.authorised("/tg/1", p.document))
	mux.HandleFunc("POST /tg/1/handlers", p.authorised("/tg/1", p.register))
	mux.HandleFunc("POST /tg/1/certs", p.authorised("/tg/1", p.enrol))
	mux.HandleFunc("GET /tg/1/orders/{name}", p.authorised("/tg/1", p.order))
	mux.HandleFunc("GET /certs/{name}", p.certificate)
	mux.HandleFunc("POST /tg/1/calls", p.authorised("/tg/1", p.post))
	mux.HandleFunc("GET /tg/1/calls/{id}", p.authorised("/tg/1", p.withCall(func(w http.ResponseWriter, r *http.Request, c *fakeCall) {
		if _, err := r.Cookie("node"); err != nil {
			http.SetCookie(w, &http.Cookie{Name: "node", Value: "another", Path: "/", Secure: true})
		}
		writeJSON(w, http.StatusOK, CallDescription{URI: c.uri()})
	})))
	mux.HandleFunc("GET /tg/1/calls/{id}/events", p.authorised("/tg/1", p.withCall(p.getEvents)))
	mux.HandleFunc("PUT /tg/1/calls/{id}/events", p.authorised("/tg/1", p.withCall(p.putEvents)))
	mux.HandleFunc("/tg/1/calls/{id}/media", p.authorised("/tg/1", p.withCall(func(w http.ResponseWriter, r *http.Request, c *fakeCall) {
		p.media.Serve(w, r, c.port)
	})))
	return mux
}

func (p *fakePeer) closePorts() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.calls {
		c.port.Close()
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (p *fakePeer) refuse(w http.ResponseWriter, c bridge.Cause) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(c.HTTPStatus())
	_ = json.NewEncoder(w).Encode(problemOf(c))
}

func (p *fakePeer) document(w http.ResponseWriter, r *http.Request) {
	doc := p.tg
	doc.URI, doc.Profile = p.tgURI(), Profile
	w.Header().Set("ETag", `"1"`)
	w.Header().Set("Cache-Control", "private, max-age=300")
	if r.Header.Get("If-None-Match") == `"1"` {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	p.mu.Lock()
	p.docs++
	p.mu.Unlock()
	writeJSON(w, http.StatusOK, doc)
}

func (p *fakePeer) register(w http.ResponseWriter, r *http.Request) {
	var h Handler
	err := json.NewDecoder(r.Body).Decode(&h)
	if _, parseErr := advert.ParseAdvert(h.Advertisement); err != nil || parseErr != nil {
		p.refuse(w, bridge.CauseBadRequest)
		return
	}
	p.mu.Lock()
	h.URI = fmt.Sprintf("%s/handlers/%d", p.tgURI(), len(p.handlers))
	p.handlers[h.URI] = h
	p.mu.Unlock()
	w.Header().Set("Location", h.URI)
	writeJSON(w, http.StatusCreated, h)
}

// Forget drops all handlers, as a server does that lost its memory.
func (p *fakePeer) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for uri, h := range p.handlers {
		h.Advertisement = ""
		p.handlers[uri] = h
	}
}

func (p *fakePeer) enrol(w http.ResponseWriter, r *http.Request) {
	csr, _ := io.ReadAll(r.Body)
	chain, err := p.ca.Issue(csr, policy.NumberSet{Allow: []policy.Pattern{"+1202555xxxx"}}, 12*time.Hour, time.Now())
	if err != nil {
		p.refuse(w, bridge.CauseCaller.With("%v", err))
		return
	}
	name := stir.Thumbprint(chain[0]) + ".pem"
	p.mu.Lock()
	p.certs[name] = stir.EncodeChain(chain)
	p.mu.Unlock()
	p.deliver(w, name)
}

// deliver sends a chain, or promises it.
func (p *fakePeer) deliver(w http.ResponseWriter, name string) {
	p.mu.Lock()
	chain, later := p.certs[name], p.later > 0
	if later {
		p.later--
	}
	p.mu.Unlock()
	if later {
		w.Header().Set("Location", "/tg/1/orders/"+name)
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusAccepted)
		return
	}
	w.Header().Set("Link", "<"+p.base()+"/certs/"+name+`>; rel="x5u"`)
	w.Header().Set("Content-Type", "application/pem-certificate-chain")
	_, _ = w.Write(chain)
}

func (p *fakePeer) order(w http.ResponseWriter, r *http.Request) { p.deliver(w, r.PathValue("name")) }

func (p *fakePeer) certificate(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	pem := p.certs[r.PathValue("name")]
	p.mu.Unlock()
	if pem == nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=3600")
	_, _ = w.Write(pem)
}

func (p *fakePeer) post(w http.ResponseWriter, r *http.Request) {
	var req CallRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		p.refuse(w, bridge.CauseBadRequest)
		return
	}
	p.mu.Lock()
	p.posts++
	p.mu.Unlock()
	if p.onPost != nil && p.onPost(w, r, req) {
		return
	}
	c, err := p.create(r.Header.Get("Idempotency-Key"), req)
	if err != nil {
		p.refuse(w, bridge.CauseOf(err))
		return
	}
	p.describe(w, c)
}

// create makes the call, or finds the one of the same key.
func (p *fakePeer) create(key string, req CallRequest) (*fakeCall, error) {
	p.mu.Lock()
	if c := p.replays[key]; c != nil {
		p.mu.Unlock()
		return c, nil
	}
	if p.handlers[req.Handler].Advertisement == "" {
		p.mu.Unlock()
		return nil, bridge.Cause{Code: "handler-not-registered"}
	}
	c := &fakeCall{peer: p, id: fmt.Sprint(len(p.calls)), req: req, changed: make(chan struct{}), heard: make(chan Event, 1024), port: media.NewPort(media.Config{Server: true})}
	p.calls[c.id], p.replays[key] = c, c
	p.mu.Unlock()
	c.Say(Event{Type: eventProceeding})
	if p.onCall != nil {
		p.onCall(c)
	}
	return c, nil
}

func (p *fakePeer) describe(w http.ResponseWriter, c *fakeCall) {
	p.mu.Lock()
	client, _ := advert.ParseAdvert(p.handlers[c.req.Handler].Advertisement)
	p.mu.Unlock()
	toServer, toClient, err := advert.Negotiate(client, client)
	if err != nil {
		p.refuse(w, bridge.CauseMediaIncompatible)
		return
	}
	w.Header().Set("Location", c.uri())
	http.SetCookie(w, &http.Cookie{Name: "node", Value: "n" + c.id, Path: "/", Secure: true})
	writeJSON(w, http.StatusCreated, CallDescription{
		URI: c.uri(), Handler: c.req.Handler, Direction: "outbound", To: c.req.Destination, State: eventProceeding,
		ClientDirectives: toServer.String(), ServerDirectives: toClient.String(), Created: time.Now(),
	})
}

func (p *fakePeer) Calls() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.calls)
}

func (p *fakePeer) Call(id string) *fakeCall {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls[id]
}

func (p *fakePeer) withCall(next func(http.ResponseWriter, *http.Request, *fakeCall)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := p.Call(r.PathValue("id"))
		if c == nil || c.Gone() {
			http.NotFound(w, r)
			return
		}
		c.mu.Lock()
		anyNode := c.anyNode
		c.mu.Unlock()
		if cookie, err := r.Cookie("node"); !anyNode && (err != nil || cookie.Value != "n"+c.id) {
			http.Error(w, "wrong node", http.StatusMisdirectedRequest)
			return
		}
		next(w, r, c)
	}
}

func (c *fakeCall) uri() string { return c.peer.tgURI() + "/calls/" + c.id }

func (p *fakePeer) getEvents(w http.ResponseWriter, r *http.Request, c *fakeCall) {
	if p.onGet != nil && p.onGet(w, r, c) {
		return
	}
	c.mu.Lock()
	c.gets++
	c.mu.Unlock()
	flush := http.NewResponseController(w).Flush
	out := newBywayWriter(w, flush)
	if out.Open() != nil {
		return
	}
	for next := 0; ; {
		c.mu.Lock()
		todo, changed, closed := c.history[next:], c.changed, c.closed
		c.mu.Unlock()
		for _, ev := range todo {
			if out.Send(ev) != nil {
				return
			}
		}
		next += len(todo)
		if closed {
			_ = out.Close()
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func (p *fakePeer) putEvents(w http.ResponseWriter, r *http.Request, c *fakeCall) {
	if p.onPut != nil && p.onPut(w, r, c) {
		return
	}
	c.mu.Lock()
	c.puts++
	c.mu.Unlock()
	_ = http.NewResponseController(w).Flush()
	in := newBywayReader(r.Body)
	for {
		ev, err := in.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		c.mu.Lock()
		c.got = append(c.got, ev)
		c.mu.Unlock()
		c.heard <- ev
		switch ev.Type {
		case eventPing:
			c.Say(Event{Type: eventPong, Nonce: ev.Nonce})
		case eventEnd:
			c.Close()
		}
	}
}

// Await waits until the client has said something.
func (c *fakeCall) Await(t testing.TB, kind string) Event {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case ev := <-c.heard:
			if ev.Type == kind {
				return ev
			}
		case <-timeout:
			t.Fatalf("call %s: the client never sent %q", c.id, kind)
		}
	}
}
