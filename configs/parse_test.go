package configs

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"riptide/policy"
)

const full = `
node: office
state: /tmp/riptide
admin: 127.0.0.1:0
cluster:
  nodes: {office: {address: 192.0.2.11:6222}, b: {address: b.example:6222}, w: {address: 192.0.2.13:6222, witness: true}}
  listen: 0.0.0.0:6222
  tls: {certificate: node.crt, key: node.key, ca: nodes-ca.crt}
  key: cluster.key
  nats: tls://nats.example:4222
  cut-off: carry-on
log: {level: debug, format: json, store: debug}
trace: {hep: Homer.example, hep-id: 2001, hep-password: homer.password}
sip:
  listen: [0.0.0.0:5060, "tls:[::]:5061"]
  tls: {certificate: sip.crt, key: sip.key}
  advertise: 203.0.113.5
  media: {address: 127.0.0.1, ports: 20000-20099}
  dns: 127.0.0.1:5353
ript:
  listen: 0.0.0.0:8443
  authority: Telco.example:8443
  tls: {certificate: tls.crt, key: /etc/tls.key}
  key: credential:client.key
  token-key: tokens.key
identity:
  ca: {certificate: ca.crt, key: ca.key}
  roots: roots.pem
trunks:
  pbx:
    sip:
      peer: 127.0.0.1:5080
      transport: tls
      rate: 50
      tls: {certificate: sip-client.crt, key: sip-client.key, roots: carrier-ca.pem, name: Sip.carrier.example, client: required}
      listen: tls:192.0.2.1:5070
      advertise: SIP.example.net
      advertise-media: 203.0.113.6
      match: [127.0.0.1/32, "2001:db8::/32"]
      callers: [+12025550123, "+1202555xxxx", "*"]
      numbers: {country: 44, international: 00, national: 0, bare: e164, domain: pbx.example, write: national, rewrite: [{from: "9", to: ""}, {from: "*1", to: "+4420"}]}
      ring-timeout: 30s
      identity: required
      anonymous: allow
      number: "+12025550100"
      diversions: history-info
      login: {user: alice, password: pbx.password, realm: pbx.example}
      reliable: require
      srtp: required
      srtp-keys: clear
      dtmf: inband
      media-timeout: 2m
      timer: require
      timer-interval: 90s
      probe: 30s
      redirects: follow
      moved: replaces
      register: {user: "4711", domain: pbx.example, expires: 10m, bulk: true}
      accept: {users: pbx.users, register: allow, from: match, algorithms: MD5, min-expires: 30s, max-expires: 2h}
    facts: {accept: all, send: [callerName, privacy], carry: [X-Account, Subject]}
    transfer: allow
    codecs: [PCMA, opus, vp8]
  telco:
    calls: 40
    calls-per-second: 5
    ript:
      connect: https://Peer.example:9443/
      client: box-7
      numbers: ["+1202555xxxx"]
      roots: ca.pem
      media: put-get
      silence: 300ms
      inbound: false
      e2e-keys: e2e.json
      accept:
        client: tel
        key: telco.pub
        callers: ["+1202555xxxx"]
        destinations: ["+1*"]
        except: ["+1900*"]
        hosts: ["*.telco.example"]
routes:
  - {from: pbx, to: "+*", trunk: telco}
  - {from: telco, to: "+1*", trunk: [pbx, telco], next-on: [404, 5xx], next-after-media: true}
limits: {calls: 7, unrecorded: accept}
`

