package siptest

import (
	"cmp"
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"text/template"
	"time"
)

// Provider is a kamailio as providers run it: a SIP trunk registers with digest,
// is asked for its password again with every call, and reaches one telephone by
// way of a proxy that stays in the route. The telephone's calls go to the trunk.
type Provider struct {
	Netns          *Namespace
	Port           int
	User, Password string // of the trunk
	Phone          string // HOST:PORT of the telephone
	Relay          string // HOST:PORT of an rtpengine's control; "" = none
	Digest         string // its algorithm: "MD5" or "SHA-256"; default MD5
	Profile        string // of RTP, towards the trunk, with a relay; default RTP/SAVP
}

// Start runs kamailio. It listens when Start returns.
func (p Provider) Start(t testing.TB) *KamailioRun {
	t.Helper()
	Need(t, "kamailio")
	dir := t.TempDir()
	r := &KamailioRun{Addr: net.JoinHostPort(p.Netns.Addr, strconv.Itoa(p.Port))}
	_, phonePort, err := net.SplitHostPort(p.Phone)
	if err != nil {
		t.Fatalf("configure kamailio: telephone %q: %v", p.Phone, err)
	}
	p.Profile = cmp.Or(p.Profile, "RTP/SAVP")
	tmpl, err := template.ParseFS(scenarioFiles, "scenarios/trunk.cfg.tmpl")
	if err != nil {
		t.Fatalf("configure kamailio: %v", err)
	}
	config := filepath.Join(dir, "kamailio.cfg")
	out, err := os.Create(config)
	if err != nil {
		t.Fatalf("configure kamailio: %v", err)
	}
	err = tmpl.Execute(out, struct {
		Provider
		Addr, Realm, PhonePort string
	}{p, r.Addr, p.Netns.Addr, phonePort})
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		t.Fatalf("configure kamailio: %v", err)
	}
	r.Process = Start(t, p.Netns, dir, "kamailio", "-DD", "-E", "-f", config, "-m", "32", "-M", "16", "-Y", dir, "-w", dir)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := r.awaitPort(ctx, "udp", p.Port); err != nil {
		t.Fatal(err)
	}
	return r
}

// StartRTPEngine runs a media relay in a namespace and returns where it is
// controlled. It takes the namespace's address and 200 ports.
func StartRTPEngine(t testing.TB, ns *Namespace) (control string) {
	t.Helper()
	Need(t, "rtpengine")
	const port = 2223
	p := Start(t, ns, t.TempDir(), "rtpengine", "--foreground", "--log-stderr", "--log-level=6", "--table=-1", "--no-fallback=no",
		"--interface="+ns.Addr, "--listen-ng=127.0.0.1:"+strconv.Itoa(port), "--port-min=30000", "--port-max=30199", "--num-threads=1")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := p.awaitPort(ctx, "udp", port); err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}
