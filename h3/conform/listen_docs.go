package conform

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"

	"github.com/quic-go/quic-go"
	"riptide/policy"
	"riptide/policy/stir"
)

// Where the listener has its resources: nowhere a client could guess.
const (
	pathRoot  = "/conform/root"
	pathTG    = "/conform/groups/a"
	pathToken = "/conform/token"
	pathChain = "/conform/chains/"
)

func (l *Listener) tg() string { return l.base + pathTG }

// tree is every resource.
func (l *Listener) tree() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wellKnownRIPT, func(w http.ResponseWriter, r *http.Request) {
		l.saw("root")
		w.Header().Set("Location", pathRoot)
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("GET "+pathRoot, func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"profile": 1, "x-conform": "?"})
	})
	mux.HandleFunc("GET "+wellKnownOAuth, func(w http.ResponseWriter, r *http.Request) {
		l.saw("oauth")
		w.Header().Set("Location", "/conform/metadata")
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("GET /conform/metadata", l.serveMetadata)
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", l.serveMetadata)
	mux.HandleFunc("POST "+pathToken, l.serveToken)
	mux.HandleFunc("GET "+pathChain+"{file}", l.serveChain)
	mux.Handle("GET "+pathRoot+"/v1/providertgs", l.authorised(l.base+pathRoot, l.serveList))
	mux.Handle("POST "+pathRoot+"/v1/customertgs", l.authorised("", l.serveCustomer))
	mux.Handle("PUT "+pathRoot+"/v1/customertgs", l.authorised("", l.serveCustomer))
	for pattern, h := range map[string]http.HandlerFunc{
		"GET " + pathTG: l.serveTG, "POST " + pathTG + "/handlers": l.serveHandlers, "PUT " + pathTG + "/handlers/{id}": l.serveHandlers,
		"POST " + pathTG + "/certs": l.serveCerts, "GET " + pathTG + "/certs/{id}": l.servePending,
		"POST " + pathTG + "/calls": l.serveCalls, pathTG + "/media": l.serveTrunk,
		"GET " + pathTG + "/calls/{id}": l.withPlayed((*played).serveGet), "POST " + pathTG + "/calls/{id}": l.withPlayed((*played).serveUpdate),
		"DELETE " + pathTG + "/calls/{id}":     l.withPlayed((*played).serveDelete),
		"GET " + pathTG + "/calls/{id}/events": l.withPlayed((*played).serveGetEvents), "PUT " + pathTG + "/calls/{id}/events": l.withPlayed((*played).servePutEvents),
		pathTG + "/calls/{id}/media": l.withPlayed((*played).serveMedia), pathTG + "/calls/{id}/media/stripes/{n}": l.withPlayed((*played).serveStripe),
	} {
		mux.Handle(pattern, l.authorised(l.tg(), h))
	}
	return l.standing(mux)
}

// standing judges what every request has to be.
func (l *Listener) standing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || r.TLS.Version < 0x0304 {
			l.note([]string{"A26"}, "", errors.New("a request came over less than TLS 1.3"))
		} else {
			l.note([]string{"A26"}, "", nil)
		}
		if creates(r) {
			l.note([]string{"A12"}, "", lateData(r))
		}
		next.ServeHTTP(w, r)
	})
}

// creates tells the requests that must not be replayed.
func creates(r *http.Request) bool {
	return r.Method == http.MethodPost && r.URL.Path != pathToken
}

// lateData tells whether a request came in early data.
func lateData(r *http.Request) error {
	if r.Header.Get("Early-Data") != "" {
		return fmt.Errorf("%s %s has Early-Data", r.Method, shortURL(r.URL.Path))
	}
	conn, ok := r.Context().Value(connKey{}).(*quic.Conn)
	if !ok {
		return nil
	}
	select {
	case <-conn.HandshakeComplete():
		return nil
	default:
		return fmt.Errorf("%s %s came in early data", r.Method, shortURL(r.URL.Path))
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(asJSON(v))
}

// refuse answers with a problem.
func refuse(w http.ResponseWriter, status int, code, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = w.Write(asJSON(map[string]any{"type": "/problems/" + code, "title": http.StatusText(status), "status": status, "detail": detail}))
}

func (l *Listener) serveMetadata(w http.ResponseWriter, _ *http.Request) {
	l.saw("metadata")
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer": l.base, "token_endpoint": l.base + pathToken, "token_endpoint_auth_methods_supported": []string{"private_key_jwt"},
		"grant_types_supported": []string{"client_credentials"}, "scopes_supported": []string{"ript.call"}, "response_types_supported": []string{},
		"token_endpoint_auth_signing_alg_values_supported": []string{"ES256"}, "resource_indicators_supported": true, "x-conform": 1,
	})
}

