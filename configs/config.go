package configs

import (
	"cmp"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"riptide/h3/chunk/seal"
	"riptide/policy"
)

// Config is a whole configuration. The tags name the keys; docs/configuration.md
// says what each means, and a test keeps the two together.
type Config struct {
	Node     string         `yaml:"node"`  // name in logs and records; default: the host's name
	State    string         `yaml:"state"` // state directory, absolute
	Admin    netip.AddrPort `yaml:"admin"` // /healthz and /metrics; always a loopback address
	Log      Log            `yaml:"log"`
	SIP      SIP            `yaml:"sip"`
	RIPT     RIPT           `yaml:"ript"`
	Identity Identity       `yaml:"identity"`
	Trunks   []Trunk        `yaml:"trunks" keyed:"Name"` // in the file's order
	Routes   []Route        `yaml:"routes"`              // in the file's order
	Limits   Limits         `yaml:"limits"`
	Trace    Trace          `yaml:"trace"`
	Cluster  *Cluster       `yaml:"cluster"` // nil: this box has its store to itself

	path string       // that Load has read
	sums Secret[sums] // of the files that it names
}

// Log says how to log.
type Log struct {
	Level  string `yaml:"level" oneof:"debug info warn error"`
	Format string `yaml:"format" oneof:"text json"`
	Store  string `yaml:"store" oneof:"notices debug"` // what the server of a cluster's store says, at level debug
}

// SIP is the legacy edge.
type SIP struct {
	Listen    []Listen     `yaml:"listen"`
	TLS       TLS          `yaml:"tls"`       // of the listeners that are secure; also shown where we connect
	Advertise []netip.Addr `yaml:"advertise"` // addresses shown to peers, one of each family; none = those at which they are spoken to
	Media     SIPMedia     `yaml:"media"`

	DNS netip.AddrPort `yaml:"dns"` // asked for names of peers; the zero value = those of the system
}

// SIPMedia is where RTP is received.
type SIPMedia struct {
	Address []netip.Addr `yaml:"address"` // default: those of Listen
	Ports   PortRange    `yaml:"ports"`
}

// RIPT is the web edge.
type RIPT struct {
	Listen    netip.AddrPort `yaml:"listen"`    // UDP (HTTP/3) and TCP (HTTP/2); the zero value = no server
	Authority string         `yaml:"authority"` // host:port as peers write it; "" only where Listen has port 0
	TLS       TLS            `yaml:"tls"`
	Key       File           `yaml:"key"`       // EC P-256, signs our client assertions (private_key_jwt)
	Tokens    File           `yaml:"token-key"` // EC P-256, signs the access tokens we issue; "" = derived from the key of TLS

	// Loaded from Key and Tokens by Load; hold nil without one.
	ClientKey Secret[*ClientKey]
	TokenKey  Secret[*ClientKey]
}

// Identity is what caller identity rests on.
type Identity struct {
	CA    *CA    `yaml:"ca"`    // issues RFC 8226 certificates at /certs; nil = we host no trunk
	Roots []File `yaml:"roots"` // whose PASSporTs are accepted besides our own CA's; PEM

	Anchors Anchors // loaded from Roots by Load
}

// Trunk is a peer. Exactly one of SIP and RIPT is set.
type Trunk struct {
	Name  string
	Calls int        `yaml:"calls" min:"1" max:"100000"`           // at once, in both directions; 0 = limits.calls
	Pace  int        `yaml:"calls-per-second" min:"1" max:"10000"` // new ones, in both directions; 0 = no limit
	SIP   *SIPTrunk  `yaml:"sip"`
	RIPT  *RIPTTrunk `yaml:"ript"`

	Codecs   []Codec `yaml:"codecs"` // what may be spoken and shown there, best first; empty = everything
	Facts    Facts   `yaml:"facts"`
	Transfer string  `yaml:"transfer" oneof:"refuse allow"` // may its parties have the other one connected elsewhere
}

