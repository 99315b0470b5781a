package h3

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"iter"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"riptide/bridge"
)

const (
	cryptoSHA256 = crypto.SHA256

	maxToken       = 4 << 10
	maxTokenCached = 4096
	tokenLeeway    = 5 * time.Second
)

// access is what a valid access token says.
type access struct {
	client   string
	audience []string
	scopes   []string
	expires  time.Time
}

// tokenChecker is the resource server's side of RFC 9068. It remembers valid
// tokens, because media asks a hundred times a second with the same one.
type tokenChecker struct {
	issuer string
	key    *ecdsa.PublicKey
	now    func() time.Time

	// granted, if not nil, knows the tokens that are no JWTs.
	granted func(ctx context.Context, token string) (access, error)

	mu    sync.Mutex
	valid map[[sha256.Size]byte]access
}

func newTokenChecker(issuer string, key *ecdsa.PublicKey, now func() time.Time) *tokenChecker {
	return &tokenChecker{issuer: issuer, key: key, now: now, valid: map[[sha256.Size]byte]access{}}
}

// check reads the Authorization field of a request for one of the audiences.
// Errors are causes: token-missing, -invalid, -expired, -audience, -scope.
func (t *tokenChecker) check(ctx context.Context, header http.Header, audiences ...string) (access, error) {
	scheme, token, _ := strings.Cut(header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return access{}, tokenCause("token-missing", "send Authorization: Bearer with a token of this server's token endpoint")
	}
	if len(token) > maxToken {
		return access{}, tokenCause("token-invalid", "the token is longer than 4096 bytes")
	}
	a, err := t.verify(ctx, token)
	switch {
	case err != nil:
		return access{}, err
	case !t.now().Before(a.expires.Add(tokenLeeway)):
		return access{}, tokenCause("token-expired", "ask for a new token")
	case !overlap(a.audience, audiences):
		return access{}, tokenCause("token-audience", "ask for a token with resource="+audiences[0])
	case !slices.Contains(a.scopes, scopeCall):
		return access{}, tokenCause("token-scope", "ask for a token with scope="+scopeCall)
	}
	return a, nil
}

func (t *tokenChecker) verify(ctx context.Context, token string) (access, error) {
	if t.granted != nil && len(token) == grantLength {
		return t.granted(ctx, token)
	}
	sum := sha256.Sum256([]byte(token))
	t.mu.Lock()
	a, ok := t.valid[sum]
	t.mu.Unlock()
	if ok {
		return a, nil
	}
	a, err := t.parse(token)
	if err != nil {
		return access{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.valid) >= maxTokenCached {
		t.forget()
	}
	t.valid[sum] = a
	return a, nil
}

// forget makes room: expired tokens first, all of them if none is.
func (t *tokenChecker) forget() {
	now := t.now()
	maps.DeleteFunc(t.valid, func(_ [sha256.Size]byte, a access) bool { return now.After(a.expires) })
	if len(t.valid) >= maxTokenCached {
		clear(t.valid)
	}
}

// parse verifies all of a token that does not depend on the request.
func (t *tokenChecker) parse(token string) (access, error) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return access{}, tokenCause("token-invalid", "it is not a JWT signed with ES256")
	}
	// RFC 9068 section 4: any other type may be a token for something else.
	typ, _ := parsed.Headers[0].ExtraHeaders[jose.HeaderType].(string)
	if typ = strings.TrimPrefix(strings.ToLower(typ), "application/"); typ != "at+jwt" {
		return access{}, tokenCause("token-invalid", "its type is not at+jwt")
	}
	var std jwt.Claims
	var own struct {
		ClientID string `json:"client_id"`
		Scope    string `json:"scope"`
	}
	if err := parsed.Claims(t.key, &std, &own); err != nil {
		return access{}, tokenCause("token-invalid", "its signature is not this server's")
	}
	err = std.ValidateWithLeeway(jwt.Expected{Issuer: t.issuer, Time: t.now()}, tokenLeeway)
	if errors.Is(err, jwt.ErrExpired) {
		return access{}, tokenCause("token-expired", "ask for a new token")
	}
	if err != nil || std.Expiry == nil || own.ClientID == "" {
		return access{}, tokenCause("token-invalid", "its issuer, times or client_id are not in order")
	}
	return access{
		client:   own.ClientID,
		audience: std.Audience,
		scopes:   strings.Fields(own.Scope),
		expires:  std.Expiry.Time(),
	}, nil
}

func tokenCause(code bridge.Code, text string) bridge.Cause {
	return bridge.Cause{Code: code, Text: text}
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

func mapValues[K comparable, V any](m map[K]V) iter.Seq[V] { return maps.Values(m) }
