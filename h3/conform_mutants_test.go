package h3

import (
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"riptide/h3/chunk"
	"riptide/h3/conform"
)

// mutant is our server with one fault, and the requirements that it breaks.
type mutant struct {
	name   string
	breaks string // numbers: each must be judged FAIL
	wrap   mutation
	change func(*ServerConfig)
}

// mutantsAtOnce is how many are judged side by side: most of the time they wait.
const mutantsAtOnce = 4

// TestMutantsAreCaught: a fault of a server does not escape the probe. That the
// server without a fault passes is TestServerConforms.
func TestMutantsAreCaught(t *testing.T) {
	t.Parallel()
	mutants := append(mutantDocuments(), append(mutantRequests(t), mutantByways()...)...)
	mutants = append(mutants, mutantMedia()...)
	work := make(chan mutant)
	var wg sync.WaitGroup
	for range mutantsAtOnce {
		wg.Go(func() {
			for m := range work {
				t.Run(m.name, m.isCaught)
			}
		})
	}
	for _, m := range mutants {
		work <- m
	}
	close(work)
	wg.Wait()
}

// isCaught has only what the mutant breaks judged, on the carrier that every
// server has.
func (m mutant) isCaught(t *testing.T) {
	changes := []func(*ServerConfig){func(c *ServerConfig) {
		if !strings.Contains(m.breaks, "A32") {
			c.TGs[0].Media = []string{"put-get"}
		}
	}}
	if m.change != nil {
		changes = append(changes, m.change)
	}
	only := strings.Fields(m.breaks)
	report := newConformRig(t, m.wrap, changes...).judge(t, only...)
	for _, id := range only {
		x, ok := report.Result(id)
		if !ok || x.Verdict != conform.Failed {
			t.Errorf("requirement %s of a server with this fault: %q %s", id, x.Verdict, x.Why)
		}
		t.Logf("%s: %s", id, x.Why)
	}
}

// mutantDocuments go wrong in what clients read before they call.
func mutantDocuments() []mutant {
	served := 0
	var mu sync.Mutex
	return []mutant{
		{name: "the login is not found", breaks: "1", wrap: refusing("GET "+atOAuth, http.StatusNotFound)},
		{name: "the root is on plain http", breaks: "2", wrap: at("GET "+atRoot, func(http.Handler) http.HandlerFunc {
			return http.RedirectHandler("http://127.0.0.1/ript", http.StatusTemporaryRedirect).ServeHTTP
		})},
		{name: "providertgs is empty", breaks: "4 5", wrap: documents("GET "+atTGs, func(m map[string]any) { m["tgs"] = []any{} })},
		{name: "the TG is another one", breaks: "7", wrap: documents("GET "+atTG, func(m map[string]any) { m["uri"] = "https://127.0.0.1/tg" })},
		{name: "the TG has no outbound", breaks: "8", wrap: lacking("GET "+atTG, "outbound")},
		{name: "certificates without origins", breaks: "9", wrap: outbound(func(m map[string]any) { delete(m, "origins") })},
		{name: "origins are no certificate", breaks: "10", wrap: outbound(func(m map[string]any) { m["origins"] = "+120255501xx" })},
		{name: "destinations are not told", breaks: "12", wrap: outbound(func(m map[string]any) { delete(m, "destinations") })},
		{name: "destinations are no patterns", breaks: "A13", wrap: outbound(func(m map[string]any) { m["destinations"] = []string{"everybody"} })},
		{name: "failures are repeated at once", breaks: "13", wrap: documents("GET "+atTG, func(m map[string]any) { m["retry-backoff"] = 500 })},
		{name: "media time out at once", breaks: "14", wrap: documents("GET "+atTG, func(m map[string]any) { m["media-timeout"] = 200 })},
		{name: "no profile", breaks: "A62", wrap: lacking("GET "+atTG, "profile")},
		{name: "the TG is never the same", breaks: "A5", wrap: without("GET "+atTG, "If-None-Match")},
		{name: "the TG has one ETag for ever", breaks: "A5", wrap: answered("GET "+atTG, func(_ *http.Request, a *answer) {
			mu.Lock()
			defer mu.Unlock()
			served++
			a.body = rewritten(a.body, func(m map[string]any) { m["x-count"] = served })
		})},
		{name: "the TG is for every cache", breaks: "A5", wrap: header("GET "+atTG, "Cache-Control", "public, max-age=60")},
		{name: "the TG does not vary", breaks: "A5", wrap: header("GET "+atTG, "Vary", "")},
		{name: "cert is not certs", breaks: "A2", wrap: refusing("POST "+atCert, http.StatusNotFound)},
		{name: "405 in plain text", breaks: "A3", wrap: answered("DELETE "+atTG, func(_ *http.Request, a *answer) {
			a.header.Set("Content-Type", "text/plain")
			a.body = []byte("Method Not Allowed")
		})},
		{name: "no OpenAPI", breaks: "A3", wrap: refusing("GET "+pathOpenAPI, http.StatusNotFound)},
		{name: "HTTP/2 leads nowhere", breaks: "A34", wrap: header("GET "+atTG, "Alt-Svc", "")},
		{name: "chains for clients only", breaks: "A54", wrap: refusing("GET "+pathCerts+"{cert}", http.StatusUnauthorized)},
	}
}

