package main_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"riptide/sip/siptest"
)

// startNATS runs three of somebody else's NATS servers, in this process: they want
// certificates of the same authority as the nodes, and store on disk. What it
// returns stops them.
func startNATS(t *testing.T, ca *siptest.Authority) (urls []string, stop func()) {
	t.Helper()
	certificate, private := ca.Issue("127.0.0.1")
	secure, err := server.GenTLSConfig(&server.TLSConfigOpts{CertFile: certificate, KeyFile: private, CaFile: ca.Roots, Verify: true})
	if err != nil {
		t.Fatal(err)
	}
	secure.MinVersion = tls.VersionTLS13
	const count = 3
	first := siptest.FreePorts(t, nil, "127.0.0.1", 2*count)
	var routes []*url.URL
	for i := range count {
		urls = append(urls, fmt.Sprintf("tls://127.0.0.1:%d", first+i))
		routes = append(routes, &url.URL{Scheme: "nats-route", Host: fmt.Sprintf("127.0.0.1:%d", first+count+i)})
	}
	var running []*server.Server
	for i := range count {
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprintf("nats-%d", i), Host: "127.0.0.1", Port: first + i, NoSigs: true,
			TLSConfig: secure, TLSVerify: true, TLSTimeout: 5,
			JetStream: true, StoreDir: t.TempDir(), SyncAlways: true,
			Cluster: server.ClusterOpts{Name: "somebody", Host: "127.0.0.1", Port: first + count + i}, Routes: routes,
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		running = append(running, s)
	}
	stop = func() {
		for _, s := range running {
			s.Shutdown()
		}
		for _, s := range running {
			s.WaitForShutdown()
		}
	}
	t.Cleanup(stop)
	return urls, stop
}

// TestSomebodyElsesNATS: NATS servers that nodes do not run keep the store. A node
// is killed, and its calls go on at the other; the servers go away, and all calls
// go on, and new ones are refused or taken as each node has it; with nobody left
// who stores anything, the last calls go on at the node that comes.
func TestSomebodyElsesNATS(t *testing.T) {
	t.Parallel()
	const calls = 2
	ca := siptest.NewAuthority(t)
	urls, stop := startNATS(t, ca)
	b := newBoxes(t, boxesOptions{calls: calls, ca: ca, keys: "  nats: [" + strings.Join(urls, ", ") + "]\n", more: map[string]string{"one": "limits: {unrecorded: accept}\n"}})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	w := b.startConversations(ctx, "one")
	w.heard(ctx, 100)
	b.kill("one")
	b.nodes["two"].awaitLogged(t, `"call resumed"`, calls)
	w.heard(ctx, 100)

	b.start("one")
	b.nodes["one"].awaitReady(t, "")
	stop()
	w.heard(ctx, 250) // five seconds: leases last a second and a half
	siptest.Sipp{
		Scenario: siptest.UACRefused, Script: siptest.Script{From: officeNumber, Status: 503},
		Host: b.pbx, Remote: b.nodes["two"].sip, Service: b.number(0),
	}.Start(t).Check(t, 1)
	taken := b.call(ctx, "one", calls)
	b.kill("two")
	b.nodes["one"].awaitLogged(t, `"call resumed"`, calls)
	w.add(taken)
	w.heard(ctx, 100)
	t.Logf("longest silence of each call: %s", w.longest())
	w.hangUp(ctx)
	if moves, closest := readOwners(t, b.logs).check(t); moves != 2*calls {
		t.Errorf("calls went from one node to another %d times, want %d", moves, 2*calls)
	} else {
		t.Logf("nobody had a call for %v at least", closest)
	}
}
