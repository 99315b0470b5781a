package main_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
	"riptide/configs/setup"
	"riptide/policy"
	"riptide/sip"
	"riptide/sip/rtp"
	"riptide/sip/siptest"
)

// shared is a telco of two nodes that share a store, with the witness that makes
// them three, behind a balancer; and an office that calls it and is called by it.
// SIP telephones that this process plays stand behind either.
type shared struct {
	*front
	office  node
	offices [2]node // where the office is two nodes; the office is the first
	nodes   [2]node
	witness node
	kills   [2]func()
	served  [2]*served
	others  map[string]*served // the office's process, and the witness's
	pbx     *telephone         // behind the office; nil = it is another program
	carrier *telephone         // behind both nodes of the telco
}

// sharedOptions say what it is made of.
type sharedOptions struct {
	balancer func(*front)
	media    string // of the RIPT trunks; default auto
	telco    string // more lines of the nodes' configuration
	office   string // of the office's

	netns        *siptest.Namespace             // where everything runs; nil = here
	pbx, carrier string                         // SIP peers in the places of our telephones
	edit         func(node, text string) string // changes a node's configuration; "office" or "telco-1"
	offices      bool                           // the office is two nodes and a witness, too
}

// startShared starts everything, and waits until each node is ready.
func startShared(t testing.TB, o sharedOptions) *shared {
	t.Helper()
	c := &shared{front: &front{t: t, dir: t.TempDir(), authority: loopback(t), netns: o.netns}}
	c.office = c.siteNode(t.TempDir(), "office")
	for i := range c.nodes {
		c.nodes[i] = c.siteNode(c.dir, fmt.Sprintf("telco-%d", i+1))
	}
	c.witness, c.others = c.siteNode(c.dir, "witness"), map[string]*served{}
	host, _, _ := net.SplitHostPort(c.authority)
	for dir, name := range map[string]string{c.dir: "telco", c.office.dir: "office"} {
		if err := setup.Create(setup.Options{Dir: dir, Node: name, Hosts: []string{host, certified}, Now: time.Now().Add(-24 * time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	if o.pbx == "" {
		c.pbx = startTelephone(t, pbxHz, c.office.sip)
		c.carrier = startTelephone(t, carrierHz, c.nodes[0].sip, c.nodes[1].sip)
		o.pbx, o.carrier = c.pbx.addr, c.carrier.addr
	}
	if o.edit == nil {
		o.edit = func(_, text string) string { return text }
	}
	c.setValues(c.nodes, append(c.storeValues(), "softswitch.core.example:5060", o.carrier)...)
	c.certifyNodes()
	for i, n := range c.nodes {
		c.served[i] = serveProcess(t, c.configure(n, fmt.Sprintf("cluster-%d.yaml", i+1), func(text string) string {
			return o.edit(n.name, c.reachOffice(text, o)+o.telco)
		}))
		c.kills[i] = c.served[i].kill
	}
	c.others["witness"] = serveProcess(t, c.configure(c.witness, "witness.yaml", func(text string) string { return text }))
	c.witness.awaitAlive(t, c.witness.admin)
	for _, n := range c.nodes {
		n.awaitAlive(t, n.ript) // a balancer that comes first holds it against them
	}
	o.balancer(c.front)
	config := nodeConfig{
		peer: node{name: "telco", ript: c.authority, dir: c.dir}, trunk: "pbx", sipPeer: o.pbx, ports: "18000-19999", media: o.media,
		edit: func(name, text string) string { return o.edit(name, text+o.office) },
	}
	if o.offices {
		c.serveOffices(config)
	} else {
		writeConfig(t, c.office, config)
		c.others["office"] = serveProcess(t, c.office)
	}
	for _, n := range append(c.nodes[:], c.office) {
		n.awaitReady(t, "")
	}
	return c
}

// storeValues are addresses of the nodes for each other.
func (c *shared) storeValues() []string {
	var values []string
	for _, addr := range []string{"192.0.2.11:6222", "192.0.2.12:6222", "192.0.2.13:6222"} {
		values = append(values, addr, loopback(c.t))
	}
	return values
}

// certifyNodes makes what the nodes share: who they are to each other, the key of
// the store, and whom they let in.
func (c *shared) certifyNodes() {
	c.t.Helper()
	ca := siptest.NewAuthority(c.t)
	certificate, private := ca.Issue("127.0.0.1")
	sealing := make([]byte, 32)
	_, _ = rand.Read(sealing) // never fails (crypto/rand)
	copies := map[string]string{"node.crt": certificate, "node.key": private, "nodes-ca.crt": ca.Roots, "office.pub": filepath.Join(c.office.dir, setup.ClientPub)}
	for name, from := range copies {
		b, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(c.dir, name), b, 0o600)
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(c.dir, "cluster.key"), []byte(base64.StdEncoding.EncodeToString(sealing)), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// configure writes a node's configuration, from an example.
func (c *shared) configure(n node, example string, edit func(string) string) node {
	c.t.Helper()
	text, err := os.ReadFile(c.example(example))
	if err == nil {
		err = os.MkdirAll(n.dir, 0o700)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	own := strings.NewReplacer("/var/lib/riptide", filepath.Join(n.dir, "state"), "node: ", "admin: "+n.admin+"\nnode: ",
		"listen: "+n.sip, fmt.Sprintf("listen: %s\n  media: {address: %s, ports: 17000-17999}", n.sip, n.mediaAddress()))
	body := edit(own.Replace(string(text)))
	// Files are named relative to that of the configuration.
	for _, f := range []string{"node.crt", "node.key", "nodes-ca.crt", "cluster.key", "tls.crt", "tls.key", "client.key", "stir-ca.crt", "stir-ca.key", "office.pub"} {
		if err := os.Symlink(filepath.Join(c.dir, f), filepath.Join(n.dir, f)); err != nil {
			c.t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(n.dir, setup.ConfigFile), []byte(body), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return n
}

// mediaAddress is one that only this node has: the other may be asked to serve
// a port that this one had.
func (n node) mediaAddress() string { return "127.0.0.3" + n.name[len(n.name)-1:] }

// reachOffice makes a telco that also calls the office.
func (c *shared) reachOffice(text string, o sharedOptions) string {
	text = replace(c.t, text, "    ript:\n      accept:\n", fmt.Sprintf(`    ript:
      connect: https://%s
      client: telco
      numbers: ["+1202555xxxx"]
      roots: %s/ca.crt
      media: %s
      accept:
`, c.office.ript, c.office.dir, map[bool]string{true: "auto", false: o.media}[o.media == ""]))
	text = replace(c.t, text, "  ca: {certificate: stir-ca.crt, key: stir-ca.key}\n", fmt.Sprintf("  ca: {certificate: stir-ca.crt, key: stir-ca.key}\n  roots: [%s/stir-ca.crt]\n", c.office.dir))
	return text + "  - {from: core, to: \"+*\", trunk: office}\n"
}

// awaitAlive waits until the node's process answers at one of its addresses.
func (n node) awaitAlive(t testing.TB, at string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		conn, err := n.dial(t.Context(), "tcp", at)
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s did not start: %v\n%s", n.name, err, n.logText(t))
		}
	}
}

// The tones of the telephones.
const (
	pbxHz     = 620
	carrierHz = 1040
)

// telephone answers calls with a tone and places them, and knows how long each
// of its ends has heard nothing.
type telephone struct {
	t        testing.TB
	hz       float64
	addr     string
	agent    *sip.Agent
	trunks   []string
	answerer *bridgetest.Answerer
	talks    sync.WaitGroup
	hangUp   context.CancelFunc
	talking  context.Context

	mu    sync.Mutex
	ears  map[bool][]*bridgetest.ToneSink // of calls that it placed, and others
	early []error                         // of calls placed: not answered, or ended by others
}

// startTelephone starts one behind nodes, which ends with the test.
func startTelephone(t testing.TB, hz float64, nodes ...string) *telephone {
	t.Helper()
	p := &telephone{t: t, hz: hz, ears: map[bool][]*bridgetest.ToneSink{}}
	p.answerer = &bridgetest.Answerer{Hz: hz, RingFor: 50 * time.Millisecond, MaxCalls: 400, OnAnswer: p.answered}
	pool, err := rtp.NewPool(netip.MustParseAddr("127.0.0.1"), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	cfg := sip.Config{Listen: []string{"127.0.0.1:0"}, Media: pool, Acceptor: p.answerer, Logger: slog.New(slog.DiscardHandler)}
	for i, at := range nodes {
		name := fmt.Sprint("node-", i)
		p.trunks = append(p.trunks, name)
		cfg.Trunks = append(cfg.Trunks, sip.Trunk{Name: name, Peer: at, Match: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AllowUnverified: true})
	}
	if p.agent, err = sip.New(cfg); err != nil {
		t.Fatal(err)
	}
	p.addr = p.agent.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	p.talking, p.hangUp = context.WithCancel(ctx)
	var served sync.WaitGroup
	served.Go(func() { _ = p.agent.Serve(ctx) }) // until the context ends
	t.Cleanup(func() {
		p.end()
		p.answerer.Close()
		stop, over := context.WithTimeout(context.Background(), 5*time.Second)
		defer over()
		_ = p.agent.Shutdown(stop) // a call that does not end in time ends with us
		cancel()
		served.Wait()
	})
	return p
}

// answered is told of each call that comes.
func (p *telephone) answered(call bridge.LegInfo, s *bridgetest.ToneSink) {
	if call.From != streamNumber { // these end by themselves
		p.hears(s, false)
	}
}

func (p *telephone) hears(s *bridgetest.ToneSink, placed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ears[placed] = append(p.ears[placed], s)
}

// call places calls through one of the nodes it stands behind, some a second, and
// returns when all are answered.
func (p *telephone) call(trunk, calls int, from, to string) {
	p.t.Helper()
	answered := make(chan error, 2*calls)
	for i := range calls {
		p.talks.Go(func() {
			caller := bridgetest.Caller{Dialer: p.agent, Hz: p.hz, TalkFor: 2 * time.Hour, OnAnswer: func(s *bridgetest.ToneSink) { p.hears(s, true); answered <- nil }}
			h, err := caller.Call(p.talking, bridge.Intent{
				Call: fmt.Sprint(from, "-", trunk, "-", i), Trunk: p.trunks[trunk], From: policy.Number(from), To: policy.Number(to), Hops: bridge.DefaultHops,
				Media: bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMU, bridge.PCMA}, Digits: true, ComfortNoise: true},
			})
			if err == nil && h.Cause.By != bridge.ByCaller {
				err = h.Cause
			}
			if err != nil {
				p.mu.Lock()
				p.early = append(p.early, err)
				p.mu.Unlock()
				answered <- err
			}
		})
		time.Sleep(50 * time.Millisecond)
	}
	limit := time.After(time.Minute)
	for range calls {
		select {
		case err := <-answered:
			if err != nil {
				p.t.Fatalf("call from %s to %s: %v", from, to, err)
			}
		case <-limit:
			p.t.Fatalf("not all calls from %s to %s were answered", from, to)
		}
	}
}

// end hangs up the calls that it placed.
func (p *telephone) end() {
	p.hangUp()
	p.talks.Wait()
}

// deaf counts the ends that hear nothing at the moment.
func (p *telephone) deaf() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range slices.Concat(p.ears[true], p.ears[false]) {
		if _, now := s.Silence(); now > 300*time.Millisecond {
			n++
		}
	}
	return n
}

// silences are the longest ones of its calls: those that it placed, or the others.
func (p *telephone) silences(placed bool) (all []time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.ears[placed] {
		longest, now := s.Silence()
		all = append(all, max(longest, now))
	}
	return all
}

// goneOn waits until every end hears the other again. A call that does not go on
// fails the test.
func (c *shared) goneOn(t *testing.T) {
	t.Helper()
	time.Sleep(time.Second) // who is about to hear nothing has noticed
	for end := time.Now().Add(35 * time.Second); c.pbx.deaf()+c.carrier.deaf() > 0 && time.Now().Before(end); {
		time.Sleep(100 * time.Millisecond)
	}
	time.Sleep(2 * time.Second) // and it lasts
	for _, p := range []*telephone{c.pbx, c.carrier} {
		for i, s := range p.all() {
			before := s.Frames()
			for end := time.Now().Add(30 * time.Second); s.Frames() < before+10; time.Sleep(20 * time.Millisecond) {
				if time.Now().After(end) {
					c.mustNot(t, "end %d at %s hears nothing", i, p.addr)
					break
				}
			}
		}
		p.mu.Lock()
		early := slices.Clone(p.early)
		p.mu.Unlock()
		if len(early) > 0 {
			c.mustNot(t, "calls ended early: %v", early)
		}
	}
}

// tellSilence logs for how long the ends of calls from one telephone to another
// heard nothing: of those that a fault has hit, which are the longest.
func tellSilence(t testing.TB, what string, hit int, from, to *telephone) {
	t.Helper()
	for end, all := range map[string][]time.Duration{"caller": from.silences(true), "callee": to.silences(false)} {
		slices.SortFunc(all, func(a, b time.Duration) int { return int(b - a) })
		if all = all[:min(hit, len(all))]; len(all) > 0 {
			t.Logf("%s: %d calls, the %s heard nothing for %v (half), %v (99 %%), %v (longest)", what, len(all), end, round(all[len(all)/2]), round(all[len(all)/100]), round(all[0]))
		}
	}
}

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
