package h3

import (
	"bytes"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"riptide/h3/chunk"
	"riptide/h3/conform"
)

// brokenClient is our client with one fault: a layer between it and the judge changes
// what it sends, or keeps from it what it should obey.
type brokenClient struct {
	name  string
	id    string // the requirement that the judge must find broken
	spoil func(w http.ResponseWriter, r *http.Request, next http.Handler)
}

// brokenAtOnce bounds how many mutants run side by side.
var brokenAtOnce = make(chan struct{}, 3)

// TestBrokenClientsAreCaught: each fault is found, under the number of the
// requirement it breaks. TestClientConforms is the same client without faults.
func TestBrokenClientsAreCaught(t *testing.T) {
	t.Parallel()
	for _, m := range brokenClients {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			brokenAtOnce <- struct{}{}
			defer func() { <-brokenAtOnce }()
			report := judgeClient(t, conform.ListenOptions{Only: []string{m.id}, Wrap: func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.spoil(w, r, next) })
			}})
			if x, ok := report.Result(m.id); !ok || x.Verdict != conform.Failed {
				t.Errorf("requirement %s: %s (%s): %s; want it found broken", m.id, x.Verdict, x.Did, x.Why)
			} else {
				t.Logf("caught by %s: %s", m.id, x.Why)
			}
		})
	}
}

var brokenClients = []brokenClient{
	{"calls without Idempotency-Key", "A11", onCalls(func(r *http.Request) { r.Header.Del("Idempotency-Key") })},
	{"calls in early data", "A12", onCalls(func(r *http.Request) { r.Header.Set("Early-Data", "1") })},
	{"a handler of somewhere else", "47", onCalls(replaceBody(`"handler":"https://[^"]*"`, `"handler":"https://elsewhere.example/h/1"`))},
	{"a number without its plus", "49", onCalls(replaceBody(`"destination":"\+`, `"destination":"`))},
	{"no PASSporT", "46", onCalls(replaceBody(`"passport":"[^"]*"`, `"passport":""`))},
	{"a forged PASSporT", "53", onCalls(replaceBody(`"passport":"([^".]*)\.([^".]*)\.....`, `"passport":"$1.$2.AAAA`))},
	{"hops below one", "A56", onCalls(replaceBody(`"hops":\d+`, `"hops":0`))},
	{"a handler without comfort noise", "37", onHandlers(`CN;`, ``)},
	{"a handler that spells out a default", "33", onHandlers(`PCMU;`, `PCMU,ch=1;`)},
	{"a handler off the grammar", "30", onHandlers(`PCMU;`, `8PCMU;`)},
	{"GET events with a body", "68", onEvents(http.MethodGet, func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("x")) })},
	{"PUT events that may be buffered", "A36", onEvents(http.MethodPut, func(r *http.Request) { r.Header.Del("Incremental") })},
	{"events without the bracket", "69", onEvents(http.MethodPut, inStream(`\[`, ` `))},
	{"events of the wrong direction", "76", onEvents(http.MethodPut, inStream(`"c2s"`, `"s2c"`))},
	{"timestamps of a zone", "77", onEvents(http.MethodPut, inStream(`("timestamp":"[^"]*)Z"`, `$1+01:00"`))},
	{"events of no call", "78", onEvents(http.MethodPut, inStream(`"call":"[^"]*"`, `"call":"here"`))},
	{"the same seq for every event", "A18", onEvents(http.MethodPut, inStream(`"seq":\d+`, `"seq":7`))},
	{"pongs without their nonce", "85", onEvents(http.MethodPut, inStream(`"nonce":"[^"]*"`, `"nonce":""`))},
	{"a cookie after the migration", "117", onMoved(func(r *http.Request) { r.Header.Set("Cookie", "ript_node=old") })},
	{"a call that is deleted", "83", before(http.MethodGet, "/events", http.MethodDelete, "")},
	{"media before signalling, after the migration", "118", before(http.MethodGet, "-moved/events", http.MethodPut, "/media")},
	{"migrate is not followed", "113", deafTo("migrate")},
	{"pings are not heard", "84", deafTo("ping")},
	{"byways stay lost", "107", slowAfterFirst(4 * time.Second)},
	{"no GETs are parked", "80", noParking},
	{"PUTs without acknowledgements", "96", onChunks(func(c *chunk.Chunk) bool { return !c.Control })},
	{"another codec than the directive's", "98", onChunks(func(c *chunk.Chunk) bool { c.PayloadType = 0; return true })},
	{"truncated numbers from the start", "89", onChunks(func(c *chunk.Chunk) bool {
		if !c.Control {
			c.Seq = chunk.Truncated(c.Seq.Value, 2)
		}
		return true
	})},
}

