package conform

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"
)

// authServer is the part of RFC 8414 metadata that a client needs.
type authServer struct {
	Issuer        string   `json:"issuer"`
	TokenEndpoint string   `json:"token_endpoint"`
	AuthMethods   []string `json:"token_endpoint_auth_methods_supported"`

	at   *url.URL
	hops int
}

// authorisation is where the well-known service ript-oauth leads.
func (p *Probe) authorisation(ctx context.Context) (authServer, error) {
	return p.as.get(func() (authServer, error) {
		var a authServer
		at := p.base.JoinPath(wellKnownOAuth)
		r, end, hops, err := p.follow(ctx, at, "")
		if err == nil {
			err = r.is(http.StatusOK)
		}
		if err == nil {
			err = r.decode(&a)
		}
		if err != nil {
			return a, fmt.Errorf("GET %s: %w", at, err)
		}
		if _, err := absolute(a.TokenEndpoint); err != nil {
			return a, fmt.Errorf("metadata at %s: token_endpoint %w", end, err)
		}
		a.at, a.hops = end, hops
		return a, nil
	})
}

// token is an access token for a resource, got once.
func (p *Probe) token(ctx context.Context, resource string) (string, error) {
	if p.opt.Token != "" {
		return p.opt.Token, nil
	}
	v, _ := p.tokens.LoadOrStore(resource, &once[string]{})
	return v.(*once[string]).get(func() (string, error) { return p.newToken(ctx, resource, uuid.NewString()) })
}

// newToken asks for a token by private_key_jwt (RFC 7523) for one resource (RFC
// 8707).
func (p *Probe) newToken(ctx context.Context, resource, jti string) (string, error) {
	r, err := p.askToken(ctx, resource, jti)
	if err != nil {
		return "", err
	}
	var t struct {
		Token string `json:"access_token"`
	}
	if err := r.is(http.StatusOK); err != nil {
		var oauth struct{ Error, Description string }
		_ = json.Unmarshal(r.body, &oauth) // the status is what counts
		return "", fmt.Errorf("token for %s: %w %s", resource, err, clip(oauth.Error, 80))
	}
	if err := json.Unmarshal(r.body, &t); err != nil || t.Token == "" {
		return "", fmt.Errorf("token for %s: the 200 holds no access_token", resource)
	}
	return t.Token, nil
}

func (p *Probe) askToken(ctx context.Context, resource, jti string) (reply, error) {
	as, err := p.authorisation(ctx)
	if err != nil {
		return reply{}, err
	}
	assertion, err := p.assertion(as, jti)
	if err != nil {
		return reply{}, err
	}
	return p.do(ctx, request{
		method: http.MethodPost, url: as.TokenEndpoint, kind: "application/x-www-form-urlencoded",
		body: []byte(url.Values{
			"grant_type": {"client_credentials"}, "client_id": {p.opt.ClientID}, "resource": {resource}, "scope": {"ript.call"},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {assertion},
		}.Encode()),
	})
}

func (p *Probe) assertion(as authServer, jti string) (string, error) {
	if p.opt.Key == nil {
		return "", skip("there is no client key: a token was given")
	}
	public := jose.JSONWebKey{Key: p.opt.Key.Public()}
	sum, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("client key: %w", err)
	}
	key := jose.JSONWebKey{Key: p.opt.Key, KeyID: base64.RawURLEncoding.EncodeToString(sum)}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		return "", fmt.Errorf("client key: %w", err)
	}
	now := time.Now()
	return jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: p.opt.ClientID, Subject: p.opt.ClientID, Audience: jwt.Audience{as.Issuer}, ID: jti,
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(time.Minute)),
	}).Serialize()
}
