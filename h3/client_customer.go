package h3

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"riptide/bridge"
	"riptide/bridge/store"
	"riptide/policy"
	"riptide/policy/stir"
)

// A trunk without an address of its own leads to a customer: calls go to the TG
// that the peer has registered at our server, with the token that it gave us or
// one of its authorisation server's. Its callers are vouched for by our own CA,
// whose certificate the customer has from the TG document of ours.

// errUnregistered is wrapped while the peer has not registered a TG.
var errUnregistered = errors.New("the peer has not registered a TG here")

// ours is the server's TG of a trunk, nil if there is none.
func (s *Server) ours(trunk string) *terminalGroup {
	for _, cfg := range s.cfg.TGs {
		if cfg.Trunk == trunk {
			return s.tgs[cfg.Name]
		}
	}
	return nil
}

// toCustomer tells a trunk whose address the peer registers.
func (t *trunk) toCustomer() bool { return t.cfg.Connect == "" }

// watchPeers wakes the trunks of customers when their registrations change, at
// this node or another. It runs until ctx ends.
func (c *Client) watchPeers(ctx context.Context) {
	for ctx.Err() == nil {
		changes, err := c.cfg.Store.Watch(ctx, store.Peers)
		if err != nil {
			c.cfg.Logger.Warn("registrations of customers are not watched", "err", err)
			pause(ctx, maxBackoff)
			continue
		}
		for entry := range changes {
			tg, ok := tgOfKey(entry.Key)
			if !ok {
				continue
			}
			group := c.cfg.Server.tgs[tg]
			if group == nil {
				continue
			}
			if t := c.trunks[group.cfg.Trunk]; t != nil && t.toCustomer() {
				t.wake()
			}
		}
		pause(ctx, minBackoff)
	}
}

// findCustomer brings what is known of the trunk's TG up to date with the
// peer's registration.
func (t *trunk) findCustomer(ctx context.Context, k *known) error {
	group := t.client.cfg.Server.ours(t.cfg.Name)
	reg, err := t.client.cfg.Server.customers.get(ctx, group.cfg.Name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		t.tokens.Give("", time.Time{})
		t.learn(func(n *known) { *n = known{} })
		return fmt.Errorf("trunk %q: %w: it does so when it connects to %s (%w)", t.cfg.Name, errUnregistered, group.uri, bridge.CauseUnreachable)
	case err != nil:
		return bridge.CauseStore.With("trunk %q: read the customer's registration: %v", t.cfg.Name, err)
	case reg.Doc.Token == "" && t.cfg.Key.key == nil:
		return bridge.CauseUnreachable.With("trunk %q: the peer has registered %s without a token, and there is no client key to get one with", t.cfg.Name, reg.Doc.URI)
	}
	if reg.Doc.Token != "" && !t.client.cfg.Now().Before(reg.Doc.TokenExpires) {
		return bridge.CauseUnreachable.With("trunk %q: the token that the peer registered has expired on %s, and it has sent no other", t.cfg.Name, reg.Doc.TokenExpires.Format(time.DateOnly))
	}
	t.tokens.Give(reg.Doc.Token, reg.Doc.TokenExpires)
	uri, err := parseURI(reg.Doc.URI)
	if err != nil {
		return bridge.CausePeerError.With("trunk %q: registered TG: %v", t.cfg.Name, err)
	}
	if k.tg != nil && *k.tg == *uri && k.revision == reg.revision {
		return nil
	}
	fresh := known{tg: uri, revision: reg.revision, destinations: reg.Doc.Outbound.Destinations, identity: k.identity}
	if k.tg != nil && *k.tg == *uri { // another token, perhaps: the rest holds
		fresh.doc, fresh.docDue, fresh.handlers = k.doc, time.Time{}, k.handlers
	}
	*k = fresh
	t.learn(func(n *known) { *n = fresh })
	t.mu.Lock()
	t.asDue = time.Time{}
	t.mu.Unlock()
	return nil
}

// certify makes the identity with which we vouch for callers to a customer.
func (t *trunk) certify(ctx context.Context) (*identity, error) {
	s := t.client.cfg.Server
	if s.cfg.CA == nil {
		return nil, bridge.CauseInternal.With("trunk %q: there is no CA to certify its numbers: key identity.ca", t.cfg.Name)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	csr, err := stir.NewCSR(key, t.cfg.Numbers)
	if err != nil {
		return nil, fmt.Errorf("trunk %q: %w", t.cfg.Name, err)
	}
	chain, x5u, err := s.issue(ctx, csr, policy.NumberSet{Allow: t.cfg.Numbers})
	if err != nil {
		return nil, fmt.Errorf("trunk %q: certify its numbers %v: %w", t.cfg.Name, t.cfg.Numbers, err)
	}
	return newIdentity(key, stir.EncodeChain(chain), x5u)
}

// publicOnly refuses to resolve the host of a registration into our own network,
// unless the operator has named it: who registers could otherwise have us knock
// at the doors behind it (SSRF).
func publicOnly(resolve func(context.Context, string) ([]netip.Addr, error), hosts []string) func(context.Context, string) ([]netip.Addr, error) {
	if resolve == nil {
		resolve = resolveHost
	}
	return func(ctx context.Context, host string) ([]netip.Addr, error) {
		addrs, err := resolve(ctx, host)
		if err != nil || len(hosts) > 0 && hostAllowed(hosts, host) {
			return addrs, err
		}
		var out []netip.Addr
		for _, a := range addrs {
			if isPublic(a.Unmap()) {
				out = append(out, a)
			}
		}
		if len(out) == 0 {
			return nil, fmt.Errorf("%w: %s; if that is meant, name the host under the trunk's accept.hosts", errForbiddenAddress, host)
		}
		return out, nil
	}
}
