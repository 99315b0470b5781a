package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"riptide/configs/setup"
	"riptide/sip/siptest"
)

// A junction is where a node speaks SIP over one transport.
type junction struct {
	t         *testing.T
	transport string
	sip, tls  string // HOST:PORT
	ca        *siptest.Authority
}

func newJunction(t *testing.T, transport, sip string) *junction {
	t.Helper()
	j := &junction{t: t, transport: transport, sip: sip}
	if transport == "tls" {
		j.tls, j.ca = loopback(t), siptest.NewAuthority(t)
	}
	return j
}

// listen is the beginning of the node's sip section.
func (j *junction) listen() string {
	if j.tls == "" {
		return fmt.Sprintf("  listen: %q\n", j.sip)
	}
	cert, key := j.ca.Issue("riptide.test")
	return fmt.Sprintf("  listen: [%q, \"tls:%s\"]\n  tls: {certificate: %q, key: %q}\n", j.sip, j.tls, cert, key)
}

// A crossing is how sipp and a trunk of the junction reach each other: straight,
// or through a kamailio where sipp cannot speak the transport.
type crossing struct {
	trunk []string           // keys of the trunk
	dial  string             // HOST:PORT that sipp sends its calls to
	host  string             // of sipp
	ns    *siptest.Namespace // of sipp, too
	port  int                // where it is called
	tcp   bool               // it speaks TCP
}

// cross makes one. The hosts, addresses of loopback, tell trunks apart.
func (j *junction) cross(host string) crossing {
	j.t.Helper()
	c := crossing{dial: j.sip, host: host, port: siptest.FreePorts(j.t, nil, host, 2), tcp: j.transport == "tcp"}
	called := fmt.Sprintf("%s:%d", host, c.port)
	if j.transport != "tls" {
		c.trunk = []string{fmt.Sprintf("peer: %q", called), "transport: " + j.transport, "match: " + host + "/32"}
		return c
	}
	name := "kamailio-" + strings.ReplaceAll(host, ".", "-") + ".test"
	cert, key := j.ca.Issue(name)
	between := siptest.Gateway{Edge: j.tls + ";transport=tls", Next: called, Certificate: cert, Key: key, CA: j.ca.Roots}.Start(j.t)
	j.t.Cleanup(func() {
		if j.t.Failed() {
			j.t.Logf("%s log (end):\n%s", name, between.Log())
		}
	})
	c.dial = between.UDP
	c.trunk = []string{fmt.Sprintf("peer: %q", between.TLS), "transport: tls", fmt.Sprintf("tls: {roots: %q, name: %s, client: required}", j.ca.Roots, name)}
	return c
}

