package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"sync/atomic"

	"riptide/bridge"
	nodes "riptide/bridge/cluster"
	"riptide/bridge/store"
	"riptide/bridge/store/embedded"
	"riptide/configs"
	"riptide/h3"
	"riptide/ops"
	"riptide/policy"
	"riptide/policy/stir"
	"riptide/sip"
	"riptide/sip/rtp"
	"riptide/systemd"
)

// appliance is the parts of one running bridge. This file is the only place
// that knows them all.
type appliance struct {
	store   store.Store
	members *nodes.Members // nil without a cluster
	trouble embedded.Trouble
	tracer  *ops.Tracer
	admin   *ops.Server
	control *ops.Control
	bridge  *bridge.Bridge
	sip     *sip.Agent
	client  *h3.Client
	server  *h3.Server // nil where no RIPT address is configured
	sockets *systemd.Sockets

	logger   *slog.Logger
	up       atomic.Bool // the calls of before are there, and new ones are taken
	draining atomic.Bool
	drained  chan struct{} // closed when nothing is left to do

	cancel  context.CancelFunc // ends the parts that run until told
	running chan struct{}      // closed when all of them have ended
}

// newAppliance makes every part and opens every port, or none.
func newAppliance(ctx context.Context, cfg *configs.Config, logger *slog.Logger, reloads *reloader) (_ *appliance, err error) {
	a := &appliance{logger: logger, drained: make(chan struct{}), sockets: systemd.Inherited()}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close(ctx))
		}
	}()
	a.makeTracer(cfg)
	if err := a.makeAdmin(ctx, cfg, logger); err != nil {
		return nil, err
	}
	kept, err := openStore(ctx, cfg, &a.trouble, a.admin, logger)
	if err != nil {
		return nil, err
	}
	a.members = kept.members
	a.store = a.admin.Measure(kept.Store, kept.leads)
	calls, err := makePolicy(cfg)
	if err != nil {
		return nil, err
	}
	a.bridge = bridge.New(a.shared(cfg, bridge.Config{
		Node: cfg.Node, Policy: calls, Store: a.store, Logger: logger,
		MaxCalls: cfg.Limits.Calls, OnEnd: a.admin.Ended, OnPhase: a.admin.Took,
		Resumer: a.resumer, Forwarded: func(leg, from string, data []byte) { a.sip.Forwarded(leg, from, data) }, Unrecorded: cfg.Limits.Unrecorded == "accept",
	}))
	verifier := newIdentityVerifier(identityRoots(cfg), tlsRoots(cfg), h3.NewPublished(cfg.RIPT.Authority, a.store), peerHosts(cfg))
	if err := a.makeSIP(cfg, verifier, logger); err != nil {
		return nil, err
	}
	if err := a.makeServer(ctx, cfg, verifier, logger); err != nil {
		return nil, err
	}
	if err := a.makeClient(cfg, logger); err != nil {
		return nil, err
	}
	if err := a.sockets.Done(); err != nil {
		logger.Warn("a restart may refuse what comes meanwhile: the service manager does not keep our sockets", "error", err)
	}
	a.bridge.Use(a.trunks(cfg))
	if err := a.admin.Start(ctx); err != nil {
		return nil, err
	}
	if a.control, err = ops.NewControl(ctx, cfg.State, ops.Orders{Migrate: a.migrate, Reload: reloads.order(a.change), Drain: a.drain, Trace: a.trace(cfg.Trunks)}, logger); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *appliance) makeAdmin(ctx context.Context, cfg *configs.Config, logger *slog.Logger) error {
	admin, err := ops.New(ops.Config{
		Listen: cfg.Admin, Logger: logger, Version: version, Tracer: a.tracer, State: cfg.State,
		Sources: ops.Sources{
			ActiveCalls: func() int { return a.bridge.Active() },
			SIP:         a.sipCounts,
			SIPTrunks:   a.sipTrunks,
			RIPT:        a.riptCounts,
			Ready:       func() error { return a.ready(cfg) },
		},
	})
	if err != nil {
		return err
	}
	a.admin = admin
	return nil
}

func (a *appliance) makeSIP(cfg *configs.Config, verifier *stir.Verifier, logger *slog.Logger) error {
	c, err := sipConfig(cfg, logger)
	if err != nil {
		return err
	}
	c.Acceptor, c.Verifier, c.Store = a.admin.Count(a.bridge), verifier, a.store
	c.Sockets = func(lc net.ListenConfig) sip.SocketOpener { return a.sockets.With(lc) }
	c.Tap = a.tap()
	c.MaxLegs, c.OnRefuse = legsOf(cfg), a.admin.Refused("sip")
	c.Claim, c.Forward, c.Silent = a.claim(), a.forward(), a.bridge.Silent
	a.sip, err = sip.New(c)
	return err
}

