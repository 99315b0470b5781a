package sip

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"riptide/bridge"
	"riptide/bridge/store"
	"riptide/policy"
	"riptide/policy/stir"
	"riptide/sip/rtp"
)

// Config is what an Agent is made of.
type Config struct {
	// Listen is where: "address:port" for UDP and TCP alike, or
	// "transport:address:port" with udp, tcp, tls, ws or wss. Port 0 takes a
	// free one.
	Listen []string

	// Advertise are the hosts (names or addresses) that peers are told to send
	// to, in Contact, Via and SDP, one for each address family. Default: the
	// addresses of Listen, which then must not be wildcards. A name is resolved
	// once, at the start, for media need an address.
	Advertise []string

	Media     *rtp.Pool
	MoreMedia []*rtp.Pool // on other addresses: a leg takes that of its signalling, or of its family
	Trunks    []Trunk
	Acceptor  bridge.Acceptor
	Verifier  Verifier // nil: identities are not looked at; trunks cannot require one
	Logger    *slog.Logger

	// Certificate is ours on TLS; nil = no listener needs one.
	Certificate Certificate

	MaxLegs int // default 4000; beyond it INVITEs get 503 with Retry-After

	// Admit, if not nil, is asked for every new INVITE, before anything is
	// spent on it. An error refuses the call with the Cause in it: the place
	// for rate limits.
	Admit func(trunk string, source netip.AddrPort) error

	// OnRefuse, if not nil, is told of every call that is refused before the
	// Acceptor is asked. It must not block.
	OnRefuse func(bridge.Cause)

	// Sockets, if not nil, opens the listeners as lc would: where a service
	// manager keeps those of the process before.
	Sockets func(lc net.ListenConfig) SocketOpener

	// Claim, if not nil, is asked when a request comes within a call that the
	// agent does not know: it may be that of another node, to be taken over. It
	// returns when the leg is resumed, or not to be had; an error is that nobody
	// could say.
	Claim func(ctx context.Context, callID string) (found bool, err error)
	// Silent tells whether nothing may be said now about calls that were let go of:
	// this process is on its way out, or may not touch calls. Nil: always.
	Silent func() bool

	// Forward, if not nil, sends what came for a call that cannot be had (Claim) to
	// the agent of the node that has it, or of the node that is named, where it goes
	// to Agent.Forwarded. It tells false where there is no such node.
	Forward func(callID, node string, data []byte) bool

	// Tap is told what goes over the wire.
	Tap Tap

	// DNS is the server (host:port) that is asked for names of peers; default:
	// those of the system.
	DNS string

	// Store keeps what must survive a restart: where users of trunks are. nil
	// forgets them.
	Store store.Store

	// Now is the clock of records and of identity verification.
	Now func() time.Time
}

// opener opens the listeners, marked as signalling.
func (c *Config) opener() SocketOpener {
	lc := net.ListenConfig{Control: markSignalling}
	if c.Sockets != nil {
		return c.Sockets(lc)
	}
	return &lc
}

// Verifier checks the caller's identity that came with an INVITE. A
// *stir.Verifier is one.
type Verifier interface {
	// VerifyIdentities judges the Identity header field values of a call.
	VerifyIdentities(ctx context.Context, headers []string, c stir.Call, now time.Time) stir.Found
}

var _ Verifier = (*stir.Verifier)(nil)

// Trunk is one SIP peer: a PBX, a softswitch or a carrier.
type Trunk struct {
	Name           string
	Peer           string         // host:port that calls are sent to; the port defaults to 5060
	Transport      string         // of calls we place: "udp" (default), "tcp", "tls", "ws", "wss", or "auto": as the peer's DNS says; the secure ones hold for its calls too
	TLS            *TrunkTLS      // of secure transports; nil: the certificate of Config, and the system's roots
	Listen         string         // where it is spoken to, and nobody else, unless Config.Listen has it too; "" = at all of Config.Listen
	Accept         *Accept        // who may speak there by name and password; nil = nobody is asked
	Login          *Login         // what we say when the peer asks who we are; nil = nothing
	Register       *Register      // we tell the peer where its calls to us go; nil = it knows
	Rate           int            // messages a second taken from each of its addresses; 0 = by how many they are
	Match          []netip.Prefix // sources besides Peer's addresses that belong to this trunk
	Advertise      string         // host shown to it instead of Config.Advertise
	AdvertiseMedia netip.Addr     // address shown to it in SDP; default: that of Advertise

	Numbers NumberRules
	Codecs  []bridge.Codec // what may be spoken there, best first; empty = everything

	Media           TrunkMedia
	Probe           time.Duration // between OPTIONS that ask whether the peer lives; 0 = none
	Replaces        bool          // a call of another node goes on by an INVITE that replaces it (RFC 3891); else by a re-INVITE
	FollowRedirects bool          // 3xx to the trunk's own servers; else they end the call
	RingTimeout     time.Duration // of calls we place; default 180 s
	ProbeAfter      time.Duration // a peer silent for so long in a call is asked whether it lives; default 5 min
	RequireIdentity bool          // refuse INVITEs without an Identity header (428)
	AllowUnverified bool          // take calls whose Identity does not hold, marked as such
	AllowAnonymous  bool          // take calls of callers who want not to be shown; else 433
	Number          policy.Number // stands for callers whose number even the trunk does not tell; "" = none

	Reliable        string        // provisional answers: ReliableOff, ReliableSupport (default), ReliableRequire
	Timer           string        // session timers: TimerNever, TimerAccept (default), TimerRequire
	SessionInterval time.Duration // that we ask for; default 30 min, at least 90 s
	second          time.Duration // of session timers; tests have shorter ones

	Facts       bridge.FactPolicy // which facts of a call the peer is believed, and told
	HistoryInfo bool              // diversions are told as History-Info (RFC 7044) instead of Diversion
}

