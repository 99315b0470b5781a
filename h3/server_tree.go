package h3

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"riptide/bridge"
)

// Paths of our own choosing: clients learn them from documents.
const (
	pathTGPrefix = "/ript/v1/tgs/"
	pathCerts    = "/certs/"
	pathHealth   = "/healthz"
	pathOpenAPI  = wellKnownRIPT + "/openapi.json"
)

// Header fields of the protocol.
const (
	headerIdempotencyKey = "Idempotency-Key"
	headerIncremental    = "Incremental" // RFC 10036: do not buffer this body
)

// tree is every resource of the server, behind the guard.
func (s *Server) tree() http.Handler {
	t := newRoutes()
	s.addDocuments(t.api)
	s.addCustomerTGs(t.api)
	s.addHandlers(t.api)
	s.addCalls(t.api)
	s.addCall(t.api)
	s.addCerts(t)
	s.addEvents(t)
	s.addMedia(t)
	s.addPublic(t)
	s.addOpenAPI(t)
	return s.guard(s.paced(problems(t.mux)))
}

// routes is where resources are entered: into the mux and into the OpenAPI
// document at once, so that there is none that the document does not have.
type routes struct {
	mux *http.ServeMux
	api huma.API
}

func newRoutes() *routes {
	mux := http.NewServeMux()
	cfg := huma.DefaultConfig("RIPT", fmt.Sprint(Profile))
	cfg.CreateHooks = nil // no $schema members, no Link fields
	cfg.DocsPath, cfg.SchemasPath, cfg.OpenAPIPath = "", "", ""
	// Unknown members are ignored, so the schemas allow them.
	cfg.AllowAdditionalPropertiesByDefault = true
	return &routes{mux: mux, api: humago.New(mux, cfg)}
}

// add enters a resource that is no JSON document in and out. Operations of one
// path may share a handler: the first names the path, and with several the
// handler judges the method.
func (t *routes) add(h http.HandlerFunc, ops ...huma.Operation) {
	pattern := ops[0].Path
	if len(ops) == 1 {
		pattern = ops[0].Method + " " + pattern
	}
	t.mux.HandleFunc(pattern, h)
	for _, op := range ops {
		t.api.OpenAPI().AddOperation(&op)
	}
}

// public tells the resources that need no token: what one must read to get a
// token, what is published on purpose, and the question whether we are alive.
func public(path string) bool {
	switch path {
	case wellKnownRIPT, wellKnownAS, wellKnownOAuth, pathHealth, pathOpenAPI:
		return true
	}
	return strings.HasPrefix(path, pathOAuth+"/") || strings.HasPrefix(path, pathCerts) || strings.HasPrefix(path, pathProblems)
}

type clientKey struct{}

// clientOf is the OAuth client whose token came with the request.
func clientOf(ctx context.Context) string {
	id, _ := ctx.Value(clientKey{}).(string)
	return id
}

// guard is the outermost layer: a panic hurts one request only, and nothing
// but what is public is reached without a token for it. A TG of another client
// does not exist for this one.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer s.contain(w, r)
		w.Header().Set("Cache-Control", "no-store") // where a resource does not say better
		if r.ProtoMajor < 3 {
			w.Header().Set("Alt-Svc", s.altSvc())
		}
		if p := unfit(r); p != nil {
			p.write(w)
			return
		}
		if public(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		audiences := s.rootURIs()
		name, below := tgOf(r.URL)
		if below {
			// Also where there is none: whoever has no token for it does not learn that.
			audiences = []string{s.base + pathTGPrefix + name}
		}
		a, err := s.tokens.check(r.Context(), r.Header, audiences...)
		if err != nil {
			cause := bridge.CauseOf(err)
			s.stats.refused(cause.Code)
			s.logToken(r, cause)
			refuse(cause).write(w)
			return
		}
		if group := s.tgs[name]; below && (group == nil || group.cfg.ClientID != a.client) {
			refuseHTTP(http.StatusNotFound, "no such TG").write(w)
			return
		}
		if p := palatable(r); p != nil {
			p.write(w)
			return
		}
		recognised(r.Context())
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), clientKey{}, a.client)))
	})
}

// contain ends a request whose handler panicked. http.ErrAbortHandler is no
// accident: it resets the stream, where returning would end it in order.
func (s *Server) contain(w http.ResponseWriter, r *http.Request) {
	v := recover()
	switch err, _ := v.(error); {
	case v == nil:
	case errors.Is(err, http.ErrAbortHandler):
		panic(v)
	default:
		s.log.Error("request handler panicked", "method", r.Method, "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
		if strings.HasSuffix(r.URL.Path, "/events") || strings.Contains(r.URL.Path, "/media") {
			panic(http.ErrAbortHandler) // a stream has begun: there is no status to change any more
		}
		refuse(bridge.CauseInternal.With("the request could not be handled")).write(w)
	}
}

// logToken tells the operator of a peer whose token is refused. Anybody can
// cause that at any rate, so one line a second says enough, and requests
// without a token, which every scanner sends, are only counted.
func (s *Server) logToken(r *http.Request, c bridge.Cause) {
	if c.Code == "token-missing" {
		return
	}
	s.tokenLog.Do(func() {
		s.log.Warn("token refused", "method", r.Method, "path", clipText(r.URL.Path, 200), "source", r.RemoteAddr, "cause", c.Code, "why", c.Text)
	})
}

func (s *Server) altSvc() string {
	_, port, err := net.SplitHostPort(s.cfg.Authority)
	if err != nil {
		port = "443"
	}
	return `h3=":` + port + `"; ma=86400`
}

// tgOf is the name of the TG that a URL lies below. It must be the same that the
// mux finds, which cuts the path into segments before it decodes them: a slash
// that is written %2F does not end the name.
func tgOf(u *url.URL) (name string, below bool) {
	rest, below := strings.CutPrefix(u.EscapedPath(), pathTGPrefix)
	if !below {
		// The prefix itself may be spelt with escapes, for what is behind it.
		rest, below = strings.CutPrefix(u.Path, pathTGPrefix)
		return rest, below
	}
	name, _, _ = strings.Cut(rest, "/")
	if decoded, err := url.PathUnescape(name); err == nil {
		name = decoded
	}
	return name, true
}

// problems turns the mux's own plain-text answers into problems.
func problems(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		probe := &statusProbe{header: http.Header{}, status: http.StatusNotFound}
		h.ServeHTTP(probe, r)
		if probe.status != http.StatusMethodNotAllowed {
			refuseHTTP(http.StatusNotFound, "no such resource").write(w)
			return
		}
		p := refuseHTTP(http.StatusMethodNotAllowed, "%s is not a method of this resource", clipMethod(r.Method))
		p.header.Set("Allow", probe.header.Get("Allow"))
		p.write(w)
	})
}

func clipMethod(m string) string { return m[:min(len(m), 16)] }

// statusProbe is a response that is looked at and thrown away.
type statusProbe struct {
	header http.Header
	status int
}

func (p *statusProbe) Header() http.Header         { return p.header }
func (p *statusProbe) Write(b []byte) (int, error) { return len(b), nil }
func (p *statusProbe) WriteHeader(status int)      { p.status = status }

// bodyTime is what a client has for sending a document.
const bodyTime = 10 * time.Second

// limitBody refuses bodies past a limit of size, and ends those past one of time.
func limitBody(next http.HandlerFunc, limit int64) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > limit {
			refuseHTTP(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", limit).write(w)
			return
		}
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		next(w, r)
	}
}
