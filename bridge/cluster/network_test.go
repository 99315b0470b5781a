package cluster_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"riptide/bridge/cluster"
	"riptide/bridge/store/embedded"
	"riptide/sip/siptest"
)

var names = []string{"a", "b", "w"}

func address(node string) string {
	return fmt.Sprintf("10.99.0.%d:6222", 1+strings.Index("abw", node))
}

// TestNodeProcess is one node of TestCutOffAndKilled, in a process of its own:
// it claims what it is told on its standard input, and says on its standard
// output when it touches what it has.
func TestNodeProcess(t *testing.T) {
	node, dir := os.Getenv("RIPTIDE_TEST_NODE"), os.Getenv("RIPTIDE_TEST_DIR")
	if node == "" {
		return // nobody's child
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "crt"), filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(pair.Leaf)
	p := embedded.Peers{Node: node, Listen: address(node), Certificate: func() (*tls.Certificate, error) { return &pair, nil }, Roots: roots}
	at := map[string]string{}
	for _, other := range names {
		at[other] = address(other)
		if other != node {
			p.Others = append(p.Others, address(other))
		}
	}
	s, err := embedded.OpenCluster(t.Context(), filepath.Join(dir, node), p, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	m, err := cluster.Join(cluster.Config{Node: node, Nodes: names, Bus: s, Refused: cluster.Dial(at)})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf("%d "+format+"\n", append([]any{time.Now().UnixNano()}, args...)...)
	}
	held := map[string]cluster.Lease{}
	go func() { // a node that has calls, and looks before it sends
		for was := false; ; time.Sleep(5 * time.Millisecond) {
			lease, _ := m.Lease()
			if lease.Held != was {
				was = lease.Held
				say("lease %v", was)
			}
			mu.Lock()
			var touched []string
			for call, got := range held {
				if lease == got {
					touched = append(touched, call)
				}
			}
			mu.Unlock()
			for _, call := range touched {
				say("touch %s", call)
			}
		}
	}()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var call, owner string
		var epoch uint64
		if _, err := fmt.Sscan(lines.Text(), &call, &owner, &epoch); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		_, err := m.Claim(ctx, call, owner, epoch)
		cancel()
		if err != nil {
			say("refused %s", call)
			continue
		}
		lease, _ := m.Lease()
		mu.Lock()
		held[call] = lease
		mu.Unlock()
		say("got %s", call)
	}
}

// process is a node, as its parent sees it.
type process struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	said  chan string // what it says beside its touches

	mu          sync.Mutex
	first, last map[string]int64 // touches of each call
	done        chan struct{}
}

func start(t *testing.T, ns *siptest.Namespace, name, dir string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, name: name, said: make(chan string, 64), first: map[string]int64{}, last: map[string]int64{}, done: make(chan struct{})}
	p.cmd = ns.Command(self, "-test.run=^TestNodeProcess$", "-test.timeout=5m")
	p.cmd.Env = append(os.Environ(), "RIPTIDE_TEST_NODE="+name, "RIPTIDE_TEST_DIR="+dir)
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var at int64
			var what, which string
			if n, _ := fmt.Sscan(lines.Text(), &at, &what, &which); n < 3 {
				continue // of the test program
			}
			if what != "touch" {
				p.said <- what + " " + which
				continue
			}
			p.mu.Lock()
			if p.first[which] == 0 {
				p.first[which] = at
			}
			p.last[which] = at
			p.mu.Unlock()
		}
	}()
	t.Cleanup(p.kill)
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
	_ = p.cmd.Wait()
}

// await waits for a word of the node.
func (p *process) await(want ...string) string {
	p.t.Helper()
	for patience := time.After(90 * time.Second); ; {
		select {
		case word := <-p.said:
			for _, w := range want {
				if word == w {
					return word
				}
			}
		case <-p.done:
			p.t.Fatalf("node %s ended before it said %q", p.name, want)
		case <-patience:
			p.t.Fatalf("node %s never said %q", p.name, want)
		}
	}
}

func (p *process) claim(call, owner string, epoch int) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.stdin, call, owner, epoch); err != nil {
		p.t.Fatal(err)
	}
}