var (
	uuidInURI = regexp.MustCompile(`([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})$`)
	anyRate   = regexp.MustCompile(`br=\d+`)
)

// mutantRequests do with a request what they must not, or answer it wrong.
func mutantRequests(t *testing.T) []mutant {
	t.Helper()
	return []mutant{
		{name: "no token is needed", breaks: "17", wrap: openDoor(func(token string) bool { return token == "" })},
		{name: "no token for a session", breaks: "A32", wrap: openDoor(func(token string) bool { return token == "" })},
		{name: "every token is good", breaks: "A63", wrap: openDoor(func(string) bool { return true })},
		{name: "early data", breaks: "A12", wrap: without("/", "Early-Data")},
		believing(t, mutant{name: "signatures are not checked", breaks: "53"}, callerClaims.fresh),
		believing(t, mutant{name: "who is called is not checked", breaks: "54"}, callerClaims.fresh),
		believing(t, mutant{name: "no PASSporT", breaks: "A52"}, func(callerClaims) bool { return true }),
		{name: "old PASSporTs", breaks: "A53", change: func(c *ServerConfig) { c.Verifier.MaxAge = 48 * time.Hour }},
		{name: "a certificate for anybody", breaks: "43", change: func(c *ServerConfig) {
			c.TGs[0].Origins.Allow = append(c.TGs[0].Origins.Allow, "+999x", "+99912345678")
		}},
		{name: "no certificates at all", breaks: "40", change: func(c *ServerConfig) { c.CA = nil }, wrap: outbound(func(m map[string]any) { m["origins"] = "x" })},
		{name: "a handler without uri", breaks: "29", wrap: lacking("POST "+atHandlers, "uri")},
		{name: "a handler without Location", breaks: "28", wrap: header("POST "+atHandlers, "Location", "")},
		{name: "names that begin with a digit", breaks: "27 30", wrap: told("POST "+atHandlers, func(m map[string]any) {
			if s, ok := m["advertisement"].(string); ok {
				m["advertisement"] = strings.ReplaceAll(s, "2PCMU", "PCMU")
			}
		})},
		{name: "a refusal that repeats what was sent", breaks: "A3", wrap: at("POST "+atHandlers, func(next http.Handler) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				var sent strings.Builder
				r.Body = io.NopCloser(io.TeeReader(r.Body, &sent))
				a := answerOf(next, w, r)
				if a.status/100 == 4 {
					a.body = rewritten(a.body, func(m map[string]any) { m["detail"] = sent.String() })
				}
				a.send(w)
			}
		})},
		{name: "handlers are changed by whoever comes last", breaks: "A57", wrap: asked("PUT "+atHandler, func(r *http.Request) { r.Header.Set("If-Match", "*") })},
		{name: "an unknown handler is not found", breaks: "48", wrap: answered("POST "+atCalls, func(_ *http.Request, a *answer) {
			if a.status == http.StatusInternalServerError {
				a.refuse(http.StatusNotFound)
			}
		})},
		{name: "tel URIs", breaks: "49 52", wrap: told("POST "+atCalls, func(m map[string]any) {
			if s, ok := m["destination"].(string); ok {
				m["destination"] = strings.TrimPrefix(s, "tel:")
			}
		})},
		{name: "destinations are not kept", breaks: "50", change: func(c *ServerConfig) {
			c.TGs[0].Destinations.Allow = append(c.TGs[0].Destinations.Allow, "+99912345678")
		}, wrap: outbound(func(m map[string]any) { m["destinations"] = []string{"+120255501xx"} })},
		{name: "nobody there is 503", breaks: "65", wrap: answered("POST "+atCalls, func(_ *http.Request, a *answer) {
			if a.status == http.StatusNotFound {
				a.refuse(http.StatusServiceUnavailable)
			}
		})},
		{name: "a call without Location", breaks: "55", wrap: header("POST "+atCalls, "Location", "")},
		{name: "a call without UUID", breaks: "56", wrap: answered("POST "+atCalls, func(_ *http.Request, a *answer) {
			short := func(s string) string { return uuidInURI.ReplaceAllString(s, "$1$2") }
			a.header.Set("Location", short(a.header.Get("Location")))
			a.body = rewritten(a.body, func(m map[string]any) { m["uri"] = a.header.Get("Location") })
		})},
		{name: "no server directive", breaks: "63 64", wrap: lacking("POST "+atCalls, "serverDirectives")},
		{name: "a codec that nobody offers", breaks: "58", wrap: documents("POST "+atCalls, func(m map[string]any) {
			m["clientDirectives"] = "1 to 1: G729;"
		})},
		{name: "more than the maximum", breaks: "32 60", wrap: documents("POST "+atCalls, func(m map[string]any) {
			for _, name := range []string{"clientDirectives", "serverDirectives"} {
				if s, ok := m[name].(string); ok {
					m[name] = anyRate.ReplaceAllString(s, "br=9900000")
				}
			}
		})},
		{name: "every POST is another call", breaks: "A11", wrap: asked("POST "+atCalls, func(r *http.Request) {
			if r.Header.Get(headerIdempotencyKey) != "" {
				r.Header.Set(headerIdempotencyKey, time.Now().Format(time.RFC3339Nano))
			}
		})},
		{name: "another call with the same key", breaks: "A11", wrap: at("POST "+atCalls, func(next http.Handler) http.HandlerFunc {
			var mu sync.Mutex
			first := map[string]*answer{}
			return func(w http.ResponseWriter, r *http.Request) {
				key := r.Header.Get(headerIdempotencyKey)
				mu.Lock()
				defer mu.Unlock()
				a := first[key]
				if a == nil {
					a = answerOf(next, w, r)
				}
				if key != "" && a.status == http.StatusCreated {
					first[key] = a
				}
				a.send(w)
			}
		})},
		{name: "calls without a key", breaks: "A11", wrap: asked("POST "+atCalls, func(r *http.Request) {
			if r.Header.Get(headerIdempotencyKey) == "" {
				r.Header.Set(headerIdempotencyKey, "none")
			}
		})},
		{name: "calls that go round for ever", breaks: "A56", wrap: told("POST "+atCalls, func(m map[string]any) { delete(m, "hops") })},
		{name: "calls can be deleted", breaks: "83", wrap: at("DELETE "+atCall, func(http.Handler) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }
		})},
		{name: "a call that is over is forgotten", breaks: "A9", wrap: answered("GET "+atCall, func(_ *http.Request, a *answer) {
			if strings.Contains(string(a.body), `"state":"ended"`) {
				a.refuse(http.StatusNotFound)
			}
		})},
		{name: "a call without handler", breaks: "86", wrap: lacking("GET "+atCall, "handler")},
		{name: "the customer's token is shown", breaks: "19 A16", wrap: tellTale},
		{name: "customers on plain http", breaks: "23", wrap: told("POST "+atCustomers, func(m map[string]any) {
			if s, ok := m["uri"].(string); ok {
				m["uri"] = strings.Replace(s, "http://", "https://", 1)
			}
		})},
		{name: "customers with origins", breaks: "25", wrap: told("POST "+atCustomers, func(m map[string]any) {
			if out, ok := m["outbound"].(map[string]any); ok {
				delete(out, "origins")
			}
		})},
	}
}