const (
	defaultMaxLegs     = 4000
	defaultRingTimeout = 180 * time.Second
	retryAfterOverload = 5 * time.Second
)

// trunk is a Trunk with what was found out about it.
type trunk struct {
	Trunk
	over       transport
	sockets    []*socket    // of Listen
	advertised []advertised // of Advertise
	host       string       // as configured, for URIs
	port       uint16       // 0 = not configured
	now        func() time.Time
	log        *slog.Logger

	wallet   *wallet
	bindings bindings

	registrant *registrant // nil: we do not register
	standing   standing
	auto       bool                     // its DNS says which transport
	located    atomic.Pointer[location] // where the peer is; nil while that is not known

	// noTCP is until when (Unix seconds) a UDP trunk is known to take no TCP.
	noTCP atomic.Int64
}

// newTrunk checks a trunk.
func newTrunk(t Trunk) (*trunk, error) {
	if t.Name == "" {
		return nil, fmt.Errorf("trunk with peer %q has no name", t.Peer)
	}
	auto := t.Transport == "auto"
	if t.Transport == "" || auto {
		t.Transport = "udp"
	}
	over, err := parseTransport(t.Transport)
	if err != nil {
		return nil, fmt.Errorf("trunk %q: %w", t.Name, err)
	}
	host, port := t.Peer, uint64(0)
	if h, p, err := net.SplitHostPort(t.Peer); err == nil {
		host = h
		if port, err = strconv.ParseUint(p, 10, 16); err != nil || port == 0 {
			return nil, fmt.Errorf("trunk %q: peer %q: port %q is not between 1 and 65535", t.Name, t.Peer, p)
		}
	}
	if t.Media, err = t.Media.checked(); err != nil {
		return nil, fmt.Errorf("trunk %q: %w", t.Name, err)
	}
	if err := t.TLS.check(over, host); err != nil {
		return nil, fmt.Errorf("trunk %q: %w", t.Name, err)
	}
	if err := t.check(); err != nil {
		return nil, fmt.Errorf("trunk %q: %w", t.Name, err)
	}
	tr := &trunk{Trunk: t, over: over, auto: auto, host: host, port: uint16(port), wallet: newWallet(t.Login), now: time.Now, log: slog.New(slog.DiscardHandler)}
	if t.Numbers.Domain == "" {
		tr.Numbers.Domain = host
	}
	if t.Register != nil && (t.Login == nil && t.Register.User == "" || host == "") {
		return nil, fmt.Errorf("trunk %q: to register wants a peer, and a user or a login", t.Name)
	}
	tr.Accept = t.Accept.filled()
	if host == "" {
		if !tr.hasUsers() {
			return nil, fmt.Errorf("trunk %q has neither peer nor match: no call could come or go", t.Name)
		}
		return tr, nil
	}
	return tr, nil
}

// check finds what is wrong with a trunk's policy, and fills in what was left
// out.
func (t *Trunk) check() error {
	t.RingTimeout = cmp.Or(t.RingTimeout, defaultRingTimeout)
	t.ProbeAfter = cmp.Or(t.ProbeAfter, defaultProbeAfter)
	if err := t.checkTimerPolicy(); err != nil {
		return err
	}
	if err := t.checkReliablePolicy(); err != nil {
		return err
	}
	for _, name := range t.Facts.Carry {
		if !policy.CanCarry(name) {
			return fmt.Errorf("header field %q belongs to routing, dialogs or identity and is not carried", name)
		}
	}
	return t.Numbers.check()
}

// resolve turns a host into addresses, IPv4 first.
func resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("resolve %q: %w", host, err)
	}
	var four, six []netip.Addr
	for _, a := range found {
		if a = a.Unmap(); a.Is4() {
			four = append(four, a)
		} else {
			six = append(six, a)
		}
	}
	return append(four, six...), nil
}

// hasUsers tells whether anybody could speak on a trunk without a peer.
func (t *trunk) hasUsers() bool { return len(t.Match) > 0 || t.requires() || t.open() }

// owns tells whether a source belongs to the trunk, and how closely: an exact
// peer address counts most, then the longest prefix.
func (t *trunk) owns(source netip.AddrPort) (closeness int, ok bool) {
	for _, to := range t.known() {
		switch p := to.addr; {
		case p == source:
			return 1000, true
		case p.Addr() == source.Addr():
			closeness, ok = 500, true
		}
	}
	for _, p := range t.Match {
		if p.Contains(source.Addr()) && (!ok || p.Bits() > closeness) {
			closeness, ok = p.Bits(), true
		}
	}
	return closeness, ok
}
