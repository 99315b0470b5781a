package siptest

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"text/template"
	"time"
)

// Kamailio is a SIP proxy that lets an INVITE through only if its own secsipid
// module accepts the signature of the Identity header: 428 without one, 438
// with a bad one.
type Kamailio struct {
	Host        string // local address; default 127.0.0.1
	Port        int    // 0 = a free one
	Certificate string // PEM file of the certificate, or public key, that signs
	Next        string // HOST:PORT that accepted calls go to
	MaxAge      int    // seconds that an iat may be old; default 60
	Netns       *Namespace
}

// KamailioRun is a kamailio that runs.
type KamailioRun struct {
	*Process
	Addr string // HOST:PORT where it speaks SIP over UDP
}

// Start runs kamailio. It listens when Start returns.
func (k Kamailio) Start(t testing.TB) *KamailioRun {
	t.Helper()
	Need(t, "kamailio")
	if found, err := filepath.Glob("/usr/lib/*/kamailio/modules/secsipid.so"); err != nil || len(found) == 0 {
		Missing(t, "kamailio's secsipid module; install it: apt-get install kamailio-secsipid-modules")
	}
	if k.Host == "" {
		k.Host = "127.0.0.1"
		if k.Netns != nil {
			k.Host = k.Netns.Addr
		}
	}
	if k.Port == 0 {
		k.Port = FreePorts(t, k.Netns, k.Host, 1)
	}
	if k.MaxAge == 0 {
		k.MaxAge = 60
	}
	dir := t.TempDir()
	r := &KamailioRun{Addr: net.JoinHostPort(k.Host, strconv.Itoa(k.Port))}
	config := filepath.Join(dir, "kamailio.cfg")
	k.configure(t, config, r.Addr)
	// -DD: no daemon; one segment of shared memory, and little of it.
	r.Process = Start(t, k.Netns, dir, "kamailio", "-DD", "-E", "-f", config, "-m", "32", "-M", "16",
		"-Y", dir, "-w", dir)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := r.awaitPort(ctx, "udp", k.Port); err != nil {
		t.Fatal(err)
	}
	return r
}

func (k Kamailio) configure(t testing.TB, file, addr string) {
	t.Helper()
	tmpl, err := template.ParseFS(scenarioFiles, "scenarios/kamailio.cfg.tmpl")
	if err != nil {
		t.Fatalf("configure kamailio: %v", err)
	}
	out, err := os.Create(file)
	if err != nil {
		t.Fatalf("configure kamailio: %v", err)
	}
	err = tmpl.Execute(out, struct {
		Kamailio
		Addr string
	}{k, addr})
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		t.Fatalf("configure kamailio: %v", err)
	}
}
