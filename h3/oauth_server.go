package h3

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/luikyv/go-oidc/pkg/goidc"
	"github.com/luikyv/go-oidc/pkg/provider"

	"riptide/bridge/store"
)

// The embedded authorisation server: client credentials with private_key_jwt
// (RFC 7523), resource indicators (RFC 8707), access tokens of RFC 9068. It is
// one peer's key against one TG; people and browsers come later.

const (
	pathOAuth = "/oauth"
	pathToken = pathOAuth + "/token"
	pathJWKS  = pathOAuth + "/jwks"

	// tokenLifetime is short, because nothing can revoke a token that the
	// resource server checks by itself.
	tokenLifetime = 5 * time.Minute

	// assertionLifetime bounds the client assertions, and with it how long
	// their identifiers must be remembered.
	assertionLifetime = 2 * time.Minute

	maxTokenRequest = 16 << 10
)

// tokenIssuer is the authorisation server on our own tree: what the rest of the
// package knows of the library behind it.
type tokenIssuer struct {
	token    http.HandlerFunc // pathToken
	jwks     http.HandlerFunc // pathJWKS
	metadata []byte
}

// OAuthClient is a peer that may ask for tokens.
type OAuthClient struct {
	ID   string
	Keys jose.JSONWebKeySet // public, ES256
}

// newTokenIssuer builds the server for one issuer. resources says which token
// audiences a client may ask for.
func newTokenIssuer(issuer string, key *ecdsa.PrivateKey, clients []OAuthClient, resources map[string][]string, nonces store.Store) (*tokenIssuer, error) {
	signing := goidc.JSONWebKey{Key: key, KeyID: keyID(key), Algorithm: string(goidc.ES256), Use: "sig"}
	opts := []provider.Option{
		provider.WithPathPrefix(pathOAuth),
		provider.WithTokenEndpoint("/token"),
		provider.WithJWKSEndpoint("/jwks"),
		provider.WithClientCredentialsGrant(),
		provider.WithScopes(goidc.NewScope(scopeCall)),
		provider.WithIDTokenSignatureAlgs(goidc.ES256),
		provider.WithTokenAuthnMethods(goidc.AuthnMethodPrivateKeyJWT),
		provider.WithPrivateKeyJWTSignatureAlgs(goidc.ES256),
		provider.WithJWTLifetime(int(assertionLifetime.Seconds())),
		provider.WithJWTLeewayTime(5),
		provider.WithTokenOptions(func(context.Context, *goidc.Grant, *goidc.Client) goidc.TokenOptions {
			return goidc.NewJWTTokenOptions(goidc.ES256, int(tokenLifetime.Seconds()))
		}),
		provider.WithConsumeJTIFunc(func(ctx context.Context, jti string) error { return consumeJTI(ctx, nonces, jti) }),
		provider.WithHandleGrantFunc(func(_ context.Context, g *goidc.Grant) error { return checkGrant(g, resources) }),
		// The default prints errors; who asked for a token is told in the response.
		provider.WithHandleErrorFunc(func(context.Context, error) {}),
	}
	if all := slices.Concat(slices.Collect(mapValues(resources))...); len(all) > 0 {
		opts = append(opts, provider.WithResourceIndicatorsRequired(all[0], all[1:]...))
	}
	if static := staticClients(clients); len(static) > 0 {
		opts = append(opts, provider.WithStaticClients(static[0], static[1:]...))
	}
	jwks := func(context.Context) (goidc.JSONWebKeySet, error) {
		return goidc.JSONWebKeySet{Keys: []goidc.JSONWebKey{signing}}, nil
	}
	op, err := provider.New(issuer, forgetful{}, jwks, opts...)
	if err != nil {
		return nil, fmt.Errorf("make the authorisation server of %s: %w", issuer, err)
	}
	meta, err := json.Marshal(asMetadata{
		Issuer:            issuer,
		TokenEndpoint:     issuer + pathToken,
		JWKSURI:           issuer + pathJWKS,
		GrantTypes:        []string{"client_credentials"},
		AuthMethods:       []string{"private_key_jwt"},
		AuthSigningAlgs:   []string{"ES256"},
		ResponseTypes:     []string{},
		Scopes:            []string{scopeCall},
		ResourceIndicator: true,
	})
	if err != nil {
		return nil, fmt.Errorf("encode the metadata of %s: %w", issuer, err)
	}
	serve := op.Handler().ServeHTTP
	return &tokenIssuer{token: limitBody(serve, maxTokenRequest), jwks: serve, metadata: meta}, nil
}