func (l *Listener) serveToken(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	err := l.checkLogin(r)
	l.note([]string{"1"}, "looked at how it logs in", err)
	if err != nil {
		writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
		return
	}
	token := "conform." + uuid.NewString()
	l.state.mu.Lock()
	l.state.tokens[token] = r.Form.Get("resource")
	l.state.mu.Unlock()
	l.saw("token")
	writeJSON(w, http.StatusOK, map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 300, "x-conform": true})
}

func (l *Listener) checkLogin(r *http.Request) error {
	if l.firstSeen("oauth").IsZero() && l.firstSeen("metadata").IsZero() {
		return errors.New("it asks for a token before it has looked where: GET /.well-known/ript-oauth")
	}
	tok, err := jwt.ParseSigned(r.Form.Get("client_assertion"), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return fmt.Errorf("client_assertion: %w", err)
	}
	var claims jwt.Claims
	if l.opt.Key != nil {
		err = tok.Claims(l.opt.Key, &claims)
	} else {
		err = tok.UnsafeClaimsWithoutVerification(&claims)
	}
	if err != nil {
		return fmt.Errorf("client_assertion: %w", err)
	}
	if err := claims.Validate(jwt.Expected{AnyAudience: jwt.Audience{l.base, l.base + pathToken}, Time: time.Now()}); err != nil {
		return fmt.Errorf("client_assertion: %w", err)
	}
	switch {
	case l.opt.ClientID != "" && claims.Subject != l.opt.ClientID:
		return fmt.Errorf("client %q is not the one expected, %q", clip(claims.Subject, 60), l.opt.ClientID)
	case claims.ID == "":
		return errors.New("client_assertion has no jti")
	case r.Form.Get("resource") == "":
		return errors.New("no resource is named (RFC 8707)")
	case r.Form.Get("grant_type") != "client_credentials":
		return fmt.Errorf("grant_type is %q", clip(r.Form.Get("grant_type"), 60))
	}
	return nil
}

// authorised lets requests through whose token is for the resource, or for the
// root or the TG if none is named.
func (l *Listener) authorised(resource string, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		l.state.mu.Lock()
		is, revoked := l.state.tokens[token], l.state.revoked[token]
		if revoked {
			l.state.lapsed++
		}
		l.state.mu.Unlock()
		is = strings.TrimSuffix(is, "/")
		ok := is == resource || resource == "" && is != "" || resource == l.base+pathRoot && (is == l.base+wellKnownRIPT)
		if revoked || !ok {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			refuse(w, http.StatusUnauthorized, "token-expired", "ask for a new token")
			return
		}
		next(w, r)
	})
}

func (l *Listener) serveList(w http.ResponseWriter, _ *http.Request) {
	l.saw("list")
	writeJSON(w, http.StatusOK, map[string]any{"tgs": []any{map[string]any{"uri": l.tg(), "name": "conform", "x-conform": 0}}, "x-conform": nil})
}

func (l *Listener) serveTG(w http.ResponseWriter, r *http.Request) {
	l.saw("tg")
	const etag = `"conform-1"`
	w.Header().Set("ETag", etag)
	w.Header().Set("Cache-Control", "private, max-age=300")
	w.Header().Set("Vary", "Authorization")
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"uri": l.tg(), "name": "conform", "retry-backoff": 2000, "media-timeout": mediaTimeout.Milliseconds(), "keepalive": 5000, "parked-gets": 20, "profile": 1,
		"media": []string{carrierWebTransport, carrierTrunk, carrierStriped, carrierPutGet, "x-conform"}, "x-conform": map[string]any{"deep": []int{1}},
		"outbound": map[string]any{"destinations": []string{"+1*"}, "origins": string(l.IdentityPEM()), "originNumbers": []string{"+1*"}, "x-conform": 1},
	})
}

func (l *Listener) serveCustomer(w http.ResponseWriter, r *http.Request) {
	l.saw("customer")
	body, _ := io.ReadAll(io.LimitReader(r.Body, maxDocument))
	var d struct {
		URI      string `json:"uri"`
		Token    string `json:"token"`
		Outbound struct {
			Origins      *string         `json:"origins"`
			Destinations json.RawMessage `json:"destinations"`
		} `json:"outbound"`
	}
	err := json.Unmarshal(body, &d)
	l.note([]string{"15", "16", "18"}, "read what it registers for incoming calls", err)
	_, uriErr := absolute(d.URI)
	l.note([]string{"23"}, "", uriErr)
	if d.Token == "" {
		err = errors.New("it has no token")
	}
	l.note([]string{"19", "A16"}, "", errors.Join(uriErr, err))
	if d.Outbound.Origins != nil {
		l.note([]string{"25"}, "", errors.New("it has origins"))
	} else {
		l.note([]string{"25"}, "", nil)
	}
	w.Header().Set("Location", l.base+pathRoot+"/v1/customertgs/1")
	writeJSON(w, http.StatusCreated, map[string]any{"uri": d.URI})
}

