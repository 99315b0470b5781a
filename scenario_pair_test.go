package main_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"riptide/sip/siptest"
)

// The scenarios run the real binary: two bridges joined over HTTP/3 by
// `riptide demo`, with real SIP programs at both ends.

var binary struct {
	once sync.Once
	path string
	err  error
}

// riptide builds the binary once for all scenarios.
func riptide(t testing.TB) string {
	t.Helper()
	binary.once.Do(func() {
		dir, err := os.MkdirTemp("", "riptide-scenario-")
		if err != nil {
			binary.err = err
			return
		}
		binary.path = filepath.Join(dir, "riptide")
		out, err := exec.Command("go", "build", "-tags", buildTags(), "-o", binary.path, ".").CombinedOutput()
		if err != nil {
			binary.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if binary.err != nil {
		t.Fatal(binary.err)
	}
	return binary.path
}

func TestMain(m *testing.M) {
	code := m.Run()
	if binary.path != "" {
		_ = os.RemoveAll(filepath.Dir(binary.path))
	}
	os.Exit(code)
}

// pair is a running demo.
type pair struct {
	t             testing.TB
	cmd           *exec.Cmd
	dir           string
	office, telco node
	done          chan struct{}
	out           *lines
	kills         map[string]func() // of a site: kill -9 of a node, by name
	served        map[string]*served
}

// node is what a scenario needs to know of one of the two bridges.
type node struct {
	name, sip, ript, admin, dir, log string
	program                          string // another than the one under test
	ns                               *siptest.Namespace
}

// pairOptions changes a demo before it starts.
type pairOptions struct {
	netns *siptest.Namespace // to run in; default none
	args  []string           // more flags
}

// startPair starts a demo and waits until both bridges are peered. It is ended
// with the test; both bridges' logs are shown if the test failed.
func startPair(t testing.TB, o pairOptions) *pair {
	t.Helper()
	host := "127.0.0.1"
	if o.netns != nil {
		host = o.netns.Addr
	}
	p := &pair{t: t, dir: t.TempDir(), done: make(chan struct{}), out: &lines{}}
	args := append([]string{
		"demo", "--dir", p.dir, "--sip", net.JoinHostPort(host, "0"), "--telco-sip", net.JoinHostPort(host, "0"),
	}, o.args...)
	if o.netns != nil {
		p.cmd = o.netns.Command(riptide(t), args...)
	} else {
		p.cmd = exec.Command(riptide(t), args...)
	}
	printed, out := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := siptest.Tie(p.cmd, func(error) { _ = out.Close() }); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	go func() {
		defer close(p.done)
		p.out.read(printed, "Running.", ready)
	}()
	t.Cleanup(p.stop)
	select {
	case <-ready:
	case <-p.done:
		t.Fatalf("the demo ended:\n%s", p.out.all())
	case <-time.After(90 * time.Second):
		t.Fatalf("the demo did not start:\n%s", p.out.all())
	}
	p.office, p.telco = p.readNode("office", o.netns), p.readNode("telco", o.netns)
	return p
}

// stop ends the demo and, if the test failed, shows what it had to say.
func (p *pair) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended
	select {
	case <-p.done:
	case <-time.After(40 * time.Second):
		p.t.Error("the demo did not stop within 40 s of SIGTERM")
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
	if p.t.Failed() {
		for _, n := range []node{p.office, p.telco} {
			b, _ := os.ReadFile(n.log)
			p.t.Logf("%s log (end):\n%s", n.name, tail(string(b), 60))
		}
	}
}

func tail(s string, n int) string {
	l := strings.Split(strings.TrimSpace(s), "\n")
	if len(l) > n {
		l = l[len(l)-n:]
	}
	return strings.Join(l, "\n")
}

var configLine = regexp.MustCompile(`(?m)^\s*(admin|listen): "?([^"\s]+)`)

// readNode learns a node's addresses from its configuration.
func (p *pair) readNode(name string, ns *siptest.Namespace) node {
	p.t.Helper()
	n := node{name: name, dir: filepath.Join(p.dir, name), ns: ns}
	n.log = filepath.Join(n.dir, name+".log")
	b, err := os.ReadFile(filepath.Join(n.dir, "riptide.yaml"))
	if err != nil {
		p.t.Fatal(err)
	}
	var listens []string
	for _, m := range configLine.FindAllStringSubmatch(string(b), -1) {
		if m[1] == "admin" {
			n.admin = m[2]
		} else {
			listens = append(listens, m[2])
		}
	}
	if len(listens) != 2 || n.admin == "" {
		p.t.Fatalf("configuration of %s has addresses %q", name, listens)
	}
	n.sip, n.ript = listens[0], listens[1]
	return n
}

// metrics reads a node's counters: name and labels as printed -> value.
func (n node) metrics(t testing.TB) map[string]float64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.admin+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: n.dial, DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatalf("metrics of %s: %v", n.name, err)
	}
	defer func() { _ = res.Body.Close() }()
	values := map[string]float64{}
	s := bufio.NewScanner(res.Body)
	for s.Scan() {
		name, value, ok := strings.Cut(s.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); ok && err == nil && !strings.HasPrefix(name, "#") {
			values[name] = v
		}
	}
	return values
}

// dial connects to the node from inside its namespace.
func (n node) dial(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	dial := func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, addr)
		return err
	}
	if n.ns != nil {
		return conn, n.ns.Do(dial)
	}
	return conn, dial()
}

// sum adds up the counters of a name whose labels hold all of the given parts.
func sum(metrics map[string]float64, name string, labels ...string) int {
	total := 0.0
next:
	for key, v := range metrics {
		if key != name && !strings.HasPrefix(key, name+"{") {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(key, l) {
				continue next
			}
		}
		total += v
	}
	return int(total)
}

// settle waits until no call is left on either side, so that all is counted.
func (p *pair) settle() {
	p.t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for {
		active := 0
		for _, n := range []node{p.office, p.telco} {
			active += sum(n.metrics(p.t), "riptide_calls_active")
		}
		if active == 0 {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%d calls are still there a minute after the last", active)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// lines keeps what a program prints.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

// read reads to the end, and closes seen at the first line that starts so.
func (l *lines) read(r io.Reader, prefix string, seen chan<- struct{}) {
	s := bufio.NewScanner(r)
	for s.Scan() {
		l.mu.Lock()
		l.text.WriteString(s.Text() + "\n")
		l.mu.Unlock()
		if seen != nil && strings.HasPrefix(s.Text(), prefix) {
			close(seen)
			seen = nil
		}
	}
}

func (l *lines) all() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