// Facts says what a peer is believed, and told, about calls beside who calls
// whom. The names are those of the protocol's members.
type Facts struct {
	Accept []string `yaml:"accept" oneof:"all none routing carrier trunkGroup category line diversions priority location languages callerName privacy charging connected"`
	Send   []string `yaml:"send" oneof:"all none routing carrier trunkGroup category line diversions priority location languages callerName privacy charging connected"`
	Carry  []string `yaml:"carry"` // names of SIP header fields
}

// SIPTrunk is a peer on the legacy side.
type SIPTrunk struct {
	Peer         HostPort         `yaml:"peer"`
	Transport    string           `yaml:"transport" oneof:"auto udp tcp tls ws wss"`
	Listen       Listen           `yaml:"listen"`                    // where it is spoken to; the zero value = at all of SIP.Listen
	Advertise    Host             `yaml:"advertise"`                 // shown to it instead of SIP.Advertise
	MediaShown   netip.Addr       `yaml:"advertise-media"`           // shown to it in SDP; default: that of Advertise
	Match        []netip.Prefix   `yaml:"match"`                     // source addresses of its requests; default: the peer's address
	Rate         int              `yaml:"rate" min:"1" max:"100000"` // messages a second from each address; 0 = sip's defaults
	Callers      []policy.Pattern `yaml:"callers"`                   // caller numbers it may use
	RingTimeout  time.Duration    `yaml:"ring-timeout"`
	SRTP         string           `yaml:"srtp" oneof:"off optional required dtls"`
	SRTPKeys     string           `yaml:"srtp-keys" oneof:"tls clear"` // where keys of SRTP may be sent and taken
	DTMF         string           `yaml:"dtmf" oneof:"auto rfc4733 info inband"`
	MediaTimeout time.Duration    `yaml:"media-timeout"` // 0 = never
	Identity     string           `yaml:"identity" oneof:"optional required"`
	Anonymous    string           `yaml:"anonymous" oneof:"refuse allow"` // callers who want not to be shown
	Number       policy.Pattern   `yaml:"number"`                         // stands for callers that the peer does not name; one number
	Diversions   string           `yaml:"diversions" oneof:"diversion history-info"`
	Numbers      Numbers          `yaml:"numbers"`                              // how the peer writes numbers
	Reliable     string           `yaml:"reliable" oneof:"off support require"` // provisional answers
	Timer        string           `yaml:"timer" oneof:"never accept require"`   // session timers
	TimerEvery   time.Duration    `yaml:"timer-interval"`                       // that we ask for

	TLS       *SIPTLS       `yaml:"tls"`                             // nil: SIP.TLS, the system's roots, and the peer's own name
	Probe     time.Duration `yaml:"probe"`                           // between OPTIONS that ask whether it lives; 0 = none
	Redirects string        `yaml:"redirects" oneof:"refuse follow"` // 3xx to the trunk's own servers
	Moved     string        `yaml:"moved" oneof:"reinvite replaces"` // how it is told that another node has its call

	Login  *Login     `yaml:"login"`  // nil: a peer that asks who we are is told nothing
	Accept *SIPAccept `yaml:"accept"` // nil: nobody is asked who they are

	Register *SIPRegister `yaml:"register"` // nil: the peer knows where to call us
}

// RIPTTrunk is a peer on the web side: one we connect to, one that connects to
// us, or both.
type RIPTTrunk struct {
	Connect string           `yaml:"connect"` // https://host:port at which we place calls; "" = where the peer registers, if anywhere
	Client  string           `yaml:"client"`  // our OAuth client id there; default: the node's name
	Numbers []policy.Pattern `yaml:"numbers"` // caller numbers we sign for on calls to the peer
	Roots   File             `yaml:"roots"`   // private CA of the peer's TLS; "" = the system's
	Media   string           `yaml:"media" oneof:"auto webtransport trunk striped put-get"`
	Silence time.Duration    `yaml:"silence"`                    // after which media that nobody acknowledges is taken for lost
	E2EKeys File             `yaml:"e2e-keys"`                   // SFrame keys, with which we are an end of its calls; "" = none
	Inbound string           `yaml:"inbound" oneof:"true false"` // whether the peer is told where to call us; default: if it can be
	Accept  *Accept          `yaml:"accept"`

	RootCAs Anchors            // loaded from Roots by Load
	Keys    Secret[*seal.Ring] // loaded from E2EKeys by Load
}