type spoiler = func(http.ResponseWriter, *http.Request, http.Handler)

// requests spoils those that match.
func requests(match func(*http.Request) bool, change func(*http.Request)) spoiler {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if match(r) {
			change(r)
		}
		next.ServeHTTP(w, r)
	}
}

func onCalls(change func(*http.Request)) spoiler {
	return requests(func(r *http.Request) bool {
		return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/calls")
	}, change)
}

func onHandlers(old, new string) spoiler {
	return requests(func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/handlers") && r.Body != nil }, replaceBody(old, new))
}

func onEvents(method string, change func(*http.Request)) spoiler {
	return requests(func(r *http.Request) bool { return r.Method == method && strings.HasSuffix(r.URL.Path, "/events") }, change)
}

func onMoved(change func(*http.Request)) spoiler {
	return requests(func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "-moved/events") }, change)
}

// replaceBody changes a body that is a document.
func replaceBody(old, new string) func(*http.Request) {
	re := regexp.MustCompile(old)
	return func(r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err == nil {
			b = re.ReplaceAll(b, []byte(new))
		}
		r.Body = io.NopCloser(bytes.NewReader(b))
		r.ContentLength = int64(len(b))
	}
}

// inStream changes a body that never ends. The client writes each event at once.
func inStream(old, new string) func(*http.Request) {
	return func(r *http.Request) {
		r.Body = &replaced{ReadCloser: r.Body, re: regexp.MustCompile(old), by: []byte(new)}
	}
}

type replaced struct {
	io.ReadCloser
	re   *regexp.Regexp
	by   []byte
	left []byte
}

func (s *replaced) Read(p []byte) (int, error) {
	if len(s.left) == 0 {
		buf := make([]byte, 32<<10)
		n, err := s.ReadCloser.Read(buf)
		s.left = s.re.ReplaceAll(buf[:n], s.by)
		if len(s.left) == 0 || err != nil && n == 0 {
			return 0, err
		}
	}
	n := copy(p, s.left)
	s.left = s.left[n:]
	return n, nil
}

// before has another request of the client's come before each one that matches.
func before(method, suffix, other, instead string) spoiler {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == method && strings.HasSuffix(r.URL.Path, suffix) {
			extra := r.Clone(r.Context())
			extra.Method, extra.Body, extra.ContentLength = other, http.NoBody, 0
			extra.URL.Path = strings.TrimSuffix(r.URL.Path, "/events") + instead
			next.ServeHTTP(&nowhere{header: http.Header{}}, extra)
		}
		next.ServeHTTP(w, r)
	}
}

// nowhere is where responses go that nobody waits for.
type nowhere struct{ header http.Header }

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n *nowhere) WriteHeader(int)             {}

// deafTo keeps events of a type from the client.
func deafTo(kind string) spoiler {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/events") {
			w = &censor{ResponseWriter: w, kind: []byte(`"type":"` + kind + `"`)}
		}
		next.ServeHTTP(w, r)
	}
}

type censor struct {
	http.ResponseWriter
	kind []byte
}

func (c *censor) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *censor) Write(b []byte) (int, error) {
	if _, err := c.ResponseWriter.Write(bytes.ReplaceAll(b, c.kind, []byte(`"type":"x-censored"`))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// slowAfterFirst lets every GET events but a call's first wait.
func slowAfterFirst(d time.Duration) spoiler {
	seen := make(chan map[string]bool, 1)
	seen <- map[string]bool{}
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/events") {
			calls := <-seen
			again := calls[r.URL.Path]
			calls[r.URL.Path] = true
			seen <- calls
			if again {
				time.Sleep(d)
			}
		}
		next.ServeHTTP(w, r)
	}
}

// noParking lets GETs on media get no further.
func noParking(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/media") {
		select {
		case <-r.Context().Done():
		case <-time.After(time.Minute):
		}
		return
	}
	next.ServeHTTP(w, r)
}

// onChunks changes the chunks of every PUT on media, or drops those for which
// change is false. There is no other carrier.
func onChunks(change func(*chunk.Chunk) bool) spoiler {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		switch {
		case r.Method == http.MethodConnect, strings.Contains(r.URL.Path, "/stripes/"):
			w.WriteHeader(http.StatusNotImplemented)
			return
		case r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/media"):
			b, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(spoilt(b, change)))
		}
		next.ServeHTTP(w, r)
	}
}

func spoilt(body []byte, change func(*chunk.Chunk) bool) []byte {
	var out []byte
	for {
		raw, rest, err := chunk.Next(body)
		if err != nil || raw == nil {
			return out
		}
		body = rest
		if c, err := chunk.Parse(raw); err == nil && change(&c) {
			out = c.AppendSized(out)
		}
	}
}
