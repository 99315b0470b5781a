package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"embed"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"riptide/configs/setup"
)

// The balancers run from the files that operators begin with.
//
//go:embed configs/examples/Caddyfile configs/examples/nginx.conf
var demoExamples embed.FS

// demoBalancer is one that --balancer names.
type demoBalancer struct {
	word, does string
	program    string
	example    string
	upstream   string // HTTP version to the nodes
	install    string // how to get the program
}

var demoBalancers = []demoBalancer{
	{"caddy", "Caddy, HTTP/2 to the nodes", "caddy", "Caddyfile", "2", "scripts/tool caddy (minutes, once)"},
	{"caddy-h3", "Caddy, HTTP/3 to the nodes", "caddy", "Caddyfile", "3", "scripts/tool caddy (minutes, once)"},
	{"nginx", "nginx, which passes datagrams and TCP connections", "nginx", "nginx.conf", "", "scripts/install-peers, or apt install nginx-light libnginx-mod-stream"},
}

func balancerWords() string {
	var words []string
	for _, b := range demoBalancers {
		words = append(words, fmt.Sprintf("%s (%s)", b.word, b.does))
	}
	return strings.Join(words, ", ")
}

// installWords says how to get any of them.
func installWords() string {
	var words []string
	for _, b := range demoBalancers {
		if word := b.program + ": " + b.install; !slices.Contains(words, word) {
			words = append(words, word)
		}
	}
	return strings.Join(words, "; ")
}

// findBalancer looks for the program of one that is named, or of any if none is.
// Found is neither that nor an error where none was asked for and none is there.
func findBalancer(word string) (name, path string, err error) {
	known := false
	var install string
	for _, b := range demoBalancers {
		if word != "" && word != b.word {
			continue
		}
		known = true
		if path := findProgram(b.program); path != "" {
			return b.word, path, nil
		}
		install = b.install
	}
	switch {
	case !known:
		return "", "", fmt.Errorf("--balancer %q: want one of %s", word, balancerWords())
	case word == "":
		return "", "", nil
	}
	return "", "", fmt.Errorf("--balancer %s: its program is neither in PATH nor in %s; to have it: %s; without a balancer: --nodes 1, a telco of one process that is started again", word, toolCache(), install)
}

// toolCache is where scripts/tool puts what it builds.
func toolCache() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "riptide", "bin")
}

// findProgram looks where the environment says (RIPTIDE_CADDY), in PATH, where
// Debian keeps daemons, and where scripts/tool puts what it builds.
func findProgram(name string) string {
	if path := os.Getenv("RIPTIDE_" + strings.ToUpper(name)); path != "" {
		return path
	}
	for _, at := range []string{name, "/usr/sbin/" + name, "/usr/local/sbin/" + name} {
		if path, err := exec.LookPath(at); err == nil {
			return path
		}
	}
	built, _ := filepath.Glob(filepath.Join(toolCache(), name+"-*"))
	if len(built) == 0 {
		return ""
	}
	return slices.Max(built)
}

// demoFront is the balancer before the telco's nodes.
type demoFront struct {
	name   string // as --balancer has it
	args   []string
	env    []string
	telco  demoSide
	client *http.Client
	*demoProcess
}

// newFront writes the balancer's configuration: that of configs/examples, with
// this run's addresses. The telco's files are there when it starts.
func newFront(name, program string, telco demoSide) (*demoFront, error) {
	f := &demoFront{name: name, telco: telco}
	at := slices.IndexFunc(demoBalancers, func(b demoBalancer) bool { return b.word == name })
	kind := demoBalancers[at]
	text, err := demoExamples.ReadFile("configs/examples/" + kind.example)
	if err != nil {
		return nil, err
	}
	control, err := freeAddr("127.0.0.1")
	if err != nil {
		return nil, err
	}
	host, port := splitPort(telco.RIPT)
	values := []string{
		"tls /etc/ript/", "bind " + host + "\n\ttls " + telco.Dir + "/", "/etc/ript/", telco.Dir + "/",
		"telco.example:443", telco.RIPT, "telco.example", host, "*:443", telco.RIPT, ":443", ":" + port,
		"localhost:2019", control, "/run/nginx.pid", telco.path("nginx.pid"),
	}
	for i, n := range telco.takers() {
		values = append(values, fmt.Sprintf("192.0.2.1%d:8443", i+1), n.Listen)
	}
	config := telco.path(kind.example)
	if err := os.MkdirAll(telco.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("configure %s: %w", name, err)
	}
	if err := os.WriteFile(config, []byte(strings.NewReplacer(values...).Replace(string(text))), 0o600); err != nil {
		return nil, fmt.Errorf("configure %s: %w", name, err)
	}
	f.args = []string{program, "run", "--adapter", "caddyfile", "--config", config}
	f.env = append(os.Environ(), "UPSTREAM_HTTP="+kind.upstream, "HOME="+telco.Dir, "XDG_CONFIG_HOME=", "XDG_DATA_HOME=")
	if kind.program == "nginx" {
		f.args = []string{program, "-c", config, "-e", "stderr", "-g", "daemon off;"}
	}
	return f, nil
}

// start starts the balancer, for the first time or again, and waits until a node
// answers through it.
func (f *demoFront) start(ctx context.Context) error {
	cmd := exec.Command(f.args[0], f.args[1:]...)
	cmd.Env = f.env
	p, err := startProcess(f.name, f.telco.path("balancer.log"), cmd, nil)
	if err != nil {
		return fmt.Errorf("start %s: %w", f.name, err)
	}
	f.demoProcess = p
	ctx, cancel := context.WithTimeout(ctx, demoStart)
	defer cancel()
	for {
		status, err := f.ask(ctx)
		if err == nil && status == http.StatusOK {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-f.exited:
			return fmt.Errorf("%s ended: %v\n%s", f.name, f.err, f.lastLog())
		case <-ctx.Done():
			return fmt.Errorf("no node answered through %s within %v: %d %v\n%s", f.name, demoStart, status, err, f.lastLog())
		}
	}
}

// stop ends the balancer, if it was started.
func (f *demoFront) stop() {
	if f.demoProcess != nil {
		f.demoProcess.stop()
	}
}

// ask asks a node through the balancer whether it lives.
func (f *demoFront) ask(ctx context.Context) (int, error) {
	if f.client == nil {
		pem, err := os.ReadFile(f.telco.path(setup.CACert))
		if err != nil {
			return 0, err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return 0, errors.New("the telco's authority is no certificate")
		}
		f.client = &http.Client{Timeout: time.Second, Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}, ForceAttemptHTTP2: true, DisableKeepAlives: true,
		}}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+f.telco.RIPT+"/healthz", nil)
	if err != nil {
		return 0, err
	}
	res, err := f.client.Do(req)
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}
