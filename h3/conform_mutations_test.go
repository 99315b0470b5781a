package h3

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"riptide/bridge/store"
	"riptide/h3/chunk"
	"riptide/policy"
	"riptide/policy/stir"
)

// mutation stands around our server and makes it another one. What it has to
// remember it makes anew for each server.
type mutation func(next http.Handler) http.Handler

// Resources, as patterns of http.ServeMux without the method.
const (
	atRoot      = wellKnownRIPT
	atOAuth     = wellKnownOAuth
	atTGs       = wellKnownRIPT + pathTGs
	atCustomers = wellKnownRIPT + "/v1/customertgs"
	atCustomer  = atCustomers + "/{customer}"
	atTG        = pathTGPrefix + "{tg}"
	atCert      = atTG + "/cert"
	atHandlers  = atTG + "/handlers"
	atHandler   = atHandlers + "/{handler}"
	atCalls     = atTG + "/calls"
	atCall      = atCalls + "/{call}"
	atEvents    = atCall + "/events"
	atMedia     = atCall + "/media"
)

// at gives one resource another handler; what it is called with goes on to next.
func at(pattern string, instead func(next http.Handler) http.HandlerFunc) mutation {
	return func(next http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.HandleFunc(pattern, instead(next))
		if pattern != "/" {
			mux.Handle("/", next)
		}
		return mux
	}
}

// all puts mutations around each other.
func all(ms ...mutation) mutation {
	return func(next http.Handler) http.Handler {
		for _, m := range ms {
			next = m(next)
		}
		return next
	}
}

// asked changes requests before the server sees them.
func asked(pattern string, change func(*http.Request)) mutation {
	return at(pattern, func(next http.Handler) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			change(r)
			next.ServeHTTP(w, r)
		}
	})
}

// without has the server not see a header field.
func without(pattern, field string) mutation {
	return asked(pattern, func(r *http.Request) { r.Header.Del(field) })
}

// told changes members of a request's JSON body.
func told(pattern string, change func(map[string]any)) mutation {
	return asked(pattern, func(r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			return
		}
		body = rewritten(body, change)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	})
}

// rewritten is a JSON object with a change, or what is none as it is.
func rewritten(body []byte, change func(map[string]any)) []byte {
	var m map[string]any
	if json.Unmarshal(body, &m) != nil {
		return body
	}
	change(m)
	out, err := json.Marshal(m)
	if err != nil {
		return body
	}
	return out
}

// answer is a response that is held back until it is complete.
type answer struct {
	w      http.ResponseWriter
	header http.Header
	status int
	body   []byte
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Flush()                      {}
func (a *answer) Unwrap() http.ResponseWriter { return a.w } // for deadlines
func (a *answer) Write(b []byte) (int, error) {
	a.body = append(a.body, b...)
	return len(b), nil
}

// send writes the answer to whoever asked.
func (a *answer) send(w http.ResponseWriter) {
	a.header.Del("Content-Length")
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // a client that is gone shows elsewhere
}

// refuse makes it a refusal with this status.
func (a *answer) refuse(status int) {
	a.status = status
	a.header.Set("Content-Type", "application/problem+json")
	a.body, _ = json.Marshal(map[string]any{"type": "about:blank", "title": http.StatusText(status), "status": status}) // of text and a number
}

func answerOf(next http.Handler, w http.ResponseWriter, r *http.Request) *answer {
	a := &answer{w: w, header: http.Header{}, status: http.StatusOK}
	next.ServeHTTP(a, r)
	return a
}

// answered changes responses.
func answered(pattern string, change func(*http.Request, *answer)) mutation {
	return at(pattern, func(next http.Handler) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			a := answerOf(next, w, r)
			change(r, a)
			a.send(w)
		}
	})
}

// refusing answers without asking the server.
func refusing(pattern string, status int) mutation {
	return at(pattern, func(http.Handler) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			a := &answer{header: http.Header{}}
			a.refuse(status)
			a.send(w)
		}
	})
}

// documents changes members of successful responses.
func documents(pattern string, change func(map[string]any)) mutation {
	return answered(pattern, func(_ *http.Request, a *answer) {
		if a.status/100 == 2 {
			a.body = rewritten(a.body, change)
		}
	})
}

// outbound changes that part of TG documents.
func outbound(change func(map[string]any)) mutation {
	return documents("GET "+atTG, func(m map[string]any) { change(m["outbound"].(map[string]any)) })
}

// lacking takes a member out of successful responses.
func lacking(pattern, member string) mutation {
	return documents(pattern, func(m map[string]any) { delete(m, member) })
}

// header sets a header field of responses; "" removes it.
func header(pattern, field, value string) mutation {
	return answered(pattern, func(_ *http.Request, a *answer) {
		if a.header.Del(field); value != "" {
			a.header.Set(field, value)
		}
	})
}

// alteredWriter is a response whose writes are changed as they pass.
type alteredWriter struct {
	http.ResponseWriter
	change func([]byte) []byte
}