// brittle is a body that breaks when it holds a word.
type brittle struct {
	io.ReadCloser
	word string
}

func (b *brittle) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if strings.Contains(string(p[:n]), b.word) {
		return 0, errors.New("a word that nobody knows")
	}
	return n, err
}

// mutantByways have faults in their event streams.
func mutantByways() []mutant {
	return []mutant{
		{name: "events wait for each other", breaks: "71 A37", wrap: at("GET "+atEvents, func(next http.Handler) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(2 * time.Second)
				next.ServeHTTP(w, r)
			}
		})},
		{name: "no proceeding first", breaks: "72 73", wrap: eventsHave(func(m map[string]any) {
			if m["type"] == "proceeding" {
				m["type"] = "welcome"
			}
		})},
		{name: "the stream is not closed", breaks: "69", wrap: streamed(func() func([]byte) []byte {
			return func(b []byte) []byte {
				if string(b) == "]\n" {
					return []byte("\n")
				}
				return b
			}
		})},
		{name: "all events have one number", breaks: "A18", wrap: eventsHave(func(m map[string]any) { m["seq"] = 1 })},
		{name: "events of another call", breaks: "78", wrap: eventsHave(func(m map[string]any) { m["call"] = "https://127.0.0.1/calls/1" })},
		{name: "no pong", breaks: "84 85", wrap: noEvent("pong")},
		{name: "a pong without nonce", breaks: "85", wrap: eventsHave(func(m map[string]any) { delete(m, "nonce") })},
		{name: "no end", breaks: "82", wrap: noEvent("end")},
		{name: "no reason", breaks: "A48", wrap: eventsHave(func(m map[string]any) { delete(m, "reason") })},
		{name: "early media are not announced", breaks: "A49", wrap: eventsHave(func(m map[string]any) { delete(m, "media") })},
		{name: "a transfer without an answer", breaks: "A51", wrap: noEvent("transfer-refused")},
		{name: "unknown events end the byway", breaks: "A17", wrap: asked("PUT "+atEvents, func(r *http.Request) {
			r.Body = &brittle{r.Body, "x-conform"}
		})},
		{name: "single events are lost", breaks: "A35", wrap: at("PUT "+atEvents, func(next http.Handler) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if r.ContentLength < 0 {
					next.ServeHTTP(w, r)
					return
				}
				w.WriteHeader(http.StatusNoContent)
			}
		})},
		{name: "byways of the dead", breaks: "111", wrap: answered("PUT "+atMedia, func(_ *http.Request, a *answer) {
			if a.status == http.StatusNotFound {
				a.status, a.body = http.StatusNoContent, nil
			}
		})},
		{name: "one byway only", breaks: "74 87", wrap: at("GET "+atEvents, func(next http.Handler) http.HandlerFunc {
			var mu sync.Mutex
			seen := map[string]bool{}
			return func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				again := seen[r.URL.Path]
				seen[r.URL.Path] = true
				mu.Unlock()
				if again {
					noEvent("pong")(next).ServeHTTP(w, r)
					return
				}
				next.ServeHTTP(w, r)
			}
		})},
		{name: "events may be stored", breaks: "A36", wrap: at("GET "+atEvents, func(next http.Handler) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				next.ServeHTTP(&earlyHeader{w, func(h http.Header) { h.Del("Cache-Control") }}, r)
			}
		})},
		{name: "events may be held back", breaks: "A36", wrap: at("GET "+atEvents, func(next http.Handler) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				next.ServeHTTP(&earlyHeader{w, func(h http.Header) { h.Del(headerIncremental) }}, r)
			}
		})},
	}
}

