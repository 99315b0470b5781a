package main_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"riptide/bridge"
	"riptide/bridge/store"
	"riptide/configs/setup"
	"riptide/h3"
	"riptide/h3/h3test"
	"riptide/policy"
	"riptide/policy/stir"
)

// A loadSite is our RIPT client and our RIPT server in one process, so that one
// clock times both ends, with whatever stands between them: nothing, a relay, or
// a load balancer. There is no SIP: the test itself is what speaks and listens.
type loadSite struct {
	t        testing.TB
	dir      string // certificates and keys
	client   *h3.Client
	servers  []*h3.Server
	incoming chan arrival
	before   func() // started when the servers are up; nil = nothing
}

var loadPlan = bridge.MediaPlan{Speech: bridge.PCMU, Ptime: bridge.DefaultPtime}

// between puts something before servers and returns the authority that leads
// there.
type between func(s *loadSite, servers [2]node) (authority string)

// newLoadSite starts both and waits until they are peered. media is the trunk's.
// Without anything between there is one server, else two that share nothing but
// what nodes of one authority must.
func newLoadSite(t testing.TB, media string, b between) *loadSite {
	t.Helper()
	s := &loadSite{t: t, dir: t.TempDir(), incoming: make(chan arrival, 1024)}
	if err := setup.Create(setup.Options{Dir: s.dir, Node: "load", Hosts: []string{"127.0.0.1"}, Now: time.Now().Add(-time.Hour)}); err != nil {
		t.Fatal(err)
	}
	nodes := [2]node{siteNode(t, s.dir, "telco-1"), siteNode(t, s.dir, "telco-2")}
	authority := nodes[0].ript
	if b == nil {
		s.serve(nodes[0].ript, authority)
	} else {
		authority = b(s, nodes)
		for _, n := range nodes {
			s.serve(n.ript, authority)
		}
	}
	if s.before != nil {
		s.before()
	}
	s.connect(authority, media)
	return s
}

// behind is a load balancer in front of both servers.
func behind(balancer func(*front)) between {
	return func(s *loadSite, servers [2]node) string {
		f := &front{t: s.t, dir: s.dir, authority: loopback(s.t)}
		f.setValues(servers)
		s.before = func() { balancer(f) }
		return f.authority
	}
}

// over is a network that loses and delays, in front of the first server.
func over(up, down h3test.Path, seed uint64, relay **h3test.Relay) between {
	return func(s *loadSite, servers [2]node) string {
		*relay = h3test.NewRelay(s.t, servers[0].ript, up, down, seed)
		return (*relay).Addr().String()
	}
}

// arrival is a call at one of the servers.
type arrival struct {
	bridge.Leg
	server int
}

// arrivals is what a server hands its calls to.
type arrivals struct {
	site   *loadSite
	server int
}

// Accept implements bridge.Acceptor.
func (a arrivals) Accept(_ context.Context, leg bridge.Leg) error {
	select {
	case a.site.incoming <- arrival{leg, a.server}:
		return nil
	default:
		return errors.New("more calls than the test has placed")
	}
}

