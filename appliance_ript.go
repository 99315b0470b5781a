package main

import (
	"context"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/go-jose/go-jose/v4"

	"riptide/configs"
	"riptide/h3"
	"riptide/policy"
	"riptide/policy/stir"
)

func (a *appliance) makeClient(cfg *configs.Config, logger *slog.Logger) error {
	var trunks []h3.TrunkConfig
	var key h3.ClientKey
	if private := cfg.RIPT.ClientKey.Reveal(); private != nil {
		var err error
		if key, err = h3.NewClientKey(private, ""); err != nil {
			return fmt.Errorf("%w (key ript.key)", err)
		}
	}
	for _, t := range cfg.Trunks {
		if t.RIPT == nil {
			continue
		}
		trunk := h3.TrunkConfig{
			Name: t.Name, Codecs: codecsOf(t), Connect: t.RIPT.Connect, Inbound: t.RIPT.Inbound == "true", ClientID: t.RIPT.Client, Key: key,
			Roots: t.RIPT.RootCAs.Pool, Numbers: t.RIPT.Numbers, Media: t.RIPT.Media, Silence: t.RIPT.Silence,
			Facts: factPolicy(t.Facts), Keys: t.RIPT.Keys.Reveal(),
		}
		if t.RIPT.Accept != nil {
			trunk.Hosts = t.RIPT.Accept.Hosts
		}
		trunks = append(trunks, trunk)
	}
	var err error
	a.client, err = h3.NewClient(h3.ClientConfig{Trunks: trunks, Store: a.store, Logger: logger, HandlerID: cfg.Node, Server: a.server, OnPhase: a.admin.Took})
	return err
}

// makeServer makes the RIPT server, if one is configured.
func (a *appliance) makeServer(ctx context.Context, cfg *configs.Config, verifier *stir.Verifier, logger *slog.Logger) error {
	if !cfg.RIPT.Listen.IsValid() {
		return nil
	}
	sc := h3.ServerConfig{
		Sockets: a.sockets.With(net.ListenConfig{}),
		Listen:  cfg.RIPT.Listen.String(), Authority: cfg.RIPT.Authority, Certificate: *cfg.RIPT.TLS.Pair.Reveal(),
		Renewed:  cfg.RIPT.Renewed(func(err error) { logger.Warn("the old certificate is shown on", "error", err) }),
		TokenKey: cfg.RIPT.TokenKey.Reveal(),
		Acceptor: a.admin.Count(a.bridge), OnRefuse: a.admin.Refused("ript"), Verifier: verifier, Store: a.store, Log: logger,
		CustomerOAuth: cfg.RIPT.ClientKey.Reveal() != nil,
		Limits:        h3.ServerLimits{Calls: cfg.Limits.Calls},
		Claim:         a.claim(),
	}
	if cfg.Identity.CA != nil {
		pair := cfg.Identity.CA.Pair.Reveal()
		key, ok := pair.PrivateKey.(crypto.Signer)
		if !ok {
			return errors.New("caller identity CA: its key cannot sign (key identity.ca.key)")
		}
		var err error
		if sc.CA, err = stir.NewCA(pair.Leaf, key); err != nil {
			return fmt.Errorf("caller identity CA: %w (key identity.ca)", err)
		}
	}
	for _, t := range cfg.Trunks {
		if t.RIPT != nil && t.RIPT.Accept == nil && t.RIPT.Inbound == "true" {
			sc.TGs = append(sc.TGs, customerTG(cfg, t))
		}
		if t.RIPT == nil || t.RIPT.Accept == nil {
			continue
		}
		acc := t.RIPT.Accept
		sc.TGs = append(sc.TGs, h3.TGConfig{
			Name: t.Name, Trunk: t.Name, Codecs: codecsOf(t), Reachable: reachable(cfg, t), ClientID: acc.Client,
			Origins:      policy.NumberSet{Allow: acc.Callers},
			Destinations: policy.NumberSet{Allow: acc.Destinations, Except: acc.Except},
			Hosts:        acc.Hosts,
			Facts:        factPolicy(t.Facts), Keys: t.RIPT.Keys.Reveal(),
		})
		keys, err := keySet(acc.PublicKeys)
		if err != nil {
			return err
		}
		sc.Clients = append(sc.Clients, h3.OAuthClient{ID: acc.Client, Keys: keys})
	}
	server, err := h3.NewServer(sc)
	if err != nil {
		return err
	}
	if err := server.Listen(ctx); err != nil {
		return fmt.Errorf("%w (another address: key ript.listen)", err)
	}
	a.server = server
	return nil
}

// customerTG is where a provider calls us: anybody may call our numbers through
// it, and it is let in with the token that we register.
func customerTG(cfg *configs.Config, t configs.Trunk) h3.TGConfig {
	return h3.TGConfig{
		// A client id that no peer can have.
		Name: t.Name, Trunk: t.Name, Codecs: codecsOf(t), Reachable: reachable(cfg, t), ClientID: "provider:" + t.Name, Customer: true,
		Origins:      policy.NumberSet{Allow: []policy.Pattern{"*"}},
		Destinations: policy.NumberSet{Allow: t.RIPT.Numbers},
		Facts:        factPolicy(t.Facts), Keys: t.RIPT.Keys.Reveal(),
	}
}

// keySet is a peer's public keys as the token issuer wants them. A key that
// came without an id goes by its thumbprint (RFC 7638), as our own client's does.
func keySet(keys []configs.PublicKey) (jose.JSONWebKeySet, error) {
	var set jose.JSONWebKeySet
	for _, k := range keys {
		jwk := jose.JSONWebKey{Key: k.Key, KeyID: k.ID, Algorithm: string(jose.ES256), Use: "sig"}
		if jwk.KeyID == "" {
			sum, err := jwk.Thumbprint(crypto.SHA256)
			if err != nil {
				return set, fmt.Errorf("thumbprint of a peer's key: %w", err)
			}
			jwk.KeyID = base64.RawURLEncoding.EncodeToString(sum)
		}
		set.Keys = append(set.Keys, jwk)
	}
	return set, nil
}