func TestParseEveryKey(t *testing.T) {
	c, problems := Parse("/etc/riptide/riptide.yaml", []byte(full))
	if len(problems) > 0 {
		t.Fatal(Problems(problems))
	}
	want := &Config{
		Node: "office", State: "/tmp/riptide", Admin: netip.MustParseAddrPort("127.0.0.1:0"),
		Log:   Log{"debug", "json", "debug"},
		Trace: Trace{HEP: HostPort{"Homer.example", 9060}, ID: 2001, Password: "/etc/riptide/homer.password"},
		SIP: SIP{Listen: []Listen{{"", netip.MustParseAddrPort("0.0.0.0:5060")}, {"tls", netip.MustParseAddrPort("[::]:5061")}},
			TLS: TLS{Certificate: "/etc/riptide/sip.crt", Key: "/etc/riptide/sip.key"}, Advertise: []netip.Addr{netip.MustParseAddr("203.0.113.5")},
			Media: SIPMedia{[]netip.Addr{netip.MustParseAddr("127.0.0.1")}, PortRange{20000, 20099}}, DNS: netip.MustParseAddrPort("127.0.0.1:5353")},
		RIPT: RIPT{Listen: netip.MustParseAddrPort("0.0.0.0:8443"), Authority: "telco.example:8443",
			TLS: TLS{Certificate: "/etc/riptide/tls.crt", Key: "/etc/tls.key"}, Key: "credential:client.key", Tokens: "/etc/riptide/tokens.key"},
		Identity: Identity{CA: &CA{Certificate: "/etc/riptide/ca.crt", Key: "/etc/riptide/ca.key"}, Roots: []File{"/etc/riptide/roots.pem"}},
		Trunks: []Trunk{
			{Name: "pbx", SIP: &SIPTrunk{Peer: HostPort{"127.0.0.1", 5080}, Transport: "tls", Rate: 50,
				TLS:    &SIPTLS{Certificate: "/etc/riptide/sip-client.crt", Key: "/etc/riptide/sip-client.key", Roots: "/etc/riptide/carrier-ca.pem", Name: "sip.carrier.example", Client: "required"},
				Listen: Listen{"tls", netip.MustParseAddrPort("192.0.2.1:5070")}, Advertise: "sip.example.net", MediaShown: netip.MustParseAddr("203.0.113.6"),
				Match:   []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("2001:db8::/32")},
				Callers: []policy.Pattern{"+12025550123", "+1202555xxxx", "*"}, RingTimeout: 30 * time.Second, Identity: "required",
				SRTP: "required", SRTPKeys: "clear", DTMF: "inband", MediaTimeout: 2 * time.Minute,
				Anonymous: "allow", Number: "+12025550100", Diversions: "history-info",
				Numbers: Numbers{"44", "00", "0", "e164", "pbx.example", "national", []Rewrite{{"9", ""}, {"*1", "+4420"}}},
				Login:   &Login{User: "alice", Password: "/etc/riptide/pbx.password", Realm: "pbx.example"}, Reliable: "require", Timer: "require", TimerEvery: 90 * time.Second,
				Probe: 30 * time.Second, Redirects: "follow", Moved: "replaces",
				Register: &SIPRegister{User: "4711", Domain: "pbx.example", Expires: 10 * time.Minute, Bulk: "true"},
				Accept:   &SIPAccept{Users: "/etc/riptide/pbx.users", Register: "allow", From: "match", Algorithms: []string{"MD5"}, MinExpires: 30 * time.Second, MaxExpires: 2 * time.Hour}},
				Facts:    Facts{Accept: []string{"all"}, Send: []string{"callerName", "privacy"}, Carry: []string{"X-Account", "Subject"}},
				Transfer: "allow", Codecs: []Codec{"PCMA", "opus", "VP8"}},
			{Name: "telco", Calls: 40, Pace: 5, RIPT: &RIPTTrunk{Connect: "https://peer.example:9443", Client: "box-7",
				Numbers: []policy.Pattern{"+1202555xxxx"}, Roots: "/etc/riptide/ca.pem", Media: "put-get", Silence: 300 * time.Millisecond, E2EKeys: "/etc/riptide/e2e.json", Inbound: "false",
				Accept: &Accept{Client: "tel", Key: "/etc/riptide/telco.pub", Callers: []policy.Pattern{"+1202555xxxx"},
					Destinations: []policy.Pattern{"+1*"}, Except: []policy.Pattern{"+1900*"}, Hosts: []string{"*.telco.example"}}},
				Facts: Facts{Accept: defaultFacts(), Send: defaultFacts()}, Transfer: "refuse"},
		},
		Routes: []Route{
			{From: "pbx", To: "+*", Trunk: []string{"telco"}, NextOn: policy.DefaultReroute, AfterMedia: "false"},
			{From: "telco", To: "+1*", Trunk: []string{"pbx", "telco"}, NextOn: []policy.Status{"404", "5xx"}, AfterMedia: "true"},
		},
		Limits: Limits{7, "accept"},
		Cluster: &Cluster{
			Nodes:  []ClusterNode{{"office", HostPort{"192.0.2.11", 6222}, "false"}, {"b", HostPort{"b.example", 6222}, "false"}, {"w", HostPort{"192.0.2.13", 6222}, "true"}},
			Listen: netip.MustParseAddrPort("0.0.0.0:6222"),
			TLS:    ClusterTLS{Certificate: "/etc/riptide/node.crt", Key: "/etc/riptide/node.key", CA: "/etc/riptide/nodes-ca.crt"},
			Key:    "/etc/riptide/cluster.key", NATS: []string{"tls://nats.example:4222"}, CutOff: "carry-on",
		},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

// TestFullNamesEveryKey keeps TestParseEveryKey honest when a key is added.
func TestFullNamesEveryKey(t *testing.T) {
	_, d := parse("x.yaml", []byte(full))
	seen := map[string]bool{}
	for key := range d.at {
		key = strings.NewReplacer("trunks.pbx", "trunks.NAME", "trunks.telco", "trunks.NAME", "routes[0]", "routes[]", "routes[1]", "routes[]", "rewrite[0]", "rewrite[]", "nodes.office", "nodes.NAME", "nodes.w", "nodes.NAME").Replace(key)
		seen[key] = true
	}
	for _, key := range Keys() {
		if !seen[key] {
			t.Errorf("the test's configuration lacks %s", key)
		}
	}
}

func TestDefaults(t *testing.T) {
	t.Setenv("STATE_DIRECTORY", "/run/a:/run/b")
	c, problems := Parse("x.yaml", []byte(`
node: box
trunks:
  a: {sip: {peer: 192.0.2.1}}
  b: {ript: {accept: {key: b.pub, callers: "+1*"}}}
ript: {listen: "127.0.0.1:8443", tls: {certificate: a, key: b}}
identity: {ca: {certificate: a, key: b}}
log:
`))
	if len(problems) > 0 {
		t.Fatal(Problems(problems))
	}
	a, _ := c.Trunk("a")
	b, _ := c.Trunk("b")
	for _, tc := range []struct{ name, got, want string }{
		{"state", c.State, "/run/a"},
		{"admin", c.Admin.String(), "127.0.0.1:9090"},
		{"log", c.Log.Level + c.Log.Format, "infotext"},
		{"sip.listen", c.SIP.Listen[0].String(), "127.0.0.1:5060"},
		{"sip.advertise", fmt.Sprint(c.SIP.Advertise), "[]"},
		{"sip.media.address", c.SIP.Media.Address[0].String(), "127.0.0.1"},
		{"sip.media.ports", c.SIP.Media.Ports.String(), "16384-32767"},
		{"ript.authority", c.RIPT.Authority, "127.0.0.1:8443"},
		{"peer", a.SIP.Peer.String(), "192.0.2.1"},
		{"transport", a.SIP.Transport, "udp"},
		{"match", a.SIP.Match[0].String(), "192.0.2.1/32"},
		{"ring-timeout", a.SIP.RingTimeout.String(), "3m0s"},
		{"identity", a.SIP.Identity, "optional"},
		{"reliable", a.SIP.Reliable, "support"},
		{"timer", a.SIP.Timer + " " + a.SIP.TimerEvery.String(), "accept 30m0s"},
		{"client", b.RIPT.Client, "box"},
		{"media", b.RIPT.Media, "auto"},
		{"accept.client", b.RIPT.Accept.Client, "b"},
		{"accept.destinations", string(b.RIPT.Accept.Destinations[0]), "*"},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, tc.got, tc.want)
		}
	}
	if c.Limits.Calls != 2000 {
		t.Errorf("limits.calls: got %d", c.Limits.Calls)
	}
}

