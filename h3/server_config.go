package h3

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"slices"
	"time"

	"github.com/quic-go/quic-go"

	"riptide/bridge"
	"riptide/bridge/store"
	"riptide/h3/chunk/seal"
	"riptide/h3/media"
	"riptide/policy"
	"riptide/policy/stir"
)

// ServerConfig is all a Server needs. Zero values of the second group have
// defaults.
type ServerConfig struct {
	Listen      string          // UDP and TCP address, "host:port"
	Authority   string          // public "host" or "host:port": in every URI we hand out, never taken from a request
	Certificate tls.Certificate // of that host
	// Renewed, if not nil, is asked for the certificate with each connection, so
	// that a new one needs no restart. The keys below stay those of Certificate.
	Renewed func() (*tls.Certificate, error)
	TGs     []TGConfig
	Clients []OAuthClient
	// Sockets, if not nil, opens the listeners: where a service manager keeps those
	// of the process before.
	Sockets  SocketOpener
	Acceptor bridge.Acceptor
	Verifier *stir.Verifier
	CA       *stir.CA // issues the clients' certificates; nil = POST certs is not offered
	Store    store.Store

	// TokenKey signs access tokens. All nodes of one authority share it. Nil:
	// derived from the certificate's key.
	TokenKey *ecdsa.PrivateKey
	// StatelessReset lets clients notice at once that a process is gone. All
	// nodes of one authority share it. Nil: derived from the certificate's key.
	StatelessReset *quic.StatelessResetKey

	// CustomerOAuth says that we have a key to log in at the servers of peers:
	// they may register a TG without a token.
	CustomerOAuth bool

	// Claim, if not nil, is asked to take up the call of a URI that is not known
	// here, because another process had it. When it returns true the call has been
	// given to Resume. An error says that this could not be found out. It is asked
	// by one request of a call at a time; the others wait for it, within limits.
	Claim func(ctx context.Context, callURI string) (found bool, err error)

	// OnRefuse, if not nil, is told of every call that is refused before the
	// Acceptor is asked. It must not block.
	OnRefuse func(bridge.Cause)

	Log    *slog.Logger
	Now    func() time.Time // of tokens, PASSporTs and time stamps
	Limits ServerLimits
}

// TGConfig is one terminal group: what one peer may do with us.
type TGConfig struct {
	Name         string // last segment of its URI: letters, digits, "-", "_", "."
	Trunk        string // the bridge's name for the peer; default Name
	ClientID     string // the OAuth client it belongs to
	Origins      policy.NumberSet
	Destinations policy.NumberSet
	Codecs       []bridge.Codec    // what calls may use, best first; empty = everything, as the client prefers
	Reachable    []bridge.Codec    // what can be done for calls on their far side; empty = everything
	Media        []string          // carriers, default "webtransport" and "put-get"
	Facts        bridge.FactPolicy // which facts of a call the client is believed, and told
	Keys         *seal.Ring        // not nil: we are an end of its calls, whose media are sealed

	// Hosts are the host names at which the client may register a TG of its own,
	// "*.example" for all below; none means any.
	Hosts []string

	// Customer says that this is our own TG at a provider's (core draft,
	// "Consumer TG Registration"): it needs no OAuth client, since the tokens that
	// we register let the provider in; and we vouch for no numbers there.
	Customer bool
}

// ServerLimits bound what clients can make us hold.
type ServerLimits struct {
	Calls          int     // at once, default 2000
	CallsPerSecond float64 // of POST calls, per client, default 500, burst of one second
	Handlers       int     // per client, default 64
	Byways         int     // event streams per call, default 16
	Ended          int     // ended calls that can be queried, default 20000
	Strangers      int     // connections on which nobody has shown a token, default 1000
}

// segment is what may stand in a path without escaping.
var segment = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// check fills in defaults and reports every mistake.
func (c *ServerConfig) check() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Acceptor == nil || c.Verifier == nil || c.Store == nil {
		fail("an acceptor, a verifier and a store are needed")
	}
	if len(c.Certificate.Certificate) == 0 {
		fail("a TLS certificate is needed: there is no plaintext RIPT")
	}
	if u, err := url.Parse("https://" + c.Authority); err != nil || u.Host != c.Authority || u.Hostname() == "" {
		fail("authority %q is not a host or host:port", c.Authority)
	}
	if host, port, err := net.SplitHostPort(c.Authority); err == nil && port == "443" {
		c.Authority = host
	}
	errs = append(errs, c.checkTGs()...)
	if c.TokenKey == nil && c.Certificate.PrivateKey != nil {
		key, err := tokenKey(c.Certificate.PrivateKey)
		if err != nil {
			errs = append(errs, err)
		}
		c.TokenKey = key
	} else if c.TokenKey != nil && c.TokenKey.Curve != elliptic.P256() {
		fail("the token key is not on P-256")
	}
	if c.StatelessReset == nil && c.Certificate.PrivateKey != nil {
		key, err := resetKey(c.Certificate.PrivateKey)
		if err != nil {
			errs = append(errs, err)
		}
		c.StatelessReset = key
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	l := &c.Limits
	l.Calls = cmp.Or(l.Calls, 2000)
	l.CallsPerSecond = cmp.Or(l.CallsPerSecond, 500)
	l.Handlers = cmp.Or(l.Handlers, 64)
	l.Byways = cmp.Or(l.Byways, 16)
	l.Ended = cmp.Or(l.Ended, 20000)
	l.Strangers = cmp.Or(l.Strangers, 1000)
	return errors.Join(errs...)
}

func (c *ServerConfig) checkTGs() (errs []error) {
	c.TGs = slices.Clone(c.TGs)
	seen := map[string]bool{}
	for i := range c.TGs {
		tg := &c.TGs[i]
		tg.Trunk = cmp.Or(tg.Trunk, tg.Name)
		if len(tg.Media) == 0 {
			tg.Media = media.RungNames()
		}
		if !segment.MatchString(tg.Name) {
			errs = append(errs, fmt.Errorf("TG name %q: want 1 to 64 letters, digits, '.', '_' or '-'", tg.Name))
		}
		if seen[tg.Name] {
			errs = append(errs, fmt.Errorf("TG %q is there twice", tg.Name))
		}
		seen[tg.Name] = true
		if !tg.Customer && !slices.ContainsFunc(c.Clients, func(o OAuthClient) bool { return o.ID == tg.ClientID }) {
			errs = append(errs, fmt.Errorf("TG %q belongs to client %q, which has no key here", tg.Name, tg.ClientID))
		}
		if !slices.Contains(tg.Media, media.PutGet.String()) {
			errs = append(errs, fmt.Errorf("TG %q: media must hold %q, which every client can do", tg.Name, media.PutGet))
		}
	}
	return errs
}
