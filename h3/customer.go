package h3

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"riptide/bridge"
	"riptide/bridge/store"
)

// CustomerTG is where a client wants its own calls: the body of a registration
// (core draft, "Consumer TG Registration"). It is the description of a TG of the
// client's, and how to be let in there.
type CustomerTG struct {
	URI        string   `json:"uri"` // of the customer's TG
	Name       string   `json:"name,omitempty"`
	Outbound   Outbound `json:"outbound"`             // destinations required, no origins
	ProviderTG string   `json:"providertg,omitempty"` // URI of the TG it goes with; default the client's first

	// Token is the bearer token for calls there. It is written and never read
	// back. Without one we ask the customer's authorisation server.
	Token        string    `json:"token,omitempty"`
	TokenExpires time.Time `json:"tokenExpires,omitzero"` // default in 90 days, which is also the limit
}

// Limits of a registration.
const (
	maxTokenLife     = 90 * 24 * time.Hour
	tokenLifeSlack   = time.Hour // of clocks
	minCustomerToken = 32        // characters
)

// check judges a registration as far as that needs no knowledge of the others.
// It fills in the token's end.
func (c *CustomerTG) check(provider TGConfig, oauth bool, now time.Time) error {
	bad := func(format string, args ...any) error { return bridge.CauseBadRequest.With(format, args...) }
	u, err := parseURI(c.URI)
	switch {
	case err != nil || u.RawQuery != "":
		return bad("uri: want the absolute https URI of a TG")
	case isAddress(u.Hostname()) || !strings.ContainsAny(u.Hostname(), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"):
		return bad("uri: want a DNS name, not an address")
	case !hostAllowed(provider.Hosts, u.Hostname()):
		return bridge.CauseForbidden.With("uri: the host is not among those that this client may register")
	case c.Outbound.Origins != "":
		return bad("outbound.origins: a customer TG has none")
	case c.Outbound.Destinations == nil || c.Outbound.Destinations.Empty():
		return bad("outbound.destinations is missing: name the numbers that you want calls for")
	case !c.Outbound.Destinations.Within(provider.Origins):
		return bridge.CauseDestination.With("outbound.destinations go beyond the numbers that are yours here: the origins of the provider's TG")
	case c.Token == "" && !oauth:
		return bad("token is missing, and this server has no key to log in at yours with")
	case c.Token != "" && !bearerToken(c.Token):
		return bad("token: want %d to %d characters of a bearer token (RFC 6750 section 2.1)", minCustomerToken, maxToken)
	}
	return c.checkExpiry(now)
}

// checkExpiry holds the token to its longest life, whoever says when it ends.
func (c *CustomerTG) checkExpiry(now time.Time) error {
	if c.Token == "" {
		c.TokenExpires = time.Time{}
		return nil
	}
	latest := now.Add(maxTokenLife + tokenLifeSlack)
	exp, aud, isJWT := jwtLimits(c.Token)
	if isJWT && len(aud) > 0 && !slices.Contains(aud, c.URI) {
		return bridge.CauseBadRequest.With("token: its aud is not the uri")
	}
	if c.TokenExpires.IsZero() {
		c.TokenExpires = now.Add(maxTokenLife).UTC().Truncate(time.Second)
	}
	if isJWT && !exp.IsZero() && exp.Before(c.TokenExpires) {
		c.TokenExpires = exp
	}
	if c.TokenExpires.After(latest) || isJWT && exp.After(latest) {
		return bridge.CauseBadRequest.With("token: it lives longer than 90 days")
	}
	if !now.Before(c.TokenExpires) {
		return bridge.CauseBadRequest.With("token: it has expired")
	}
	return nil
}

// bearerToken tells a b64token (RFC 6750 section 2.1) that is long enough not
// to be guessed.
func bearerToken(s string) bool {
	body := strings.TrimRight(s, "=")
	ok := !strings.ContainsFunc(body, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~+/", r)
	})
	return ok && len(body) >= minCustomerToken && len(s) <= maxToken
}

// jwtLimits reads what a token says of itself, if it is a JWT. Who checks its
// signature is the customer.
func jwtLimits(token string) (exp time.Time, aud []string, ok bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}, nil, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}, nil, false
	}
	var claims struct {
		Expiry   float64         `json:"exp"`
		Audience json.RawMessage `json:"aud"`
	}
	if json.Unmarshal(raw, &claims) != nil {
		return time.Time{}, nil, false
	}
	if claims.Expiry > 0 {
		exp = time.Unix(int64(min(claims.Expiry, 1<<40)), 0).UTC()
	}
	var one string
	if json.Unmarshal(claims.Audience, &one) == nil {
		return exp, []string{one}, true
	}
	_ = json.Unmarshal(claims.Audience, &aud) // one of another form names nobody
	return exp, aud, true
}