// serveCerts issues what is asked for, the first time only later.
func (l *Listener) serveCerts(w http.ResponseWriter, r *http.Request) {
	l.saw("certs")
	raw, _ := io.ReadAll(io.LimitReader(r.Body, maxDocument))
	if block, _ := pem.Decode(raw); block != nil {
		raw = block.Bytes
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		raw = csrOfJSON(raw)
	}
	chain, err := l.ca.Issue(raw, anybody, 90*24*time.Hour, time.Now())
	l.note([]string{"41"}, "read its certificate request", err)
	if err != nil {
		refuse(w, http.StatusBadRequest, "bad-request", "no certificate request that can be used")
		return
	}
	id := stir.Thumbprint(chain[0])
	bundle := stir.EncodeChain(chain)
	l.state.mu.Lock()
	l.state.certs[id] = bundle
	later := len(l.state.certs) == 1
	if later {
		l.state.pending[id] = bundle
	}
	l.state.mu.Unlock()
	if later {
		w.Header().Set("Location", l.tg()+"/certs/"+id)
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusAccepted)
		return
	}
	l.giveCert(w, id, bundle)
}

func csrOfJSON(raw []byte) []byte {
	var in struct {
		CSR string `json:"csr"`
	}
	_ = json.Unmarshal(raw, &in) // Issue says what is wrong with nothing
	if block, _ := pem.Decode([]byte(in.CSR)); block != nil {
		return block.Bytes
	}
	der, _ := base64.StdEncoding.DecodeString(in.CSR)
	return der
}

func (l *Listener) servePending(w http.ResponseWriter, r *http.Request) {
	l.saw("certs polled")
	l.state.mu.Lock()
	bundle := l.state.pending[r.PathValue("id")]
	l.state.mu.Unlock()
	if bundle == nil {
		refuse(w, http.StatusNotFound, "not-found", "no such request")
		return
	}
	l.giveCert(w, r.PathValue("id"), bundle)
}

func (l *Listener) giveCert(w http.ResponseWriter, id string, bundle []byte) {
	l.saw("certs given")
	uri := l.base + pathChain + id + ".pem"
	w.Header().Set("Content-Type", "application/pem-certificate-chain")
	w.Header().Set("Content-Location", uri)
	w.Header().Set("Link", "<"+uri+`>; rel="x5u"`)
	_, _ = w.Write(bundle)
}

func (l *Listener) serveChain(w http.ResponseWriter, r *http.Request) {
	l.state.mu.Lock()
	bundle := l.state.certs[strings.TrimSuffix(r.PathValue("file"), ".pem")]
	l.state.mu.Unlock()
	if bundle == nil {
		refuse(w, http.StatusNotFound, "not-found", "no such certificate")
		return
	}
	w.Header().Set("Content-Type", "application/pem-certificate-chain")
	_, _ = w.Write(bundle)
}

// verify judges a PASSporT by the certificates that we issued, and nothing else.
func (l *Listener) verify(token, to string) (string, error) {
	p, err := stir.ParsePassport(token)
	if err != nil {
		return "", err
	}
	from := p.Claims.From()
	roots := x509.NewCertPool()
	roots.AddCert(l.ca.Certificate())
	v := &stir.Verifier{Trust: stir.Trust{Roots: roots}, Chain: func(_ context.Context, x5u string) ([]*x509.Certificate, error) {
		l.state.mu.Lock()
		defer l.state.mu.Unlock()
		name, ok := strings.CutPrefix(x5u, l.base+pathChain)
		if bundle := l.state.certs[strings.TrimSuffix(name, ".pem")]; ok && bundle != nil {
			return stir.ParseChain(bundle)
		}
		return nil, fmt.Errorf("x5u %s is none of the chains that we issued", clip(x5u, 120))
	}}
	verdict := v.Verify(context.Background(), token, stir.Call{From: from, To: policy.Number(to)}, time.Now())
	if verdict.Status != stir.Valid {
		return string(from), fmt.Errorf("%s: %s", verdict.Status, verdict.Reason)
	}
	return string(from), nil
}