// sipConfig is the SIP side as the configuration has it, without what is behind
// it.
func sipConfig(cfg *configs.Config, logger *slog.Logger) (sip.Config, error) {
	renewed := func(certificate, key configs.File, loaded *tls.Certificate) sip.Certificate {
		if loaded == nil {
			return nil
		}
		return configs.Renewed(certificate, key, loaded, func(err error) { logger.Warn("the old certificate is shown on", "error", err) })
	}
	var trunks []sip.Trunk
	for _, t := range cfg.Trunks {
		if t.SIP != nil {
			trunks = append(trunks, sip.Trunk{
				Login: loginOf(t.SIP.Login), Accept: acceptOf(t.SIP.Accept), Register: registerOf(t.SIP.Register), Probe: t.SIP.Probe, FollowRedirects: t.SIP.Redirects == "follow", Replaces: t.SIP.Moved == "replaces",
				Name: t.Name, Codecs: codecsOf(t), Peer: t.SIP.Peer.String(), Transport: t.SIP.Transport, Match: t.SIP.Match,
				Rate: t.SIP.Rate, TLS: trunkTLS(t.SIP.TLS, renewed), Listen: t.SIP.Listen.String(), Advertise: string(t.SIP.Advertise), AdvertiseMedia: t.SIP.MediaShown,
				RingTimeout: t.SIP.RingTimeout, Media: trunkMedia(t.SIP), RequireIdentity: t.SIP.Identity == "required",
				AllowAnonymous: t.SIP.Anonymous == "allow", Number: oneNumber(t.SIP.Number),
				Reliable: t.SIP.Reliable, Timer: t.SIP.Timer, SessionInterval: t.SIP.TimerEvery,
				Numbers: numberRules(t.SIP), Facts: factPolicy(t.Facts), HistoryInfo: t.SIP.Diversions == "history-info",
			})
		}
	}
	media, err := mediaPools(cfg.SIP.Media)
	if err != nil {
		return sip.Config{}, err
	}
	return sip.Config{
		Listen: texts(cfg.SIP.Listen), Advertise: texts(cfg.SIP.Advertise), DNS: dnsServer(cfg.SIP.DNS), Media: media[0], MoreMedia: media[1:], Trunks: trunks,
		Certificate: renewed(cfg.SIP.TLS.Certificate, cfg.SIP.TLS.Key, cfg.SIP.TLS.Pair.Reveal()),
		Logger:      logger,
	}, nil
}

// trunkTLS is how a SIP peer and we know each other on TLS.
func trunkTLS(t *configs.SIPTLS, renewed func(certificate, key configs.File, loaded *tls.Certificate) sip.Certificate) *sip.TrunkTLS {
	if t == nil {
		return nil
	}
	return &sip.TrunkTLS{
		Certificate: renewed(t.Certificate, t.Key, t.Pair.Reveal()), Roots: t.RootCAs.Pool,
		Name: string(t.Name), Require: t.Client == "required",
	}
}

// loginOf is who we are at a SIP peer.
func loginOf(l *configs.Login) *sip.Login {
	if l == nil {
		return nil
	}
	return &sip.Login{User: l.User, Password: sip.Password(l.Secret.Reveal()), Realm: l.Realm}
}

// mediaPools are the RTP ports of each address.
func mediaPools(m configs.SIPMedia) ([]*rtp.Pool, error) {
	var pools []*rtp.Pool
	for _, addr := range m.Address {
		pool, err := rtp.NewPool(addr, m.Ports.First, m.Ports.Last)
		if err != nil {
			return nil, err
		}
		pools = append(pools, pool)
	}
	return pools, nil
}

func texts[T fmt.Stringer](values []T) []string {
	out := make([]string, 0, len(values))
	for _, v := range values {
		out = append(out, v.String())
	}
	return out
}

