package h3

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"riptide/bridge"
	"riptide/bridge/store"
	"riptide/policy"
	"riptide/policy/stir"
)

// A trunk with Inbound registers our own TG of its name at the peer, so that
// the peer knows where to call us and is let in there. What it takes besides
// the peer's name is made here: the token, and the trust in the peer's CA.

// registered is what we know of our registration at a peer, as it stands in the
// store. The token is not in it: we need only know that it is good there.
type registered struct {
	Version  int       `json:"v"`
	Provider string    `json:"provider"` // URI of the peer's TG
	URI      string    `json:"uri"`      // of ours
	Location string    `json:"location"` // of the registration
	Renew    time.Time `json:"renew"`    // when the token is due to be replaced
	Numbers  []string  `json:"numbers"`  // the destinations that were registered
}

const (
	registeredVersion = 1
	registeredKeys    = "registered/"
)

// Pauses of registering: between looking whether the registration is still
// there, and after a refusal, which is not likely to change soon.
const (
	inboundPeriod  = 5 * time.Minute
	inboundRefused = 10 * time.Minute
)

// keepInbound does what is due for the registration and returns when to look
// again. What goes wrong is told, and does not keep our own calls from going
// out.
func (t *trunk) keepInbound(ctx context.Context, k known) time.Time {
	now := t.client.cfg.Now()
	if !t.cfg.Inbound || now.Before(t.inboundDue) {
		return t.inboundDue
	}
	t.trustPeer(k)
	err := t.renewInbound(ctx, k)
	if ctx.Err() != nil {
		return time.Time{}
	}
	t.mu.Lock()
	before, told := t.inboundErr, t.registration
	t.inboundErr, t.registration = err, ""
	if err == nil {
		t.registration = t.inbound.Location
	}
	t.mu.Unlock()
	log := t.client.cfg.Logger.With("trunk", t.cfg.Name)
	switch {
	case err == nil:
		t.inboundFailures = 0
		t.inboundDue = now.Add(inboundPeriod)
		if told != t.inbound.Location {
			log.Info("the peer knows where to call us", "registration", t.inbound.Location)
		}
		return t.inboundDue
	case before == nil || before.Error() != err.Error():
		log.Warn("the peer is not told where to call us", "err", err, "hint", "ript.inbound: no on the trunk ends this, if the peer has another way")
	}
	t.inboundFailures++
	wait := max(TG{}.backoff(t.inboundFailures), bridge.CauseOf(err).RetryAfter)
	var e *requestError
	if errors.As(err, &e) && e.Status >= 400 && e.Status < 500 && e.Status != http.StatusTooManyRequests {
		wait = inboundRefused
	}
	t.inboundDue = now.Add(jittered(wait))
	return t.inboundDue
}

// renewInbound confirms the registration, or makes it anew.
func (t *trunk) renewInbound(ctx context.Context, k known) error {
	ours := t.client.cfg.Server.ours(t.cfg.Name)
	if t.inbound == nil {
		var err error
		if t.inbound, err = t.loadInbound(ctx); err != nil {
			return err
		}
	}
	r := t.inbound
	fits := r != nil && r.Provider == k.tg.String() && r.URI == ours.uri && equalNumbers(r.Numbers, ours.cfg.Destinations)
	if fits && t.client.cfg.Now().Before(r.Renew) {
		there, err := t.confirmInbound(ctx, k, r)
		if there || err != nil {
			return err
		}
	}
	return t.registerInbound(ctx, k, ours)
}

// confirmInbound asks the peer whether it still has the registration, and that
// of this very TG.
func (t *trunk) confirmInbound(ctx context.Context, k known, r *registered) (bool, error) {
	rep, err := t.Do(ctx, request{Method: http.MethodGet, URL: r.Location, Resource: k.root.String()})
	if gone(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at the registration of our TG: %w", err)
	}
	doc, err := decode[CustomerTG](t.cfg.Name, "registration", r.Location, rep.Body)
	return err == nil && doc.URI == r.URI, err
}