// earlyHeader changes the header of a response that is a stream.
type earlyHeader struct {
	http.ResponseWriter
	change func(http.Header)
}

func (h *earlyHeader) Unwrap() http.ResponseWriter { return h.ResponseWriter }

func (h *earlyHeader) WriteHeader(status int) {
	h.change(h.Header())
	h.ResponseWriter.WriteHeader(status)
}

// mutantMedia say or hear something else than they should.
func mutantMedia() []mutant {
	return []mutant{
		{name: "a sink that nobody has", breaks: "61", wrap: speech(func(c *chunk.Chunk) { c.Sink = 9 })},
		{name: "truncated from the start", breaks: "89 91", wrap: speech(func(c *chunk.Chunk) {
			c.Seq, c.Timestamp = chunk.Truncated(c.Seq.Value&0xffff, 2), chunk.Truncated(c.Timestamp.Value&0xffffffff, 4)
		})},
		{name: "a media clock that runs away", breaks: "A24", wrap: speech(func(c *chunk.Chunk) { c.Clock.Value = c.Clock.Value * 7 & (1<<48 - 1) })},
		{name: "what is sent is thrown away", breaks: "94 103", wrap: at("PUT "+atMedia, func(http.Handler) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.WriteHeader(http.StatusNoContent)
			}
		})},
		{name: "nothing in a GET", breaks: "100 102", wrap: at("GET "+atMedia, func(next http.Handler) http.HandlerFunc {
			var mu sync.Mutex
			n := 0
			return func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				n++
				empty := n%10 == 0
				mu.Unlock()
				if empty {
					w.Header().Set("Content-Type", "application/octet-stream")
					return
				}
				next.ServeHTTP(w, r)
			}
		})},
		{name: "the oldest GET first", breaks: "101", wrap: at("GET "+atMedia, func(next http.Handler) http.HandlerFunc {
			var queue sync.Mutex // its waiters are served in turn
			return func(w http.ResponseWriter, r *http.Request) {
				queue.Lock()
				defer queue.Unlock()
				next.ServeHTTP(w, r)
			}
		})},
		{name: "twenty GETs and no more", breaks: "81 A38", wrap: at("GET "+atMedia, func(next http.Handler) http.HandlerFunc {
			room := make(chan struct{}, 20)
			return func(w http.ResponseWriter, r *http.Request) {
				select {
				case room <- struct{}{}:
					defer func() { <-room }()
					next.ServeHTTP(w, r)
				default:
					w.WriteHeader(http.StatusTooManyRequests)
				}
			}
		})},
		{name: "all epochs are one", breaks: "A40", wrap: without("/", "Ript-Epoch")},
	}
}