func (s *loadSite) read(name string) []byte {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

func (s *loadSite) serve(listen, authority string) {
	t := s.t
	t.Helper()
	pair, err := tls.X509KeyPair(s.read(setup.TLSCert), s.read(setup.TLSKey))
	if err != nil {
		t.Fatal(err)
	}
	chain, err := stir.ParseChain(s.read(setup.StirCACert))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := stir.ParseKey(s.read(setup.StirCAKey))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := stir.NewCA(chain[0], signer)
	if err != nil {
		t.Fatal(err)
	}
	public := clientJWK(t, readKey(t, filepath.Join(s.dir, setup.ClientKey)))
	roots := x509.NewCertPool()
	roots.AddCert(chain[0])
	kept := store.NewMemory()
	own := h3.NewPublished(authority, kept)
	server, err := h3.NewServer(h3.ServerConfig{
		Listen: listen, Authority: authority, Certificate: pair, Acceptor: arrivals{s, len(s.servers)}, Store: kept, CA: ca,
		Clients: []h3.OAuthClient{{ID: "load", Keys: jose.JSONWebKeySet{Keys: []jose.JSONWebKey{public}}}},
		TGs: []h3.TGConfig{{
			Name: "load", ClientID: "load", Origins: policy.NumberSet{Allow: patterns(t, "+1202555xxxx")},
			Destinations: policy.NumberSet{Allow: patterns(t, "*")},
		}},
		Verifier: &stir.Verifier{Trust: stir.Trust{Roots: roots}, Chain: func(ctx context.Context, x5u string) ([]*x509.Certificate, error) {
			if chain := own.Chain(ctx, x5u); chain != nil {
				return chain, nil
			}
			return nil, fmt.Errorf("%s is not ours", x5u)
		}},
	})
	if err == nil {
		err = server.Listen(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	s.servers = append(s.servers, server)
	done := make(chan error, 1)
	go func() { done <- server.Serve(context.Background()) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := errors.Join(server.Shutdown(ctx), <-done); err != nil {
			t.Errorf("stop the server: %v", err)
		}
	})
}

func (s *loadSite) connect(authority, media string) {
	t := s.t
	t.Helper()
	key, err := h3.NewClientKey(readKey(t, filepath.Join(s.dir, setup.ClientKey)), "")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.read(setup.CACert))
	s.client, err = h3.NewClient(h3.ClientConfig{
		Store: store.NewMemory(), Logger: slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn})), HandlerID: "load",
		Trunks: []h3.TrunkConfig{{
			Name: "load", Connect: "https://" + authority, ClientID: "load", Key: key, Roots: roots, Media: media,
			Numbers: patterns(t, "+1202555xxxx"),
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.client.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	for end := time.Now().Add(30 * time.Second); s.client.Ready("load") != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(s.client.Ready("load"))
		}
	}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

// loadCall is both ends of one call.
type loadCall struct {
	out, in bridge.Leg
	server  int                  // that took it
	done    [2]chan bridge.Cause // why each end was told that the call is over
}

// dial places the n-th call and has it answered.
func (s *loadSite) dial(n int) *loadCall {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	from, to := policy.Number(fmt.Sprintf("+1202555%04d", n%10000)), policy.Number("+13035550100")
	passport, err := s.client.Sign(ctx, "load", from, to, "A")
	if err != nil {
		s.t.Fatal(err)
	}
	c := &loadCall{}
	c.out, err = s.client.Dial(ctx, bridge.Intent{
		Call: fmt.Sprint("load-", n), Trunk: "load", From: from, To: to, Passport: passport, Hops: 9, Trace: bridge.NewTrace(),
		Media: bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMU}},
	})
	if err != nil {
		s.t.Fatalf("call %d: %v", n, err)
	}
	select {
	case at := <-s.incoming:
		c.in, c.server = at.Leg, at.server
	case <-ctx.Done():
		s.t.Fatalf("call %d does not arrive", n)
	}
	c.done = [2]chan bridge.Cause{drain(c.out), drain(c.in)}
	if err := c.in.Answer(ctx, bridge.Answer{Media: loadPlan}); err != nil {
		s.t.Fatalf("answer call %d: %v", n, err)
	}
	return c
}

// drain reads a leg's events to the end and keeps the cause.
func drain(leg bridge.Leg) chan bridge.Cause {
	over := make(chan bridge.Cause, 1)
	go func() {
		var cause bridge.Cause
		for ev := range leg.Events() {
			if ev.Kind == bridge.Ended {
				cause = ev.Cause
			}
		}
		over <- cause
	}()
	return over
}

// hangUp ends the call at the caller's side.
func (c *loadCall) hangUp(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := c.out.End(ctx, bridge.CauseNormal); err != nil {
		t.Errorf("hang up: %v", err)
	}
	for i, name := range []string{"caller", "callee"} {
		select {
		case cause := <-c.done[i]:
			if cause.Code != "" && cause.Code != bridge.CauseNormal.Code {
				t.Errorf("the %s's end is over for %v", name, cause)
			}
		case <-ctx.Done():
			t.Errorf("the %s's end is not over", name)
		}
	}
}