// Accept is the TG we host for a peer.
type Accept struct {
	Client       string           `yaml:"client"`  // its OAuth client id; default: the trunk's name
	Key          File             `yaml:"key"`     // its public key, PEM or JWKS
	Callers      []policy.Pattern `yaml:"callers"` // caller numbers it may vouch for
	Destinations []policy.Pattern `yaml:"destinations"`
	Except       []policy.Pattern `yaml:"except"` // not these destinations
	Hosts        []string         `yaml:"hosts"`  // host names at which it may want its own calls; none = any, with public addresses

	PublicKeys []PublicKey // loaded from Key by Load
}

// Route sends calls that came in on From, to a number in To, out on Trunk.
type Route struct {
	From  string         `yaml:"from"`
	To    policy.Pattern `yaml:"to"`
	Trunk []string       `yaml:"trunk"` // the first gets the call, the others what it does not take

	NextOn     []policy.Status `yaml:"next-on"` // answers after which the next trunk gets the call; default: policy.DefaultReroute
	AfterMedia string          `yaml:"next-after-media" oneof:"true false"`
}

// Via is the trunk that gets the calls first.
func (r Route) Via() string {
	if len(r.Trunk) == 0 {
		return ""
	}
	return r.Trunk[0]
}

// Limits protect the box.
type Limits struct {
	Calls      int    `yaml:"calls" min:"1" max:"100000"` // at once
	Unrecorded string `yaml:"unrecorded" oneof:"refuse accept"`
}

// Trunk finds a trunk by its name.
func (c *Config) Trunk(name string) (Trunk, bool) {
	for _, t := range c.Trunks {
		if t.Name == name {
			return t, true
		}
	}
	return Trunk{}, false
}

// Defaults that do not depend on the host or on other keys.
const (
	defaultState       = "/var/lib/riptide"
	defaultRingTimeout = 180 * time.Second
	// RFC 4028 section 4 recommends it.
	defaultTimerInterval = 30 * time.Minute
	leastTimerInterval   = 90 * time.Second
	mostTimerInterval    = 24 * time.Hour
	defaultCalls         = 2000
	// Core draft, "Ungraceful Migration".
	defaultSilence = time.Second
	leastSilence   = 200 * time.Millisecond
	mostSilence    = 2 * time.Second
)

var defaultMediaPorts = PortRange{First: 16384, Last: 32767}

// Default is the configuration of an empty file on this host.
func Default() Config {
	return Config{
		Node:   defaultNode(),
		State:  defaultStateDir(),
		Admin:  netip.MustParseAddrPort("127.0.0.1:9090"),
		Log:    Log{Level: "info", Format: "text", Store: "notices"},
		SIP:    SIP{Media: SIPMedia{Ports: defaultMediaPorts}},
		Limits: Limits{Calls: defaultCalls, Unrecorded: "refuse"},
	}
}

// The host's name up to the first dot: a node is named, not addressed.
func defaultNode() string {
	host, _ := os.Hostname()
	host, _, _ = strings.Cut(strings.ToLower(host), ".")
	if !isName(host) {
		return "riptide"
	}
	return host
}

// systemd sets STATE_DIRECTORY from StateDirectory=; several are separated by
// colons (systemd.exec(5)).
func defaultStateDir() string {
	dir, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":")
	if !filepath.IsAbs(dir) {
		return defaultState
	}
	return dir
}