// hostAllowed tells whether a host is on a list of names, of which "*.example"
// stands for what is below it. An empty list has them all.
func hostAllowed(list []string, host string) bool {
	return len(list) == 0 || slices.ContainsFunc(list, func(name string) bool {
		below, wild := strings.CutPrefix(name, "*")
		if wild {
			return len(host) > len(below) && strings.HasSuffix(strings.ToLower(host), strings.ToLower(below))
		}
		return strings.EqualFold(name, host)
	})
}

// customers are the TGs that clients have registered, one for each TG of ours.
type customers struct {
	store store.Store
	seal  sealer
}

// customer is a registration as it is stored. The token is sealed: a copy of the
// state directory opens nobody's TG.
type customer struct {
	Version int        `json:"v"`
	Client  string     `json:"client"`
	TG      string     `json:"tg"` // name of ours
	Doc     CustomerTG `json:"doc"`
	Sealed  []byte     `json:"sealed,omitempty"`

	revision uint64
}

const customerVersion = 1

// customerKeys is the prefix of their keys in the store.
const customerKeys = "customer/"

func customerKey(tg string) string { return customerKeys + hex.EncodeToString([]byte(tg)) }

// tgOfKey is the TG that a change in the store is about.
func tgOfKey(key string) (tg string, ok bool) {
	name, ok := strings.CutPrefix(key, customerKeys)
	raw, err := hex.DecodeString(name)
	return string(raw), ok && err == nil
}

// get finds the registration for one of our TGs; store.ErrNotFound if there is
// none. One that cannot be read is none: its client finds that out and
// registers anew.
func (cs *customers) get(ctx context.Context, tg string) (*customer, error) {
	entry, err := cs.store.Get(ctx, store.Peers, customerKey(tg))
	if err != nil {
		return nil, err
	}
	c := &customer{revision: entry.Revision}
	if json.Unmarshal(entry.Value, c) != nil || c.Version != customerVersion {
		return nil, store.ErrNotFound
	}
	if len(c.Sealed) > 0 {
		token, err := cs.seal.open(c.Sealed, c.Doc.URI)
		if err != nil {
			return nil, store.ErrNotFound // under another TLS key
		}
		c.Doc.Token = string(token)
	}
	return c, nil
}

// put stores a registration; revision is that of the one it takes the place of,
// 0 takes any.
func (cs *customers) put(ctx context.Context, c *customer, revision uint64) error {
	out := *c
	out.Version = customerVersion
	if token := out.Doc.Token; token != "" {
		sealed, err := cs.seal.seal([]byte(token), out.Doc.URI)
		if err != nil {
			return fmt.Errorf("seal the token: %w", err)
		}
		out.Doc.Token, out.Sealed = "", sealed
	}
	value, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("encode customer TG: %w", err)
	}
	if revision == 0 {
		c.revision, err = cs.store.Put(ctx, store.Peers, customerKey(c.TG), value)
	} else {
		c.revision, err = cs.store.Update(ctx, store.Peers, customerKey(c.TG), value, revision)
	}
	return err
}

func (cs *customers) delete(ctx context.Context, tg string) error {
	return cs.store.Delete(ctx, store.Peers, customerKey(tg))
}

// holder tells which of our TGs a customer TG is registered for, "" for none.
func (cs *customers) holder(ctx context.Context, uri string) (string, error) {
	keys, err := cs.store.Keys(ctx, store.Peers)
	if err != nil {
		return "", err
	}
	for _, key := range keys {
		tg, ok := tgOfKey(key)
		if !ok {
			continue
		}
		c, err := cs.get(ctx, tg)
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return "", err
		case c.Doc.URI == uri:
			return tg, nil
		}
	}
	return "", nil
}

func (c *customer) etag() string { return `"` + strconv.FormatUint(c.revision, 10) + `"` }

// shown is the registration as the client sees it.
func (c *customer) shown() CustomerTG {
	doc := c.Doc
	doc.Token = ""
	return doc
}

// origin is the authority of a URI.
func origin(u *url.URL) *url.URL { return &url.URL{Scheme: u.Scheme, Host: u.Host} }