func TestEmptyFile(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n", "\n\n"} {
		c, problems := Parse("x.yaml", []byte(text))
		if len(problems) > 0 || c.Limits.Calls != 2000 {
			t.Errorf("%q: %v", text, problems)
		}
	}
}

func TestTooLarge(t *testing.T) {
	at := append([]byte("node: a\n#"), strings.Repeat("x", maxFile-9)...)
	if _, problems := Parse("x.yaml", at); len(problems) > 0 {
		t.Errorf("at the limit: %v", problems)
	}
	if _, problems := Parse("x.yaml", append(at, 'x')); len(problems) != 1 {
		t.Errorf("one past the limit: %v", problems)
	}
	path := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(path, append(at, 'x'), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil {
		t.Error("Load took a file past the limit")
	}
}

func TestNesting(t *testing.T) {
	for n, ok := range map[int]bool{maxNesting: true, maxNesting + 1: false, 100000: false} {
		_, problems := Parse("x.yaml", []byte("node: "+strings.Repeat("[", n)+strings.Repeat("]", n)))
		tooDeep := len(problems) == 1 && strings.Contains(problems[0].What, "brackets")
		if tooDeep == ok {
			t.Errorf("%d brackets: %v", n, problems)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	for _, tc := range mistakes {
		f.Add([]byte(tc.text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, problems := Parse("x.yaml", b)
		if c == nil && len(problems) == 0 {
			t.Error("neither a configuration nor a problem")
		}
		for _, p := range problems {
			if p.What == "" || strings.Contains(p.String(), "\x00") {
				t.Errorf("useless problem: %q", p)
			}
		}
	})
}