// registerInbound registers our TG with a fresh token. The one before stays
// good for a while: calls are under way with it.
func (t *trunk) registerInbound(ctx context.Context, k known, ours *terminalGroup) error {
	s := t.client.cfg.Server
	token, expires, err := s.grants.mint(ctx, ours.cfg.Name)
	if err != nil {
		return fmt.Errorf("make a token for the peer: %w", err)
	}
	body, err := json.Marshal(CustomerTG{
		URI: ours.uri, Name: ours.cfg.Name, Outbound: Outbound{Destinations: &ours.cfg.Destinations},
		ProviderTG: k.tg.String(), Token: token, TokenExpires: expires,
	})
	if err != nil {
		return err
	}
	at := k.root.JoinPath(pathCustomerTGs)
	rep, err := t.Do(ctx, request{Method: http.MethodPost, URL: at.String(), Resource: k.root.String(), Body: body, ContentType: mediaJSON})
	if err != nil {
		_ = s.grants.shorten(ctx, grantKey(token), ours.cfg.Name, t.client.cfg.Now()) // it lives on for 90 days if this fails, unknown to anybody
		return fmt.Errorf("register our TG: %w", err)
	}
	loc, err := registrationAt(at, rep, k.root)
	if err != nil {
		return bridge.CausePeerError.With("trunk %q: POST %s: %v", t.cfg.Name, at, err)
	}
	r := &registered{
		Version: registeredVersion, Provider: k.tg.String(), URI: ours.uri, Location: loc.String(),
		Renew: t.client.cfg.Now().Add(expires.Sub(t.client.cfg.Now()) * 2 / 3), Numbers: patternsOf(ours.cfg.Destinations),
	}
	value, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err := t.client.cfg.Store.Put(ctx, store.Peers, t.inboundKey(), value); err != nil {
		return bridge.CauseStore.With("trunk %q: keep the registration: %v", t.cfg.Name, err)
	}
	t.inbound = r
	return s.grants.retire(ctx, ours.cfg.Name, token)
}

// registrationAt is where the peer keeps the registration.
func registrationAt(at *url.URL, rep reply, root *url.URL) (*url.URL, error) {
	loc := rep.Header.Get("Location")
	if loc == "" {
		return nil, fmt.Errorf("%d without Location", rep.Status)
	}
	u, err := at.Parse(loc)
	if err != nil {
		return nil, fmt.Errorf("Location %q: %w", clip(loc, 200), err)
	}
	return sameSite(u.String(), root)
}

func (t *trunk) inboundKey() string { return registeredKeys + hex.EncodeToString([]byte(t.cfg.Name)) }

// loadInbound reads the registration of an earlier run. One that cannot be used
// is none.
func (t *trunk) loadInbound(ctx context.Context) (*registered, error) {
	entry, err := t.client.cfg.Store.Get(ctx, store.Peers, t.inboundKey())
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, bridge.CauseStore.With("trunk %q: read the registration: %v", t.cfg.Name, err)
	}
	r := &registered{}
	if json.Unmarshal(entry.Value, r) != nil || r.Version != registeredVersion {
		return nil, nil
	}
	return r, nil
}

func patternsOf(n policy.NumberSet) (out []string) {
	for _, p := range n.Allow {
		out = append(out, string(p))
	}
	for _, p := range n.Except {
		out = append(out, "!"+string(p))
	}
	return out
}

func equalNumbers(list []string, n policy.NumberSet) bool {
	return fmt.Sprint(list) == fmt.Sprint(patternsOf(n))
}

// trustPeer lets the CA that the peer's TG document names vouch for the callers
// of the peer's calls to us, and of no others: who connects to a provider has it
// deliver the world's calls. Where the configuration says whom to believe
// (accept), only those are.
func (t *trunk) trustPeer(k known) {
	ours := t.client.cfg.Server.ours(t.cfg.Name)
	if !ours.cfg.Customer || k.doc.Outbound.Origins == t.trusted {
		return // a verifier remembers the PASSporTs that it has seen: it must stay
	}
	t.trusted = k.doc.Outbound.Origins
	main := t.client.cfg.Server.cfg.Verifier
	chain, err := stir.ParseChain([]byte(k.doc.Outbound.Origins))
	if err != nil {
		return // it is no authenticator: callers come with PASSporTs of others
	}
	roots := x509.NewCertPool()
	if main.Roots != nil {
		roots = main.Roots.Clone() // PASSporTs that the provider relays
	}
	for _, c := range chain {
		if c.IsCA {
			roots.AddCert(c)
		}
	}
	ours.peer.Store(&stir.Verifier{Trust: stir.Trust{Roots: roots, Providers: main.Providers}, Chain: main.Chain, MaxAge: main.MaxAge})
}
