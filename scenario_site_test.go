package main_test

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"text/template"
	"time"

	"riptide/configs/setup"
	"riptide/sip/siptest"
)

// A site is the demo's two bridges, each started by `riptide serve` from the
// demo's own configuration after the test has edited it: for whatever the demo
// does right by itself and operators get wrong.

type siteOptions struct {
	to, from string // SIP peers behind telco and office; default: nobody

	// prepare changes files after all keys were made. dir holds office/ and telco/.
	prepare func(dir string)
	// edit returns a node's configuration as the test wants it.
	edit func(node, config string) string
	// netns is where everything runs.
	netns *siptest.Namespace
	// notReady is what the office's /readyz says in the end, if it is not to
	// become ready.
	notReady string
}

// startSite starts both bridges and waits until they are peered.
func startSite(t testing.TB, o siteOptions) *pair {
	t.Helper()
	p := &pair{t: t, dir: t.TempDir()}
	p.office, p.telco = siteNode(t, p.dir, "office"), siteNode(t, p.dir, "telco")
	p.office.ns, p.telco.ns = o.netns, o.netns
	for _, n := range []node{p.office, p.telco} {
		if err := setup.Create(setup.Options{Dir: n.dir, Node: n.name, Hosts: []string{"127.0.0.1"}, Now: time.Now().Add(-24 * time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	if o.prepare != nil {
		o.prepare(p.dir)
	}
	writeConfig(t, p.office, nodeConfig{peer: p.telco, trunk: "pbx", sipPeer: o.from, ports: "16384-24575", edit: o.edit})
	writeConfig(t, p.telco, nodeConfig{peer: p.office, trunk: "carrier", sipPeer: o.to, ports: "24576-32767", edit: o.edit})
	p.served = map[string]*served{"telco": serveProcess(t, p.telco), "office": serveProcess(t, p.office)}
	p.kills = map[string]func(){"telco": p.served["telco"].kill, "office": p.served["office"].kill}
	p.telco.awaitReady(t, "")
	p.office.awaitReady(t, o.notReady)
	return p
}

// siteNode gives a node a directory in dir and free addresses.
func siteNode(t testing.TB, dir, name string) node {
	t.Helper()
	n := node{name: name, dir: filepath.Join(dir, name), sip: loopback(t), ript: loopback(t), admin: loopback(t)}
	n.log = filepath.Join(n.dir, name+".log")
	return n
}

// loopback is an address with a port that is free, for UDP and TCP.
func loopback(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", siptest.FreePorts(t, nil, "127.0.0.1", 1))
}

// nodeConfig says what is in a node's riptide.yaml.
type nodeConfig struct {
	peer           node
	trunk, sipPeer string // the SIP side; sipPeer "" is nobody
	ports          string // of RTP
	media          string // of the RIPT trunk; default auto

	site    string          // that the node is one of; default itself
	ript    string          // what peers of the site connect to; default the node
	cluster []clusterMember // of the site
	edit    func(node, config string) string
}

// writeConfig writes a node's riptide.yaml as `riptide demo` would, then edited.
func writeConfig(t testing.TB, n node, c nodeConfig) {
	t.Helper()
	tmpl, err := template.ParseFiles("demo.yaml.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	err = tmpl.Option("missingkey=error").Execute(&b, map[string]any{
		"Name": cmp.Or(c.site, n.name), "Node": n.name, "Cluster": c.cluster, "Witness": c.witness(n), "Silence": "", "State": filepath.Join(n.dir, "state"),
		"SIP": n.sip, "RIPT": cmp.Or(c.ript, n.ript), "Listen": n.ript, "Admin": n.admin, "Ports": c.ports,
		"SIPTrunk": c.trunk, "SIPPeer": cmp.Or(c.sipPeer, loopback(t)), "SIPTransport": "udp", "Match": []string{"127.0.0.0/8"},
		"Peer": c.peer.name, "PeerRIPT": c.peer.ript, "PeerDir": c.peer.dir,
		"Media": cmp.Or(c.media, "auto"), "LogLevel": "info", "Numbers": "+1202555xxxx",
	})
	if err != nil {
		t.Fatal(err)
	}
	text := b.String()
	if c.edit != nil {
		text = c.edit(n.name, text)
	}
	if err := os.WriteFile(filepath.Join(n.dir, setup.ConfigFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// replace is strings.Replace that must find what it replaces.
func replace(t testing.TB, s, old, by string) string {
	t.Helper()
	if !strings.Contains(s, old) {
		t.Fatalf("%q is not in\n%s", old, s)
	}
	return strings.ReplaceAll(s, old, by)
}

// serveNode runs `riptide serve` until the test ends, and shows its log if the
// test failed.
//
// What it returns kills it, and returns when it is gone.
func serveNode(t testing.TB, n node) (kill func()) {
	t.Helper()
	return serveProcess(t, n).kill
}

// served is a process of a node.
type served struct {
	process *os.Process
	exited  chan struct{}
}

func (s *served) kill() {
	_ = s.process.Kill() // fails only if it has ended
	<-s.exited
}

// serveProcess is serveNode for who does more to it than to kill it.
func serveProcess(t testing.TB, n node) *served {
	t.Helper()
	out, err := os.Create(n.log)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"serve", "-c", filepath.Join(n.dir, setup.ConfigFile)}
	program := n.program
	if program == "" {
		program = riptide(t)
	}
	cmd := exec.Command(program, args...)
	if n.ns != nil {
		cmd = n.ns.Command(program, args...)
	}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(cmd.Environ(), "RIPTIDE_PROFILE="+n.profiler())
	exited := make(chan struct{})
	err = siptest.Tie(cmd, func(error) {
		_ = out.Close()
		close(exited)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // fails only if it has ended
		select {
		case <-exited:
		case <-time.After(40 * time.Second):
			t.Errorf("%s did not stop within 40 s of SIGINT", n.name)
			_ = cmd.Process.Kill()
			<-exited
		}
		if t.Failed() {
			t.Logf("%s log (end):\n%s", n.name, tail(n.logText(t), 60))
		}
	})
	return &served{cmd.Process, exited}
}

func (n node) logText(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(n.log)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// awaitReady waits until the node is peered; with why, until it says that it is
// not, and why.
func (n node) awaitReady(t testing.TB, why string) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	client := &http.Client{Transport: &http.Transport{DialContext: n.dial, DisableKeepAlives: true}}
	for {
		status, text := 0, "no answer"
		res, err := client.Get("http://" + n.admin + "/readyz")
		if err == nil {
			b, _ := io.ReadAll(io.LimitReader(res.Body, 8192))
			_ = res.Body.Close()
			status, text = res.StatusCode, string(b)
		}
		if why == "" && status == http.StatusOK || why != "" && status == http.StatusServiceUnavailable && strings.Contains(text, why) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: /readyz says %d %s\n%s", n.name, status, text, n.logText(t))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// settle waits until the node has no call.
func (n node) settle(t testing.TB) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for sum(n.metrics(t), "riptide_calls_active") != 0 {
		if time.Now().After(deadline) {
			t.Fatalf("%s still has calls a minute after the last", n.name)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

var reasonLine = regexp.MustCompile(`(?m)^Reason: *(.*?)\r?$`)

// reasons are the Reason header fields of sipp's messages.
func reasons(messages string) string {
	var all []string
	for _, m := range reasonLine.FindAllStringSubmatch(messages, -1) {
		all = append(all, m[1])
	}
	return strings.Join(all, "\n")
}
