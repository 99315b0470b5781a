package main_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"riptide/configs/setup"
	"riptide/sip/siptest"
)

// A cluster is two nodes of a telco behind a load balancer that nobody here
// wrote, and an office that calls through it. The balancer and the nodes run
// from configs/examples as they stand there, but for the values that its README
// lists as any site's own.
type cluster struct {
	*front
	office  node
	nodes   [2]node
	serving [2]*siptest.Process
}

// A front is a load balancer before two nodes of one authority.
type front struct {
	t         testing.TB
	authority string
	dir       string // of its files and certificates
	values    *strings.Replacer
	running   *siptest.Process // the balancer
	netns     *siptest.Namespace
}

// clusterOptions say what a cluster is made of.
type clusterOptions struct {
	balancer func(*front) // starts it, before nodes that are up
	callee   string       // SIP peer behind both nodes
	media    string       // of the office's trunk; default auto
}

// startCluster starts everything and waits until the office is peered.
func startCluster(t testing.TB, o clusterOptions) *cluster {
	t.Helper()
	c := &cluster{front: &front{t: t, dir: t.TempDir(), authority: loopback(t)}}
	c.office = siteNode(t, t.TempDir(), "office")
	for i := range c.nodes {
		c.nodes[i] = siteNode(t, c.dir, fmt.Sprintf("telco-%d", i+1))
	}
	host, _, _ := net.SplitHostPort(c.authority)
	for dir, name := range map[string]string{c.dir: "telco", c.office.dir: "office"} {
		if err := setup.Create(setup.Options{Dir: dir, Node: name, Hosts: []string{host, certified}, Now: time.Now().Add(-24 * time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	key, err := os.ReadFile(filepath.Join(c.office.dir, setup.ClientPub))
	if err == nil {
		err = os.WriteFile(filepath.Join(c.dir, "office.pub"), key, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.setValues(c.nodes, "softswitch.core.example:5060", o.callee)
	for i := range c.nodes {
		c.serve(i)
	}
	for _, n := range c.nodes {
		n.awaitReady(t, "")
	}
	o.balancer(c.front)
	writeConfig(t, c.office, nodeConfig{
		peer: node{name: "telco", ript: c.authority, dir: c.dir}, trunk: "pbx", ports: "16384-24575", media: o.media,
	})
	serveNode(t, c.office)
	c.office.awaitReady(t, "")
	return c
}

// certified is a name in the nodes' certificates, for balancers that find no
// address in one (nginx).
const certified = "localhost"

// setValues says what configs/examples/README.md says any site has of its own:
// pairs of the written and the real value. Of two that begin alike the longer
// stands first.
func (c *front) setValues(nodes [2]node, more ...string) {
	host, port, _ := net.SplitHostPort(c.authority)
	values := []string{
		"proxy_ssl_name telco.example", "proxy_ssl_name " + certified,
		"telco.example:443", c.authority, "telco.example", host, ":443", ":" + port,
		"198.51.100.0/28", "127.0.0.0/8", "/etc/ript/", c.dir + "/",
		"localhost:2019", loopback(c.t), "/run/nginx.pid", filepath.Join(c.dir, "nginx.pid"),
	}
	for i, n := range nodes {
		values = append(values,
			fmt.Sprintf("192.0.2.1%d:8443", i+1), n.ript, fmt.Sprintf("192.0.2.1%d:5060", i+1), n.sip,
			fmt.Sprintf("127.0.0.1:909%d", i+1), n.admin, "/var/lib/riptide/"+n.name, n.dir)
	}
	c.values = strings.NewReplacer(append(values, more...)...)
}

// example writes a file of configs/examples to the front's directory, with the
// site's values, and returns its path.
func (c *front) example(name string) string {
	c.t.Helper()
	text, err := os.ReadFile(filepath.Join("configs", "examples", name))
	if err != nil {
		c.t.Fatal(err)
	}
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path, []byte(c.values.Replace(string(text))), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return path
}

// serve starts a node, or starts it again.
func (c *cluster) serve(i int) {
	c.t.Helper()
	config := c.example(fmt.Sprintf("node-%d.yaml", i+1))
	c.serving[i] = c.run(riptide(c.t), "serve", "-c", config)
}

// run starts a program, and shows the end of what it
// printed if the test fails.
func (c *front) run(name string, args ...string) *siptest.Process {
	c.t.Helper()
	p := siptest.Start(c.t, c.netns, c.t.TempDir(), name, args...)
	c.running = p
	c.t.Cleanup(func() {
		p.Stop()
		if c.t.Failed() {
			c.t.Logf("%s %v (end of its log):\n%s", filepath.Base(name), args, tail(p.Log(), 60))
		}
	})
	return p
}

// caddy starts Caddy, which reaches the nodes by HTTP/2 or 3.
func caddy(upstream string) func(*front) {
	return func(c *front) {
		c.t.Helper()
		path := siptest.Tool(c.t, "caddy")
		c.run("env", "UPSTREAM_HTTP="+upstream, "HOME="+c.t.TempDir(), path, "run", "--adapter", "caddyfile", "--config", c.example("Caddyfile"))
		c.awaitAlive()
	}
}

// traefik starts Traefik.
func traefik(c *front) {
	c.t.Helper()
	c.example("traefik-ript.yaml")
	c.run(siptest.Tool(c.t, "traefik"), "--configFile="+c.example("traefik.yaml"))
	c.awaitAlive()
}

// nginx starts nginx.
func nginx(c *front) {
	c.t.Helper()
	c.run("nginx", "-c", c.example("nginx.conf"), "-e", "stderr", "-g", "daemon off;")
	c.awaitAlive()
}

// nginxHTTP starts nginx as a balancer that ends HTTP and speaks 1.1 to the nodes.
func nginxHTTP(c *front) {
	c.t.Helper()
	c.run("nginx", "-c", c.example("nginx-http.conf"), "-e", "stderr", "-g", "daemon off;")
	c.awaitAlive()
}

// awaitAlive waits until a node answers through the balancer.
func (c *front) awaitAlive() {
	c.t.Helper()
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{
		TLSClientConfig: c.trust(), ForceAttemptHTTP2: true, DisableKeepAlives: true, DialContext: node{ns: c.netns}.dial,
	}}
	defer client.CloseIdleConnections()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		status, text := 0, ""
		res, err := client.Get("https://" + c.authority + "/healthz")
		if err == nil {
			b, _ := io.ReadAll(io.LimitReader(res.Body, 1024))
			_ = res.Body.Close()
			status, text = res.StatusCode, string(b)
		}
		if status == http.StatusOK {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("no node answers through the balancer: %d %s %v", status, text, err)
		}
	}
}

// trust is what a client of the telco needs.
func (c *front) trust() *tls.Config {
	c.t.Helper()
	pem, err := os.ReadFile(filepath.Join(c.dir, setup.CACert))
	if err != nil {
		c.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}
}

// check waits for a caller's calls, of which none may have failed. If one has,
// there is nothing to wait for at the other end.
func (c *cluster) check(caller *siptest.SippRun, calls int) siptest.SippResult {
	c.t.Helper()
	r := caller.Check(c.t, calls)
	if c.t.Failed() {
		c.t.FailNow()
	}
	return r
}

// sum is a metric's sum at each node that is up, and over both.
func (c *cluster) sum(name string, labels ...string) (each [2]int, total int) {
	c.t.Helper()
	for i, n := range c.nodes {
		if !c.up(i) {
			continue
		}
		each[i] = sum(n.metrics(c.t), name, labels...)
		total += each[i]
	}
	return each, total
}

// settle waits until nobody has a call any more.
func (c *cluster) settle() {
	c.t.Helper()
	c.office.settle(c.t)
	for i, n := range c.nodes {
		if c.up(i) {
			n.settle(c.t)
		}
	}
}

func (c *cluster) up(i int) bool {
	select {
	case <-c.serving[i].Done():
		return false
	default:
		return true
	}
}