// fill gives keys that were not written the defaults that follow from others.
func (c *Config) fill() {
	c.Cluster.fill()
	c.SIP.fill(c.Trunks)
	c.Trace.fill()
	if l := c.RIPT.Listen; c.RIPT.Authority == "" && l.IsValid() && !l.Addr().IsUnspecified() && l.Port() != 0 {
		c.RIPT.Authority = l.String()
	}
	for i := range c.Routes {
		if r := &c.Routes[i]; len(r.NextOn) == 0 {
			r.NextOn = policy.DefaultReroute
		}
		if c.Routes[i].AfterMedia == "" {
			c.Routes[i].AfterMedia = "false"
		}
	}
	for i := range c.Trunks {
		c.Trunks[i].fill(c.Node)
		if r := c.Trunks[i].RIPT; r != nil && r.Inbound == "" {
			r.Inbound = strconv.FormatBool(r.Connect != "" && c.RIPT.Listen.IsValid() && isDNSName(c.RIPT.Authority))
		}
	}
}

// defaultFacts harm nobody if they are wrong: they name people, and do not
// route, bill or rank a call.
func defaultFacts() []string {
	return []string{"callerName", "connected", "diversions", "languages", "location", "privacy"}
}

// isDNSName tells an authority that peers reach by a name: one with an address
// is not registered anywhere.
func isDNSName(authority string) bool {
	host, _, err := splitHostPort(authority, 443)
	if err != nil {
		return false
	}
	_, err = netip.ParseAddr(host)
	return err != nil
}

func (t *Trunk) fill(node string) {
	if len(t.Facts.Accept) == 0 {
		t.Facts.Accept = defaultFacts()
	}
	if len(t.Facts.Send) == 0 {
		t.Facts.Send = defaultFacts()
	}
	if t.Transfer == "" {
		t.Transfer = "refuse"
	}
	t.SIP.fill()
	if r := t.RIPT; r != nil {
		if r.Client == "" {
			r.Client = node
		}
		if r.Media == "" {
			r.Media = "auto"
		}
		r.Silence = cmp.Or(r.Silence, defaultSilence)
		if a := r.Accept; a != nil && a.Client == "" {
			a.Client = t.Name
		}
		if a := r.Accept; a != nil && len(a.Destinations) == 0 {
			a.Destinations = []policy.Pattern{"*"}
		}
	}
}

func (s *SIPTrunk) fill() {
	if s == nil {
		return
	}
	if s.Transport == "" {
		s.Transport = "udp"
		if _, err := netip.ParseAddr(s.Peer.Host); err != nil && s.Peer.Port == 0 {
			s.Transport = "auto"
		}
	}
	s.RingTimeout = cmp.Or(s.RingTimeout, defaultRingTimeout)
	s.Identity = cmp.Or(s.Identity, "optional")
	s.SRTP = cmp.Or(s.SRTP, "optional")
	s.DTMF = cmp.Or(s.DTMF, "auto")
	s.SRTPKeys = cmp.Or(s.SRTPKeys, "tls")
	if s.TLS != nil && s.TLS.Client == "" {
		s.TLS.Client = "optional"
	}
	s.Anonymous = cmp.Or(s.Anonymous, "refuse")
	s.Reliable = cmp.Or(s.Reliable, "support")
	s.Timer = cmp.Or(s.Timer, "accept")
	s.TimerEvery = cmp.Or(s.TimerEvery, defaultTimerInterval)
	s.Accept.fill()
	s.Register.fill()
	s.Redirects = cmp.Or(s.Redirects, "refuse")
	s.Moved = cmp.Or(s.Moved, "reinvite")
	s.Diversions = cmp.Or(s.Diversions, "diversion")
	s.Numbers.fill()
	if ip, err := netip.ParseAddr(s.Peer.Host); err == nil && len(s.Match) == 0 && !s.byCertificate() {
		s.Match = []netip.Prefix{netip.PrefixFrom(ip, ip.BitLen())}
	}
}
