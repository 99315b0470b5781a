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

// Gateway is a kamailio between transports: calls that come over UDP go on to
// Edge, all others to Next over UDP. It stays in the route of the dialog, and on
// TLS it wants a certificate of whoever connects.
type Gateway struct {
	Edge                 string // where calls go that come over UDP, as "127.0.0.1:5061;transport=tls"
	Next                 string // HOST:PORT where all others go
	Certificate, Key, CA string // PEM files
}

// GatewayRun is a gateway that runs. All are HOST:PORT.
type GatewayRun struct {
	*Process
	UDP string // also TCP
	TLS string // also secure WebSocket
	WS  string
}

// Start runs kamailio. It listens when Start returns.
func (g Gateway) Start(t testing.TB) *GatewayRun {
	t.Helper()
	Need(t, "kamailio")
	if found, err := filepath.Glob("/usr/lib/*/kamailio/modules/websocket.so"); err != nil || len(found) == 0 {
		Missing(t, "kamailio's websocket module; install it: apt-get install kamailio-websocket-modules kamailio-tls-modules")
	}
	const host = "127.0.0.1"
	port := func() string { return net.JoinHostPort(host, strconv.Itoa(FreePorts(t, nil, host, 1))) }
	r := &GatewayRun{UDP: port(), TLS: port(), WS: port()}
	dir := t.TempDir()
	config := filepath.Join(dir, "kamailio.cfg")
	tmpl, err := template.ParseFS(scenarioFiles, "scenarios/gateway.cfg.tmpl")
	if err != nil {
		t.Fatalf("configure kamailio: %v", err)
	}
	out, err := os.Create(config)
	if err != nil {
		t.Fatalf("configure kamailio: %v", err)
	}
	_, wsPort, _ := net.SplitHostPort(r.WS)
	err = tmpl.Execute(out, map[string]string{
		"Edge": g.Edge, "Next": g.Next, "Certificate": g.Certificate, "Key": g.Key, "CA": g.CA,
		"UDP": r.UDP, "TLS": r.TLS, "WS": r.WS, "WSPort": wsPort,
	})
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		t.Fatalf("configure kamailio: %v", err)
	}
	// A thousand calls' transactions need more than the 64 MB of shared memory it
	// has by default: it cuts its TLS connections when they run out.
	r.Process = Start(t, nil, dir, "kamailio", "-DD", "-E", "-f", config, "-m", "512", "-M", "16", "-Y", dir, "-w", dir)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for network, addr := range map[string]string{"udp": r.UDP, "tcp": r.WS} {
		_, text, _ := net.SplitHostPort(addr)
		number, _ := strconv.Atoi(text)
		if err := r.awaitPort(ctx, network, number); err != nil {
			t.Fatal(err)
		}
	}
	return r
}
