package h3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"riptide/bridge"
	"riptide/bridge/store"
	"riptide/h3/chunk/seal"
	"riptide/h3/media"
	"riptide/policy"
)

// ClientConfig is what a Client needs. Store, Logger and HandlerID are
// required.
type ClientConfig struct {
	Trunks []TrunkConfig
	Store  store.Store  // keeps enrolled certificates
	Logger *slog.Logger // state changes of trunks, one line each

	// HandlerID names this bridge in its handler registrations: the same after
	// every restart, another for every node.
	HandlerID string

	// Server is our own, nil if there is none: where the peers of trunks without
	// Connect register, and what those with Inbound are to call.
	Server *Server

	// OnPhase, if not nil, is told how long the phases of a call's coming back took.
	// It must not block.
	OnPhase func(bridge.Phase, time.Duration)

	// Now is the clock. Nil is time.Now.
	Now func() time.Time

	// Resolve looks host names up. Nil asks the system.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
}

// TrunkConfig is one peer that calls are sent to.
type TrunkConfig struct {
	Name     string
	Connect  string         // domain or https URL of the peer's authority; "" = the TG it registers at our server
	ClientID string         // as the peer's authorisation server knows us
	Key      ClientKey      // proves it
	Roots    *x509.CertPool // CAs of the peer's TLS certificate; nil = the system's

	// Inbound registers our server's TG of this trunk at the peer.
	Inbound bool

	// Hosts are the host names of a registered TG that may have private addresses;
	// the server takes registrations for no others. None: any name, with public
	// addresses.
	Hosts []string

	// Numbers are those we sign calls for; a certificate for them is enrolled at
	// the peer, or issued by our own server for a peer that registers there. None: only PASSporTs that came with a call are relayed.
	Numbers []policy.Pattern

	// Codecs are what may be spoken there, best first; empty is everything.
	Codecs []bridge.Codec

	// Media is media.Auto or the name of a rung of the ladder that calls are to
	// use; requests per chunk carry what that does not.
	Media string

	// Silence is after how long media that the peer does not acknowledge is taken
	// for lost: then the call is looked for at another of its nodes. 0 is a second,
	// as in the drafts.
	Silence time.Duration

	// TG is the name of the TG to use where the peer has several, "" = the first.
	TG string

	// Facts is which facts of a call the peer is told, and believed.
	Facts bridge.FactPolicy

	// Keys, if not nil, make us an end of the calls over the trunk: their media are
	// sealed there, unless they are sealed already.
	Keys *seal.Ring
}

// Client is the outgoing side of the web edge: a RIPT client for a set of
// trunks. It implements bridge.Dialer, and signs calls for the bridge.
type Client struct {
	cfg    ClientConfig
	trunks map[string]*trunk
	names  []string // of the trunks, in the order of the configuration
	ladder media.Ladder

	ctx    context.Context // of legs and background work; ends when Run does
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	closed bool
}

var (
	_ bridge.Dialer = (*Client)(nil)
	_ bridge.Signer = (*Client)(nil)
)