// dnsServer is the one to ask, "" for those of the system.
func dnsServer(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// registerOf is how we register at a SIP peer.
func registerOf(r *configs.SIPRegister) *sip.Register {
	if r == nil {
		return nil
	}
	return &sip.Register{User: r.User, Domain: r.Domain, Expires: r.Expires, Bulk: r.Bulk == "true"}
}

// acceptOf is who may speak on a SIP trunk.
func acceptOf(a *configs.SIPAccept) *sip.Accept {
	if a == nil {
		return nil
	}
	users := make(map[string]sip.Password)
	for name, password := range a.Passwords.Reveal() {
		users[name] = sip.Password(password)
	}
	return &sip.Accept{
		Users: users, Algorithms: a.Algorithms, Register: a.Register == "allow", Anywhere: a.From == "anywhere",
		MinExpires: a.MinExpires, MaxExpires: a.MaxExpires,
	}
}

// trunks says which edge reaches which trunk.
func (a *appliance) trunks(cfg *configs.Config) map[string]bridge.Trunk {
	trunks := make(map[string]bridge.Trunk, len(cfg.Trunks))
	for _, t := range cfg.Trunks {
		switch {
		case t.SIP != nil:
			trunks[t.Name] = bridge.Trunk{Dialer: a.sip, Codecs: codecsOf(t)}
		default:
			trunks[t.Name] = bridge.Trunk{Dialer: a.client, Signer: a.client, Codecs: codecsOf(t), Seals: true}
		}
	}
	return trunks
}

// makePolicy is the configuration as policy sees it.
func makePolicy(cfg *configs.Config) (*policy.Policy, error) {
	p := &policy.Policy{Trunks: make(map[string]policy.Trunk, len(cfg.Trunks))}
	for _, t := range cfg.Trunks {
		trunk := policy.Trunk{Name: t.Name, Calls: t.Calls, Rate: float64(t.Pace), Transfer: t.Transfer == "allow"}
		if t.SIP != nil {
			trunk.Callers = policy.NumberSet{Allow: t.SIP.Callers}
		}
		p.Trunks[t.Name] = trunk
	}
	for _, r := range cfg.Routes {
		p.Routes = append(p.Routes, policy.Route{
			From: r.From, To: r.To, Via: r.Via(), Next: r.Trunk[min(1, len(r.Trunk)):],
			Reroute: policy.Reroute{On: r.NextOn, AfterMedia: r.AfterMedia == "true"},
		})
	}
	return p, nil
}

// factPolicy is a trunk's lists of facts as the edges want them.
func factPolicy(f configs.Facts) bridge.FactPolicy {
	names := func(words []string) []bridge.Fact {
		var out []bridge.Fact
		for _, w := range words {
			switch w {
			case "all":
				return bridge.FactNames()
			case "none":
				return nil
			}
			out = append(out, bridge.Fact(w))
		}
		return out
	}
	return bridge.FactPolicy{Accept: names(f.Accept), Send: names(f.Send), Carry: f.Carry}
}

// oneNumber is the number of a pattern that holds just one, "" for none.
func oneNumber(p policy.Pattern) policy.Number {
	start, _, ok := p.Block()
	if !ok {
		return ""
	}
	return policy.Number("+" + start)
}

// identityRoots are those whose PASSporTs we accept: the configured ones, and
// our own CA, which issued to the peers we host a trunk for.
func identityRoots(cfg *configs.Config) *x509.CertPool {
	roots := cfg.Identity.Anchors.Certs
	if ca := cfg.Identity.CA; ca != nil {
		roots = append(slices.Clip(roots), ca.Pair.Reveal().Leaf)
	}
	return stir.Roots(roots...)
}

// tlsRoots are the CAs of web servers that certificates may be fetched from.
func tlsRoots(cfg *configs.Config) *x509.CertPool {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a box without public CAs knows only its peers'
	}
	for _, t := range cfg.Trunks {
		if t.RIPT != nil {
			for _, c := range t.RIPT.RootCAs.Certs {
				pool.AddCert(c)
			}
		}
	}
	// Certificates that our own server issued are fetched from itself.
	if pair := cfg.RIPT.TLS.Pair.Reveal(); pair != nil {
		for _, der := range pair.Certificate {
			if c, err := x509.ParseCertificate(der); err == nil {
				pool.AddCert(c)
			}
		}
	}
	return pool
}

// peerHosts are the authorities that may be at a private address, because the
// configuration names them.
func peerHosts(cfg *configs.Config) []string {
	hosts := []string{hostOf(cfg.RIPT.Authority)}
	for _, t := range cfg.Trunks {
		if t.RIPT == nil || t.RIPT.Connect == "" {
			continue
		}
		if u, err := url.Parse(t.RIPT.Connect); err == nil {
			hosts = append(hosts, u.Hostname())
		}
	}
	return hosts
}

// hostOf is an authority without its port.
func hostOf(authority string) string {
	if host, _, err := net.SplitHostPort(authority); err == nil {
		return host
	}
	return authority
}
