package h3

import (
	"context"
	"errors"
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
	pathOpenAPI  = "/openapi"
)

// Header fields of the protocol.
const (
	headerIdempotencyKey = "Idempotency-Key"
	headerIncremental    = "Incremental" // RFC 10036: do not buffer this body
)

// tree is every resource of the server, behind the guard.
func (s *Server) tree() http.Handler {
	mux := http.NewServeMux()
	cfg := huma.DefaultConfig("RIPT", "1")
	cfg.CreateHooks = nil // no $schema members, no Link fields
	cfg.DocsPath = ""
	cfg.SchemasPath = ""
	cfg.OpenAPIPath = pathOpenAPI
	cfg.Info.Description = "RealTime Internet Peering for Telephony, profile 1. Errors are RFC 9457 problems."
	api := humago.New(mux, cfg)

	s.addDocuments(api)
	s.addHandlers(api)
	s.addCalls(api)
	mux.Handle("POST "+pathTGPrefix+"{tg}/certs", limitBody(http.HandlerFunc(s.serveEnrol), maxBody))
	mux.HandleFunc(pathTGPrefix+"{tg}/cert", redirectCerts)
	mux.HandleFunc("GET "+pathTGPrefix+"{tg}/calls/{call}/events", s.serveGetEvents)
	mux.HandleFunc("PUT "+pathTGPrefix+"{tg}/calls/{call}/events", s.servePutEvents)
	mux.HandleFunc(pathTGPrefix+"{tg}/calls/{call}/media", s.serveMedia)
	mux.HandleFunc("GET "+pathCerts+"{file}", s.serveCertificate)
	mux.HandleFunc("GET "+pathProblems, serveProblem)
	mux.HandleFunc("GET "+pathHealth, s.serveHealth)
	mux.HandleFunc("GET "+wellKnownAS, s.serveASMetadata)
	mux.HandleFunc("GET "+wellKnownOAuth, redirectMetadata)
	mux.Handle(pathOAuth+"/", s.issuer)
	return s.guard(problems(mux))
}

// public tells the resources that need no token: what one must read to get a
// token, what is published on purpose, and the question whether we are alive.
func public(path string) bool {
	switch path {
	case wellKnownRIPT, wellKnownAS, wellKnownOAuth, pathHealth, pathOpenAPI + ".json", pathOpenAPI + ".yaml":
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
		if r.ProtoMajor == 2 {
			w.Header().Set("Alt-Svc", s.altSvc())
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
		a, err := s.tokens.check(r.Header, audiences...)
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
		if strings.HasSuffix(r.URL.Path, "/events") || strings.HasSuffix(r.URL.Path, "/media") {
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
func limitBody(next http.Handler, limit int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > limit {
			refuseHTTP(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", limit).write(w)
			return
		}
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		next.ServeHTTP(w, r)
	})
}

// serveHealth says that the process is alive; draining is told in byways, not
// here, because balancers would tear calls apart.
func (s *Server) serveHealth(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte("ok\n"))
}
