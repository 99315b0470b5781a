package h3

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"

	"riptide/bridge"
)

// TestTokens refuses every way in which a token can be wrong, each with its own
// problem type.
func TestTokens(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	good := r.token(testTG)
	mint := func(typ, scope string, change func(*jwt.Claims)) string {
		c := jwt.Claims{Issuer: "https://ript.test", Subject: testClient, Audience: jwt.Audience{testTG},
			Expiry: jwt.NewNumericDate(time.Now().Add(time.Minute)), IssuedAt: jwt.NewNumericDate(time.Now())}
		if change != nil {
			change(&c)
		}
		return signJWT(t, r.cfg.TokenKey, typ, c, map[string]any{"client_id": testClient, "scope": scope})
	}
	tests := map[string]struct {
		token  string
		status int
		code   string
	}{
		"none":            {"", 401, "token-missing"},
		"rubbish":         {"rubbish", 401, "token-invalid"},
		"too long":        {strings.Repeat("x", maxToken+1), 401, "token-invalid"},
		"altered":         {good[:len(good)-6] + "AAAAAA", 401, "token-invalid"},
		"other key":       {signJWT(t, r.key, "at+jwt", jwt.Claims{Issuer: "https://ript.test", Expiry: jwt.NewNumericDate(time.Now().Add(time.Minute))}), 401, "token-invalid"},
		"not at+jwt":      {mint("JWT", scopeCall, nil), 401, "token-invalid"},
		"other issuer":    {mint("at+jwt", scopeCall, func(c *jwt.Claims) { c.Issuer = "https://evil.test" }), 401, "token-invalid"},
		"no expiry":       {mint("at+jwt", scopeCall, func(c *jwt.Claims) { c.Expiry = nil }), 401, "token-invalid"},
		"not yet valid":   {mint("at+jwt", scopeCall, func(c *jwt.Claims) { c.NotBefore = jwt.NewNumericDate(time.Now().Add(time.Hour)) }), 401, "token-invalid"},
		"expired":         {mint("at+jwt", scopeCall, func(c *jwt.Claims) { c.Expiry = jwt.NewNumericDate(time.Now().Add(-time.Minute)) }), 401, "token-expired"},
		"other audience":  {mint("at+jwt", scopeCall, func(c *jwt.Claims) { c.Audience = jwt.Audience{"https://other.test/tg"} }), 401, "token-audience"},
		"for another TG":  {r.token(testTG + "-2"), 401, "token-audience"},
		"for the root":    {r.token(testRoot), 401, "token-audience"},
		"no scope":        {mint("at+jwt", "", nil), 403, "token-scope"},
		"the wrong scope": {mint("at+jwt", "openid ript.calls", nil), 403, "token-scope"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{"", "/handlers", "/calls", "/certs", "/nothing"} {
				resp, body := r.do(r.h3, exchange{method: "POST", url: testTG + path, token: tc.token, body: "{}"})
				expectProblem(t, resp, body, tc.status, "/problems/"+tc.code)
				if resp.Header.Get("WWW-Authenticate") == "" {
					t.Error("no WWW-Authenticate")
				}
				if tc.token != "" && strings.Contains(string(body), tc.token) {
					t.Error("the token is repeated in the error")
				}
			}
		})
	}
	// Twice, because the second comes from the cache of valid tokens.
	for range 2 {
		if resp, body := r.do(r.h2, exchange{method: "GET", url: testTG, token: good}); resp.StatusCode != 200 {
			t.Errorf("good token: %d %s", resp.StatusCode, body)
		}
	}
	// A token of the right audience in the hands of another client.
	c := jwt.Claims{Issuer: "https://ript.test", Audience: jwt.Audience{testTG}, Expiry: jwt.NewNumericDate(time.Now().Add(time.Minute))}
	stolen := signJWT(t, r.cfg.TokenKey, "at+jwt", c, map[string]any{"client_id": "other", "scope": scopeCall})
	resp, body := r.do(r.h3, exchange{method: "GET", url: testTG, token: stolen})
	expectProblem(t, resp, body, 404, "about:blank")
}

// TestTokenEndpoint refuses what is no proof of who asks.
func TestTokenEndpoint(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	once := uuid.NewString()
	tests := []struct {
		name      string
		assertion string
		resource  string
		ok        bool
	}{
		{"good", assertion(t, r.key, testClient, once, nil), testTG, true},
		{"replayed", assertion(t, r.key, testClient, once, nil), testTG, false},
		{"another's key", assertion(t, r.other, testClient, uuid.NewString(), nil), testTG, false},
		{"unknown client", assertion(t, r.key, "nobody", uuid.NewString(), nil), testTG, false},
		{"for another server", assertion(t, r.key, testClient, uuid.NewString(), func(c *jwt.Claims) { c.Audience = jwt.Audience{"https://other.test"} }), testTG, false},
		{"expired", assertion(t, r.key, testClient, uuid.NewString(), func(c *jwt.Claims) { c.Expiry = jwt.NewNumericDate(time.Now().Add(-time.Minute)) }), testTG, false},
		{"lives too long", assertion(t, r.key, testClient, uuid.NewString(), func(c *jwt.Claims) { c.Expiry = jwt.NewNumericDate(time.Now().Add(time.Hour)) }), testTG, false},
		{"without jti", assertion(t, r.key, testClient, "", nil), testTG, false},
		{"another's TG", assertion(t, r.key, testClient, uuid.NewString(), nil), "https://ript.test/ript/v1/tgs/elsewhere", false},
		{"no TG", assertion(t, r.key, testClient, uuid.NewString(), nil), "", false},
		{"rubbish", "x.y.z", testTG, false},
	}
	for _, tc := range tests { // in order: one replays another
		status, out := r.askToken(tokenForm(tc.assertion, tc.resource, scopeCall))
		if ok := status == 200 && out["access_token"] != nil; ok != tc.ok {
			t.Errorf("%s: %d %v", tc.name, status, out)
		}
	}
	resp, _ := r.do(r.h3, exchange{method: "POST", url: "https://ript.test/oauth/token", body: strings.Repeat("x", maxTokenRequest+1),
		header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}})
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a request past the limit: %d", resp.StatusCode)
	}
}

// FuzzTokens: whatever comes as a token is refused with a token cause.
func FuzzTokens(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("Bearer eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJpc3MiOiJ4In0.AAAA")
	f.Add("bearer  ..")
	f.Add("Basic eDp5")
	f.Fuzz(func(t *testing.T, field string) {
		c := newTokenChecker("https://ript.test", &key.PublicKey, time.Now)
		_, err := c.check(t.Context(), http.Header{"Authorization": {field}}, testTG)
		if code := bridge.CauseOf(err).Code; err == nil || !strings.HasPrefix(string(code), "token-") {
			t.Errorf("%q: %v", field, err)
		}
		if token := strings.TrimSpace(strings.TrimPrefix(field, "Bearer")); len(token) > 20 && strings.Contains(err.Error(), token) {
			t.Errorf("the token is repeated: %v", err)
		}
	})
}
