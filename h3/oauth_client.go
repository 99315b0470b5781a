package h3

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"crypto"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"

	"riptide/bridge"
)

// ClientKey is the private key with which we log in at a peer
// (private_key_jwt, RFC 7523). It prints as [redacted].
type ClientKey struct {
	key *ecdsa.PrivateKey
	kid string
}

// NewClientKey takes a P-256 private key. An empty kid stands for the key's
// RFC 7638 thumbprint.
func NewClientKey(key any, kid string) (ClientKey, error) {
	k, ok := key.(*ecdsa.PrivateKey)
	if !ok || k.Curve != elliptic.P256() {
		return ClientKey{}, errors.New("client key: want a private key on P-256 (ES256); make one with `openssl ecparam -name prime256v1 -genkey`")
	}
	if kid == "" {
		sum, err := (&jose.JSONWebKey{Key: k.Public()}).Thumbprint(crypto.SHA256)
		if err != nil {
			return ClientKey{}, fmt.Errorf("client key: %w", err)
		}
		kid = base64.RawURLEncoding.EncodeToString(sum)
	}
	return ClientKey{key: k, kid: kid}, nil
}

// Public is the key's public half, as the peer wants it in our registration.
func (k ClientKey) Public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.key.Public(), KeyID: k.kid, Algorithm: string(jose.ES256), Use: "sig"}
}

func (k ClientKey) String() string   { return "[redacted]" }
func (k ClientKey) GoString() string { return "[redacted]" }

// tokenSource gets and keeps the access tokens of one trunk, one per resource
// (RFC 8707), by client credentials (RFC 6749 section 4.4).
type tokenSource struct {
	trunk    string
	clientID string
	key      ClientKey
	pool     *pool
	now      func() time.Time

	// metadata finds the authorisation server.
	metadata func(ctx context.Context) (authServer, error)

	mu     sync.Mutex
	tokens map[string]*accessToken
	given  givenToken
}

// givenToken is one that the peer gave us itself. While there is one, none is
// asked for.
type givenToken struct {
	value   string
	expires time.Time
}

// Give sets the token for everything; "" goes back to asking.
func (s *tokenSource) Give(value string, expires time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.given = givenToken{value, expires}
}

func (s *tokenSource) gift() givenToken {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.given
}

// accessToken is guarded by its lock, a channel so that waiting obeys a
// context: who holds it fetches, the others find the token when they get it.
type accessToken struct {
	lock    chan struct{}
	value   string
	expires time.Time // when to stop using it, ahead of the real expiry
}

// maxResources bounds the tokens of a trunk: the root's and the TG's, and
// those of a TG that has moved.
const maxResources = 16

// Token returns a token for a resource, from the cache while it lives.
func (s *tokenSource) Token(ctx context.Context, resource string) (string, error) {
	if given := s.gift(); given.value != "" {
		return given.value, nil
	}
	t := s.entry(resource)
	select {
	case t.lock <- struct{}{}:
		defer func() { <-t.lock }()
	case <-ctx.Done():
		return "", fmt.Errorf("trunk %q: wait for an access token: %w", s.trunk, context.Cause(ctx))
	}
	if t.value != "" && s.now().Before(t.expires) {
		return t.value, nil
	}
	value, life, err := s.fetch(ctx, resource)
	if err != nil {
		return "", fmt.Errorf("get access token: %w", err)
	}
	t.value, t.expires = value, s.now().Add(life-min(30*time.Second, life/5))
	return value, nil
}

// Expires is when the token for a resource will be replaced; zero if there is none.
func (s *tokenSource) Expires(ctx context.Context, resource string) time.Time {
	if given := s.gift(); given.value != "" {
		return given.expires
	}
	t := s.entry(resource)
	select {
	case t.lock <- struct{}{}:
		defer func() { <-t.lock }()
		return t.expires
	case <-ctx.Done():
		return time.Time{}
	}
}