// NewClient checks the configuration. Nothing happens on the network before Run.
func NewClient(cfg ClientConfig) (*Client, error) {
	if cfg.Store == nil || cfg.Logger == nil || cfg.HandlerID == "" {
		return nil, errors.New("RIPT client: Store, Logger and HandlerID are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.OnPhase == nil {
		cfg.OnPhase = func(bridge.Phase, time.Duration) {}
	}
	c := &Client{cfg: cfg, trunks: map[string]*trunk{}}
	for _, tc := range cfg.Trunks {
		connect, err := tc.check(cfg.Server)
		if err != nil {
			return nil, fmt.Errorf("RIPT trunk %q: %w", tc.Name, err)
		}
		if c.trunks[tc.Name] != nil {
			return nil, fmt.Errorf("RIPT trunk %q: there are two of that name", tc.Name)
		}
		c.trunks[tc.Name] = nil // made below, when nothing can fail any more
		c.trunks[tc.Name] = &trunk{client: c, cfg: tc, discovery: discovery{connect: connect, prefer: tc.TG}}
		c.names = append(c.names, tc.Name)
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	for _, t := range c.trunks {
		t.init()
	}
	return c, nil
}

func (tc TrunkConfig) check(server *Server) (*url.URL, error) {
	local := tc.Inbound || tc.Connect == ""
	switch {
	case tc.Name == "":
		return nil, errors.New("it has no name")
	case local && (server == nil || server.ours(tc.Name) == nil):
		return nil, errors.New("our own server has no TG for it")
	case tc.ClientID == "":
		return nil, errors.New("`client id` is empty: it is the name under which the peer knows us")
	case tc.Key.key == nil && tc.Connect != "":
		return nil, errors.New("it has no client key")
	case !knownMedia(tc.Media):
		return nil, fmt.Errorf("media %q: want %s or one of %s", tc.Media, media.Auto, strings.Join(media.RungNames(), ", "))
	}
	for _, p := range tc.Numbers {
		if _, _, ok := p.Block(); !ok {
			return nil, fmt.Errorf("numbers: %q is neither a number nor a block such as +1202555xxxx: a certificate needs to know how many numbers it covers", p)
		}
	}
	if tc.Connect == "" {
		return nil, nil
	}
	connect, err := parseConnect(tc.Connect)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return connect, nil
}

func knownMedia(name string) bool {
	_, known := media.RungOf(name)
	return name == "" || name == media.Auto || known
}

// tlsConfig: RIPT is never spoken unverified, and QUIC needs TLS 1.3 anyway.
func (tc TrunkConfig) tlsConfig() *tls.Config {
	return &tls.Config{
		RootCAs:            tc.Roots,
		MinVersion:         tls.VersionTLS13,
		ClientSessionCache: newTickets(8),
	}
}

// Run keeps every trunk ready until ctx ends. Then it drops what legs are left,
// closes the connections, and returns when every goroutine of the client has
// ended. It is called once.
func (c *Client) Run(ctx context.Context) {
	for _, t := range c.trunks {
		c.spawn(func() { t.keep(c.ctx) })
	}
	if c.cfg.Server != nil {
		c.spawn(func() { c.watchPeers(c.ctx) })
	}
	select {
	case <-ctx.Done():
	case <-c.ctx.Done():
	}
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	for _, t := range c.trunks {
		t.closeSessions()
		t.pool.Close()
	}
	c.wg.Wait()
}

// spawn runs f on a goroutine that Run waits for; false if Run is over.
func (c *Client) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.wg.Go(f)
	return true
}

func (c *Client) trunk(name string) (*trunk, error) {
	t := c.trunks[name]
	if t == nil {
		return nil, bridge.CauseInternal.With("no RIPT trunk %q is configured", name)
	}
	return t, nil
}

// Ready tells whether calls can be sent to a trunk, and why not.
func (c *Client) Ready(name string) error {
	t, err := c.trunk(name)
	if err != nil {
		return err
	}
	return t.ready()
}

// Sign makes the PASSporT of a call whose caller we vouch for, with the
// certificate enrolled at the trunk, in full form. The error carries a Cause.
func (c *Client) Sign(ctx context.Context, name string, from, to policy.Number, attestation string) (string, error) {
	t, err := c.trunk(name)
	if err != nil {
		return "", err
	}
	return t.sign(ctx, from, to, attestation)
}

// ClientState is a client's condition, for metrics and health.
type ClientState struct {
	Trunks []TrunkState `json:"trunks"`
}

// TrunkState is a trunk's condition.
type TrunkState struct {
	Name               string    `json:"name"`
	Ready              bool      `json:"ready"`
	Reason             string    `json:"reason,omitempty"`       // why not ready
	Connect            string    `json:"connect"`                // authority of the peer, "" while it is not known
	Registration       string    `json:"registration,omitempty"` // of our TG at the peer, which knows from it where to call us
	Unregistered       string    `json:"unregistered,omitempty"` // why there is none
	TG                 string    `json:"tg,omitempty"`
	CertificateExpires time.Time `json:"certificateExpires,omitzero"`
	Connections        int       `json:"connections"`
	Streams            int       `json:"streams"`
	Sessions           int       `json:"sessions"`      // trunk sessions open
	Seated             int       `json:"seated"`        // calls whose media ride on them
	Calls              int       `json:"calls"`         // legs alive
	Dialled            uint64    `json:"dialled"`       // POST calls, ever
	Refused            uint64    `json:"refused"`       // of these, how many gave no call
	Reattached         uint64    `json:"reattached"`    // byways opened anew after a loss
	MediaPanics        uint64    `json:"mediaPanics"`   // the peer had no GET to send media on
	UnknownEvents      uint64    `json:"unknownEvents"` // of types outside the registry, ignored
}

// State is a snapshot.
func (c *Client) State() ClientState {
	var s ClientState
	for _, name := range c.names {
		s.Trunks = append(s.Trunks, c.trunks[name].state())
	}
	return s
}
