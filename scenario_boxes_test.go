package main_test

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"riptide/configs/setup"
	"riptide/sip/siptest"
)

// boxes are a cluster of three, each a process of its own: two between a PBX and
// as many carriers as there are calls, and a witness.
type boxes struct {
	t      *testing.T
	dir    string
	nodes  map[string]node
	kills  map[string]func()
	logs   []processLog
	newest map[string]int // of each node, in logs

	phones  *siptest.Namespace // where the telephones are; nil = here
	spaces  map[string]*siptest.Namespace
	pbx     string   // host of the callers
	callees []string // HOST:PORT of each callee
}

// boxNames are their names, in the order of their addresses.
var boxNames = []string{"one", "two", "witness"}

// boxesOptions says how.
type boxesOptions struct {
	calls int                // callees there are, and one more
	apart bool               // each has a network of its own
	ca    *siptest.Authority // of the nodes; default one of their own
	keys  string             // more of cluster, each line with two spaces before it
	more  map[string]string  // more of a node's configuration
}

// boxRigs counts them, so that each has addresses of its own.
var boxRigs atomic.Int32

// newBoxes starts three, and waits until they are ready.
func newBoxes(t *testing.T, o boxesOptions) *boxes {
	t.Helper()
	b := &boxes{t: t, dir: t.TempDir(), nodes: map[string]node{}, kills: map[string]func(){}, newest: map[string]int{}}
	rig := boxRigs.Add(1)
	hosts := [2]string{fmt.Sprintf("127.1.%d.1", rig), fmt.Sprintf("127.1.%d.2", rig)}
	phones := fmt.Sprintf("127.1.%d.", rig)
	at := [3]string{loopback(t), loopback(t), loopback(t)}
	if o.apart {
		b.wire()
		hosts, phones = [2]string{"10.97.0.1", "10.97.1.1"}, "10.96.0."
		at = [3]string{"10.99.0.1:6222", "10.99.0.2:6222", "10.99.0.3:6222"}
	}
	b.pbx = phones + "10"
	trunks := fmt.Sprintf("trunks:\n  pbx: {sip: {peer: %s, callers: \"*\"}}\n", b.pbx)
	routes := "routes:\n"
	for i := range o.calls + 1 {
		host := phones + strconv.Itoa(20+i)
		b.callees = append(b.callees, host+":5060")
		trunks += fmt.Sprintf("  carrier-%d: {sip: {peer: \"%s:5060\", callers: \"*\"}}\n", i, host)
		routes += fmt.Sprintf("  - {from: pbx, to: %q, trunk: carrier-%d}\n", b.number(i), i)
		if o.apart {
			b.ip(b.phones, "address", "add", host+"/32", "dev", "lo")
		}
	}
	if o.ca == nil {
		o.ca = siptest.NewAuthority(t)
	}
	cluster := b.cluster(o.ca, at, o.keys)
	for i, name := range boxNames {
		n := siteNode(t, b.dir, name)
		text := ""
		if name != "witness" {
			n.sip = hosts[i] + ":5060"
			text = fmt.Sprintf("sip:\n  listen: %s\n  media: {ports: 16384-17383}\n%s%s", n.sip, trunks, routes)
		}
		if o.apart {
			n.admin, n.ns = "127.0.0.1:9090", b.spaces[name]
		}
		text = fmt.Sprintf("node: %s\nstate: %s\nadmin: %s\nlog: {format: json}\n%s%s%s", name, filepath.Join(n.dir, "state"), n.admin, cluster[i], text, o.more[name])
		if err := os.MkdirAll(n.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(n.dir, setup.ConfigFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		b.nodes[name] = n
		b.start(name)
	}
	for _, n := range b.nodes {
		n.awaitReady(t, "")
	}
	return b
}

// cluster is that section for each of the nodes, which are at these addresses.
func (b *boxes) cluster(ca *siptest.Authority, at [3]string, keys string) (sections []string) {
	text := "cluster:\n  nodes:\n"
	for i, name := range boxNames {
		text += fmt.Sprintf("    %s: {address: %q, witness: %v}\n", name, at[i], name == "witness")
	}
	sealing := make([]byte, 32)
	_, _ = rand.Read(sealing) // never fails (crypto/rand)
	key := filepath.Join(b.dir, "cluster.key")
	if err := os.WriteFile(key, []byte(base64.StdEncoding.EncodeToString(sealing)), 0o600); err != nil {
		b.t.Fatal(err)
	}
	for _, own := range at {
		host, _, _ := strings.Cut(own, ":")
		certificate, private := ca.Issue(host)
		sections = append(sections, text+fmt.Sprintf("  tls: {certificate: %s, key: %s, ca: %s}\n  key: %s\n%s", certificate, private, ca.Roots, key, keys))
	}
	return sections
}

// number is who is called for a callee.
func (b *boxes) number(callee int) string { return fmt.Sprintf("+1202555%04d", 200+callee) }

// start starts a node, with a log of its own.
func (b *boxes) start(name string) {
	b.t.Helper()
	n := b.nodes[name]
	n.log = filepath.Join(n.dir, fmt.Sprintf("%s-%d.log", name, len(b.logs)))
	b.nodes[name], b.newest[name] = n, len(b.logs)
	b.logs = append(b.logs, processLog{path: n.log})
	b.kills[name] = serveNode(b.t, n)
}

// kill ends a node without a word.
func (b *boxes) kill(name string) {
	b.t.Helper()
	b.kills[name]()
	b.logs[b.newest[name]].ended = time.Now()
}

// wire gives each node a network of its own, a wire to each other node, and one
// to the telephones.
func (b *boxes) wire() {
	t := b.t
	t.Helper()
	b.phones = siptest.NewNamespaceAt(t, "10.96.0.10")
	b.spaces = map[string]*siptest.Namespace{}
	for i, name := range boxNames {
		b.spaces[name] = siptest.NewNamespaceAt(t, fmt.Sprintf("10.99.0.%d", i+1))
	}
	for i, ends := range [][2]int{{0, 1}, {0, 2}, {1, 2}} {
		left, right := boxNames[ends[0]], boxNames[ends[1]]
		a, z := fmt.Sprintf("10.98.%d.1", i), fmt.Sprintf("10.98.%d.2", i)
		b.spaces[left].Join(t, "to-"+right, a, b.spaces[right], "to-"+left, z)
		b.ip(b.spaces[left], "route", "replace", b.spaces[right].Addr+"/32", "via", z, "src", b.spaces[left].Addr)
		b.ip(b.spaces[right], "route", "replace", b.spaces[left].Addr+"/32", "via", a, "src", b.spaces[right].Addr)
	}
	for i, name := range boxNames[:2] {
		ns := b.spaces[name]
		ns.Join(t, "phones", fmt.Sprintf("10.97.%d.1", i), b.phones, name, fmt.Sprintf("10.97.%d.2", i))
		b.ip(ns, "route", "replace", "10.96.0.0/24", "via", fmt.Sprintf("10.97.%d.2", i))
		b.nft(ns, "add table inet watch; add counter inet watch sent; add chain inet watch out { type filter hook output priority 0; }; "+
			`add rule inet watch out oifname "phones" meta l4proto { tcp, udp } counter name "sent"`)
	}
}

func (b *boxes) ip(ns *siptest.Namespace, args ...string) {
	b.t.Helper()
	if out, err := ns.Command("ip", args...).CombinedOutput(); err != nil {
		b.t.Fatalf("ip %v: %v: %s", args, err, out)
	}
}

func (b *boxes) nft(ns *siptest.Namespace, args ...string) string {
	b.t.Helper()
	siptest.Need(b.t, "nft")
	out, err := ns.Command("nft", args...).CombinedOutput()
	if err != nil {
		b.t.Fatalf("nft %v: %v: %s", args, err, out)
	}
	return string(out)
}

// cutOff loses all that a node and the others send each other, without a word.
func (b *boxes) cutOff(name string) {
	b.t.Helper()
	rules := "add table inet cut; add chain inet cut in { type filter hook input priority 0; }; add chain inet cut out { type filter hook output priority 0; }; "
	b.nft(b.spaces[name], rules+`add rule inet cut in iifname "to-*" drop; add rule inet cut out oifname "to-*" drop`)
}

// rejoin mends that.
func (b *boxes) rejoin(name string) {
	b.t.Helper()
	b.nft(b.spaces[name], "delete table inet cut")
}

var counted = regexp.MustCompile(`packets (\d+)`)

// sent is how many packets, of SIP and of media, a node has sent to the telephones.
func (b *boxes) sent(name string) int {
	b.t.Helper()
	m := counted.FindStringSubmatch(b.nft(b.spaces[name], "list", "counter", "inet", "watch", "sent"))
	if m == nil {
		b.t.Fatal("nft counts nothing")
	}
	n, _ := strconv.Atoi(m[1])
	return n
}