// changingSBC starts one node with two SIP trunks over a transport.
func changingSBC(t *testing.T, transport string) (nodes []node, from, to crossing) {
	t.Helper()
	n := siteNode(t, t.TempDir(), "sbc")
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	j := newJunction(t, transport, n.sip)
	from, to = j.cross("127.0.0.2"), j.cross("127.0.0.3")
	config := fmt.Sprintf(`state: %q
admin: %s
sip:
%strunks:
  pbx:
    sip: {callers: "*", %s}
  carrier:
    sip: {callers: "*", dtmf: info, %s}
routes:
  - {from: pbx, to: "+*", trunk: carrier}
`, filepath.Join(n.dir, "state"), n.admin, j.listen(), strings.Join(from.trunk, ", "), strings.Join(to.trunk, ", "))
	if err := os.WriteFile(filepath.Join(n.dir, setup.ConfigFile), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	serveNode(t, n)
	n.awaitReady(t, "")
	return []node{n}, from, to
}

// changingPair starts two nodes with RIPT between them, and a SIP trunk each.
func changingPair(t *testing.T, transport string) (nodes []node, from, to crossing) {
	t.Helper()
	p := startSite(t, siteOptions{edit: func(name, config string) string {
		lines := strings.SplitAfter(config, "\n")
		var listen, peer, kind, match int
		for i, l := range lines {
			switch key, _, _ := strings.Cut(strings.TrimSpace(l), ":"); {
			case key == "listen" && listen == 0:
				listen = i
			case key == "peer":
				peer = i
			case key == "transport":
				kind = i
			case key == "match":
				match = i
			}
		}
		j := newJunction(t, transport, strings.Trim(strings.TrimSpace(strings.SplitN(lines[listen], ":", 2)[1]), `"`))
		c := j.cross("127.0.0.1")
		keys := c.trunk
		if name == "office" {
			from = c
		} else {
			to = c
			keys = append(keys, "dtmf: info")
		}
		lines[listen] = j.listen()
		lines[peer] = "      " + strings.Join(keys, "\n      ") + "\n"
		lines[kind], lines[match] = "", ""
		return strings.Join(lines, "")
	}})
	return []node{p.office, p.telco}, from, to
}

// TestSoakChangingCalls: calls that come a hundred a second, each with a session
// of 90 s that the caller refreshes, hold in two ways, resume, an offer left to
// the other side, and a key, which the callee is told of exactly once. None fails,
// over any transport, on one node between two SIP trunks and with RIPT between.
func TestSoakChangingCalls(t *testing.T) {
	besideOthers(t)
	siptest.Shows(t, "udp", "sipp")
	siptest.Shows(t, "tcp", "sipp")
	siptest.Shows(t, "tls", "kamailio")
	siptest.Shows(t, "timers", "sipp")
	siptest.Shows(t, "hold", "sipp")
	siptest.Shows(t, "reinvite", "sipp")
	siptest.Shows(t, "dtmf", "sipp")
	siptest.Shows(t, "dtmf-info", "sipp")
	for _, over := range []struct {
		name  string
		start func(t *testing.T, transport string) ([]node, crossing, crossing)
	}{{"SIP to SIP", changingSBC}, {"SIP to RIPT to SIP", changingPair}} {
		for _, transport := range []string{"udp", "tcp", "tls"} {
			t.Run(over.name+" over "+transport, func(t *testing.T) {
				besideOthers(t)
				nodes, from, to := over.start(t, transport)
				changingCalls(t, nodes, from, to, size(20, 1000), float64(size(10, 100)), 500)
			})
		}
	}
}

// sipLoss has the kernel lose every fiftieth message of SIP that arrives at a
// host, at random.
const sipLoss = `
table inet loss {
	counter lost {}
	counter seen {}
	chain input {
		type filter hook input priority 0;
		udp dport 5060 counter name seen
		udp dport 5060 numgen random mod 50 == 0 counter name lost drop
	}
}
`

// TestSoakChangesUnderLoss: the same over UDP where one SIP message in fifty is
// lost, in every direction, on both sides of the box.
func TestSoakChangesUnderLoss(t *testing.T) {
	besideOthers(t)
	siptest.Shows(t, "loss", "sipp")
	s := startSBC(t, withKeys("carrier", "dtmf: info"))
	hosts := []*siptest.Namespace{s.node.ns, s.pbx, s.carrier}
	for _, ns := range hosts {
		addRules(t, ns, sipLoss)
	}
	from, to := crossing{dial: s.inside, ns: s.pbx, port: 5060}, crossing{ns: s.carrier, port: 5060}
	// Nothing is repeated by sipp after the longest wait of a message that was lost
	// twice, so that the changes of a call are so far apart.
	changingCalls(t, []node{s.node}, from, to, size(20, 1000), float64(size(10, 100)), 4000)
	lost, seen := 0, 0
	for _, ns := range hosts {
		counted := kernelCounters(t, ns)
		lost, seen = lost+counted["lost"], seen+counted["seen"]
	}
	t.Logf("%d of %d messages were lost", lost, seen)
	if lost < size(1, seen/100) {
		t.Errorf("%d of %d messages were lost: nothing is shown", lost, seen)
	}
}

// addRules gives a host rules of nftables.
func addRules(t *testing.T, ns *siptest.Namespace, rules string) {
	t.Helper()
	siptest.Need(t, "nft")
	cmd := ns.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
}

// changingCalls places the calls, and says what there was.
func changingCalls(t *testing.T, nodes []node, from, to crossing, calls int, rate float64, holdMS int) {
	t.Helper()
	const key = "5"
	limit := time.Duration(float64(calls)/rate)*time.Second + 2*time.Minute
	callee := siptest.Sipp{
		Scenario: siptest.UASHearsKey, Script: siptest.Script{RingMS: 50, Key: key}, Host: to.host, Port: to.port, Netns: to.ns, TCP: to.tcp, Calls: calls, Timeout: limit,
	}.Start(t)
	caller := siptest.Sipp{
		Scenario: siptest.UACChanges, Script: siptest.Script{From: officeNumber, HoldMS: holdMS, Key: key, Headers: []string{"Supported: timer", "Session-Expires: 90;refresher=uac"}},
		Host: from.host, Netns: from.ns, TCP: from.tcp, Remote: from.dial, Service: telcoNumber, Calls: calls, Rate: rate, Timeout: limit,
	}.Start(t)
	r := caller.Check(t, calls)
	callee.Check(t, calls)
	t.Logf("%d calls, %d failed, %d retransmissions, mean set-up %v", r.Successful, r.Failed, r.Retransmissions, r.ResponseTime)
	for _, n := range nodes {
		n.settle(t)
		m := n.metrics(t)
		if ended := sum(m, "riptide_calls_total", `cause="normal"`); ended != calls {
			t.Errorf("%s counted %d normal calls, want %d", n.name, ended, calls)
		}
		for name, v := range m {
			if t.Failed() && v != 0 && strings.HasPrefix(name, "riptide_") && !strings.Contains(name, "_bucket{") {
				t.Logf("%s: %s %v", n.name, name, v)
			}
		}
	}
}