// claimUntil claims a call until the node has it.
func (p *process) claimUntil(call, owner string, epoch int) {
	p.t.Helper()
	for range 6 {
		p.claim(call, owner, epoch)
		if p.await("got "+call, "refused "+call) == "got "+call {
			return
		}
	}
	p.t.Fatalf("node %s never got call %s", p.name, call)
}

// touches is when a node touched a call first and last.
func (p *process) touches(call string) (first, last time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first[call] == 0 {
		p.t.Errorf("node %s never touched call %s", p.name, call)
	}
	return time.Unix(0, p.first[call]), time.Unix(0, p.last[call])
}

// TestCutOffAndKilled: three nodes in networks of their own. One is cut off, and
// another gets its call; it comes back, and leaves the call alone; the new owner
// is killed, and the call is the first one's again. Never do two touch it.
func TestCutOffAndKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeCertificate(t, dir)
	spaces := map[string]*siptest.Namespace{}
	for _, name := range names {
		host, _, _ := strings.Cut(address(name), ":")
		spaces[name] = siptest.NewNamespaceAt(t, host)
	}
	wires := [][2]string{{"a", "b"}, {"a", "w"}, {"b", "w"}}
	for i, w := range wires {
		spaces[w[0]].Join(t, "to-"+w[1], fmt.Sprintf("10.98.%d.1", i), spaces[w[1]], "to-"+w[0], fmt.Sprintf("10.98.%d.2", i))
	}
	ip := func(node string, args ...string) {
		t.Helper()
		if out, err := spaces[node].Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v at %s: %v: %s", args, node, err, out)
		}
	}
	route := func(from, to, via string) {
		host, _, _ := strings.Cut(address(to), ":")
		ip(from, "route", "replace", host+"/32", "via", via)
	}
	for i, w := range wires {
		route(w[0], w[1], fmt.Sprintf("10.98.%d.2", i))
		route(w[1], w[0], fmt.Sprintf("10.98.%d.1", i))
	}
	nodes := map[string]*process{}
	for _, name := range names {
		nodes[name] = start(t, spaces[name], name, dir)
	}
	a, b := nodes["a"], nodes["b"]
	for _, name := range names {
		nodes[name].await("lease true")
	}
	a.claimUntil("call", "a", 1)

	ip("a", "link", "set", "to-b", "down")
	ip("a", "link", "set", "to-w", "down")
	b.claimUntil("call", "a", 10)
	a.await("lease false")
	time.Sleep(500 * time.Millisecond) // a would touch it again by now, if it did
	_, silent := a.touches("call")
	taken, _ := b.touches("call")
	if !silent.Before(taken) {
		t.Errorf("a touched the call %v after b had it", silent.Sub(taken))
	}
	t.Logf("cut off: nobody had the call for %v", taken.Sub(silent))

	for i, w := range wires[:2] {
		ip("a", "link", "set", "to-"+w[1], "up")
		route("a", w[1], fmt.Sprintf("10.98.%d.2", i))
	}
	a.await("lease true")
	a.claim("call", "a", 2)
	a.await("refused call")
	if _, again := a.touches("call"); again != silent {
		t.Error("a touched the call again when it was back")
	}

	a.mu.Lock()
	clear(a.first)
	a.mu.Unlock()
	b.kill()
	a.claimUntil("call", "b", 11)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		a.mu.Lock()
		touched := a.first["call"] != 0
		a.mu.Unlock()
		if touched || time.Now().After(deadline) {
			break
		}
	}
	_, died := b.touches("call")
	back, _ := a.touches("call")
	if !died.Before(back) {
		t.Errorf("b touched the call %v after a had it", died.Sub(back))
	}
	t.Logf("killed: nobody had the call for %v", back.Sub(died))

	b = start(t, spaces["b"], "b", dir)
	b.await("lease true")
	b.claim("call", "b", 11)
	b.await("refused call")
}

// writeCertificate writes one that is good at every node, and its own authority.
func writeCertificate(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nodes"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(10, 99, 0, 1), net.IPv4(10, 99, 0, 2), net.IPv4(10, 99, 0, 3)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"crt": {Type: "CERTIFICATE", Bytes: der}, "key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