func (s *alteredWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func (s *alteredWriter) Write(b []byte) (int, error) {
	if _, err := s.ResponseWriter.Write(s.change(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// streamed changes what is written to event streams. Each has a change of its own.
func streamed(begin func() func([]byte) []byte) mutation {
	return at("GET "+atEvents, func(next http.Handler) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(&alteredWriter{w, begin()}, r) }
	})
}

// events changes each event that a server sends; false leaves it out.
func events(change func(map[string]any) bool) mutation {
	return streamed(func() func([]byte) []byte {
		return func(b []byte) []byte {
			start := bytes.IndexByte(b, '{')
			if start < 0 {
				return b
			}
			keep := true
			body := rewritten(b[start:], func(m map[string]any) { keep = change(m) })
			if !keep {
				return []byte("\n")
			}
			return append(bytes.Clone(b[:start]), body...)
		}
	})
}

// eventsHave changes all events and drops none.
func eventsHave(change func(map[string]any)) mutation {
	return events(func(m map[string]any) bool { change(m); return true })
}

// noEvent drops the events of a type.
func noEvent(kind string) mutation {
	return events(func(m map[string]any) bool { return m["type"] != kind })
}

// chunks changes the media that parked GETs are answered with.
func chunks(change func(*chunk.Chunk)) mutation {
	return answered("GET "+atMedia, func(_ *http.Request, a *answer) {
		var out []byte
		for rest := a.body; a.status == http.StatusOK && len(rest) > 0; {
			var raw []byte
			var err error
			if raw, rest, err = chunk.Next(rest); err != nil {
				return
			}
			c, err := chunk.Parse(raw)
			if err != nil {
				return
			}
			change(&c)
			out = c.AppendSized(out)
		}
		a.body = out
	})
}

// speech changes the chunks of media and leaves the control chunks alone.
func speech(change func(*chunk.Chunk)) mutation {
	return chunks(func(c *chunk.Chunk) {
		if !c.Control {
			change(c)
		}
	})
}

// tellTale shows the last token that a customer registered to whoever reads.
func tellTale(next http.Handler) http.Handler {
	var mu sync.Mutex
	var last any
	keep := told("POST "+atCustomers, func(m map[string]any) {
		mu.Lock()
		defer mu.Unlock()
		last = m["token"]
	})
	show := documents("GET "+atCustomer, func(m map[string]any) {
		mu.Lock()
		defer mu.Unlock()
		m["token"] = last
	})
	return all(keep, show)(next)
}

// openDoor lets in whoever has a token that is wanting: without any, or with any.
func openDoor(wanting func(token string) bool) mutation {
	return func(next http.Handler) http.Handler {
		var mu sync.Mutex
		good := map[string]string{} // by TG
		return at("/", func(next http.Handler) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				tg, _ := tgOf(r.URL)
				mu.Lock()
				if wanting(r.Header.Get("Authorization")) && good[tg] != "" {
					r.Header.Set("Authorization", good[tg])
				}
				mu.Unlock()
				if r.Method != http.MethodGet || strings.Contains(r.URL.Path, "/calls/") || strings.Contains(r.URL.Path, "/oauth") {
					next.ServeHTTP(w, r)
					return
				}
				a := answerOf(next, w, r)
				if token := r.Header.Get("Authorization"); a.status == http.StatusOK && token != "" {
					mu.Lock()
					good[tg] = token
					mu.Unlock()
				}
				a.send(w)
			}
		})(next)
	}
}

// believing makes a server that believes a caller, for reasons of its own: what
// its client says is signed again by somebody whom our server believes.
func believing(t *testing.T, m mutant, believes func(callerClaims) bool) mutant {
	t.Helper()
	var signer *stir.Signer
	m.change = func(cfg *ServerConfig) {
		key := newKey(t)
		csr, err := stir.NewCSR(key, []policy.Pattern{"+12025550100"})
		must(t, err)
		chain, err := cfg.CA.Issue(csr, numbers(t, "*"), time.Hour, time.Now())
		must(t, err)
		name := stir.Thumbprint(chain[0])
		_, err = cfg.Store.Put(context.Background(), store.Certificates, name, stir.EncodeChain(chain))
		must(t, err)
		signer, err = stir.NewSigner(key, chain, "https://ript.test/certs/"+name+".pem")
		must(t, err)
	}
	m.wrap = told("POST "+atCalls, func(body map[string]any) {
		token, _ := body["passport"].(string)
		to, _ := body["destination"].(string)
		claims, ok := claimsOf(token)
		if !ok || !believes(claims) {
			return
		}
		if s, err := signer.Sign(stir.Call{From: "+12025550100", To: policy.Number(to)}, "A", "5f0dd1d6-6d0f-4c5e-8a43-0d7f1b6ac1a7", time.Now()); err == nil {
			body["passport"] = s
		}
	})
	return m
}

// callerClaims is what a PASSporT says, whoever signed it.
type callerClaims struct {
	Iat int64 `json:"iat"`
}

func (c callerClaims) fresh() bool { return time.Since(time.Unix(c.Iat, 0)).Abs() < time.Minute }

func claimsOf(token string) (c callerClaims, ok bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return c, token == ""
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	return c, err == nil && json.Unmarshal(raw, &c) == nil
}