// asMetadata is the part of RFC 8414 metadata that a RIPT client needs.
type asMetadata struct {
	Issuer            string   `json:"issuer"`
	TokenEndpoint     string   `json:"token_endpoint"`
	JWKSURI           string   `json:"jwks_uri,omitempty"`
	GrantTypes        []string `json:"grant_types_supported,omitempty"`
	AuthMethods       []string `json:"token_endpoint_auth_methods_supported,omitempty"`
	AuthSigningAlgs   []string `json:"token_endpoint_auth_signing_alg_values_supported,omitempty"`
	ResponseTypes     []string `json:"response_types_supported"`
	Scopes            []string `json:"scopes_supported,omitempty"`
	ResourceIndicator bool     `json:"resource_indicators_supported,omitempty"`
}

func staticClients(clients []OAuthClient) []*goidc.Client {
	var out []*goidc.Client
	for _, c := range clients {
		keys := goidc.JSONWebKeySet{Keys: c.Keys.Keys}
		out = append(out, &goidc.Client{ID: c.ID, ClientMeta: goidc.ClientMeta{
			GrantTypes:       []goidc.GrantType{goidc.GrantClientCredentials},
			TokenAuthnMethod: goidc.AuthnMethodPrivateKeyJWT,
			TokenAuthnSigAlg: goidc.ES256,
			ScopeIDs:         scopeCall,
			JWKS:             &keys,
		}})
	}
	return out
}

// checkGrant refuses tokens for another client's TG. The resource server would
// refuse them too; this tells the client where the mistake is.
func checkGrant(g *goidc.Grant, resources map[string][]string) error {
	if len(g.Resources) == 0 {
		return goidc.NewError(goidc.ErrorCodeInvalidTarget, "the resource parameter is missing: name the TG")
	}
	for _, r := range g.Resources {
		if !slices.Contains(resources[g.ClientID], r) {
			return goidc.NewError(goidc.ErrorCodeInvalidTarget, "the resource is not one of this client's TGs")
		}
	}
	return nil
}

var errAssertionReplayed = errors.New("the assertion was used before")

// consumeJTI remembers an assertion for longer than it can live.
func consumeJTI(ctx context.Context, nonces store.Store, jti string) error {
	sum := sha256.Sum256([]byte(jti))
	_, err := nonces.Create(ctx, store.Nonces, "jti/"+hex.EncodeToString(sum[:]), nil, 2*assertionLifetime)
	switch {
	case errors.Is(err, store.ErrExists):
		return errAssertionReplayed
	case err != nil:
		return fmt.Errorf("remember the assertion: %w", err)
	}
	return nil
}

// forgetful is a grant manager that keeps nothing: our tokens carry all there
// is to know, and nobody refreshes or introspects them.
type forgetful struct{}

func (forgetful) SaveGrant(context.Context, *goidc.Grant) error { return nil }
func (forgetful) SaveToken(context.Context, *goidc.Token) error { return nil }
func (forgetful) Grant(context.Context, string) (*goidc.Grant, error) {
	return nil, goidc.ErrNotFound
}
func (forgetful) Token(context.Context, string) (*goidc.Token, error) {
	return nil, goidc.ErrNotFound
}

// keyID is the RFC 7638 thumbprint of the public half.
func keyID(key *ecdsa.PrivateKey) string {
	jwk := jose.JSONWebKey{Key: &key.PublicKey}
	sum, err := jwk.Thumbprint(cryptoSHA256)
	if err != nil {
		return "" // cannot happen for an ECDSA key
	}
	return hex.EncodeToString(sum[:8])
}