// Forget drops a token the peer has refused, unless it was replaced already.
func (s *tokenSource) Forget(resource, value string) {
	t := s.entry(resource)
	select {
	case t.lock <- struct{}{}:
		if t.value == value {
			t.value = ""
		}
		<-t.lock
	default: // somebody is fetching a new one
	}
}

func (s *tokenSource) entry(resource string) *accessToken {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[resource]
	if t == nil {
		if s.tokens == nil || len(s.tokens) >= maxResources {
			s.tokens = map[string]*accessToken{}
		}
		t = &accessToken{lock: make(chan struct{}, 1)}
		s.tokens[resource] = t
	}
	return t
}

func (s *tokenSource) fetch(ctx context.Context, resource string) (string, time.Duration, error) {
	as, err := s.metadata(ctx)
	if err != nil {
		return "", 0, err
	}
	assertion, err := s.assertion(as)
	if err != nil {
		return "", 0, err
	}
	form := url.Values{
		"grant_type":            {"client_credentials"},
		"client_id":             {s.clientID},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion":      {assertion},
		"resource":              {resource},
		"scope":                 {scopeCall},
	}
	r := requester{trunk: s.trunk, pool: s.pool}
	rep, err := r.Do(ctx, request{
		Method: http.MethodPost, URL: as.TokenEndpoint,
		Body: []byte(form.Encode()), ContentType: "application/x-www-form-urlencoded",
	}, http.StatusBadRequest, http.StatusUnauthorized)
	if err != nil {
		return "", 0, err
	}
	return s.parseToken(as.TokenEndpoint, rep)
}

// parseToken reads a token response (RFC 6749 sections 5.1 and 5.2).
func (s *tokenSource) parseToken(endpoint string, rep reply) (string, time.Duration, error) {
	var body struct {
		AccessToken string  `json:"access_token"`
		TokenType   string  `json:"token_type"`
		ExpiresIn   float64 `json:"expires_in"`
		Error       string  `json:"error"`
		Description string  `json:"error_description"`
	}
	if err := json.Unmarshal(rep.Body, &body); err != nil {
		return "", 0, bridge.CausePeerError.With("trunk %q: token endpoint %s answered %d with something that is not JSON", s.trunk, endpoint, rep.Status)
	}
	switch {
	case rep.Status != http.StatusOK || body.Error != "":
		c := bridge.Cause{Code: "token-invalid"}
		return "", 0, c.With("trunk %q: token endpoint %s refused client %q: %d %s %s (%s)",
			s.trunk, endpoint, s.clientID, rep.Status, body.Error, clip(body.Description, 200), hint(c.Code))
	case body.AccessToken == "" || !strings.EqualFold(body.TokenType, "Bearer") || len(body.AccessToken) > 16<<10:
		return "", 0, bridge.CausePeerError.With("trunk %q: token endpoint %s gave no usable bearer token", s.trunk, endpoint)
	}
	life := time.Duration(min(max(body.ExpiresIn, 0), 86400) * float64(time.Second))
	if life == 0 {
		life = 5 * time.Minute // RFC 6749 only recommends saying it
	}
	return body.AccessToken, life, nil
}

// assertion is who we are, for one token request (RFC 7523 section 3).
func (s *tokenSource) assertion(as authServer) (string, error) {
	key := jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: s.key.key, KeyID: s.key.kid}}
	signer, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", fmt.Errorf("trunk %q: client assertion: %w", s.trunk, err)
	}
	now := s.now()
	out, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer:    s.clientID,
		Subject:   s.clientID,
		Audience:  jwt.Audience{as.Issuer},
		ID:        uuid.NewString(),
		IssuedAt:  jwt.NewNumericDate(now),
		NotBefore: jwt.NewNumericDate(now),
		Expiry:    jwt.NewNumericDate(now.Add(time.Minute)),
	}).Serialize()
	if err != nil {
		return "", fmt.Errorf("trunk %q: client assertion: %w", s.trunk, err)
	}
	return out, nil
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}
