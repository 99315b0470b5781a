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
		out, err := exec.Command("go", "build", "-o", binary.path, ".").CombinedOutput()
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
}

// node is what a scenario needs to know of one of the two bridges.
type node struct {
	name, sip, ript, admin, dir, log string
}

// pairOptions changes a demo before it starts.
type pairOptions struct {
	host  string   // where the demo listens; default 127.0.0.1
	netns string   // namespace to run in; default none
	args  []string // more flags
}

// startPair starts a demo and waits until both bridges are peered. It is ended
// with the test; both bridges' logs are shown if the test failed.
func startPair(t testing.TB, o pairOptions) *pair {
	t.Helper()
	if o.host == "" {
		o.host = "127.0.0.1"
	}
	p := &pair{t: t, dir: t.TempDir(), done: make(chan struct{}), out: &lines{}}
	args := append([]string{
		"demo", "--dir", p.dir, "--sip", net.JoinHostPort(o.host, "0"), "--telco-sip", net.JoinHostPort(o.host, "0"),
	}, o.args...)
	argv := append([]string{riptide(t)}, args...)
	if o.netns != "" {
		argv = append([]string{"ip", "netns", "exec", o.netns}, argv...)
	}
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = p.cmd.Stdout
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	go func() {
		defer close(p.done)
		p.out.read(stdout, "Running.", ready)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(p.stop)
	select {
	case <-ready:
	case <-p.done:
		t.Fatalf("the demo ended:\n%s", p.out.all())
	case <-time.After(90 * time.Second):
		t.Fatalf("the demo did not start:\n%s", p.out.all())
	}
	p.office, p.telco = p.readNode("office"), p.readNode("telco")
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

var configLine = regexp.MustCompile(`(?m)^\s*(admin|listen): (\S+)`)

// readNode learns a node's addresses from its configuration.
func (p *pair) readNode(name string) node {
	p.t.Helper()
	n := node{name: name, dir: filepath.Join(p.dir, name)}
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
	res, err := http.DefaultClient.Do(req)
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
