package embedded_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"riptide/bridge/cluster"
	"riptide/bridge/store"
	"riptide/bridge/store/embedded"
)

// authority issues certificates of a cluster's nodes.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cluster"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{t, key, cert}
}

func (a authority) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func (a authority) issue(name string) *tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// site is the places of three nodes; each has its state and its address.
type site struct {
	t     *testing.T
	ca    authority
	names []string
	at    map[string]string
	state map[string]string

	mu     sync.Mutex
	stores map[string]*embedded.Store
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, ca: newAuthority(t), names: []string{"a", "b", "w"}, at: map[string]string{}, state: map[string]string{}, stores: map[string]*embedded.Store{}}
	var held []net.Listener // until all have a port
	for _, name := range s.names {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, l)
		s.at[name], s.state[name] = l.Addr().String(), t.TempDir()
	}
	for _, l := range held {
		_ = l.Close()
	}
	s.open(s.names...)
	t.Cleanup(func() { s.stop(s.names...) })
	return s
}

func (s *site) peers(name string) embedded.Peers {
	cert := s.ca.issue(name)
	p := embedded.Peers{Node: name, Listen: s.at[name], Certificate: func() (*tls.Certificate, error) { return cert, nil }, Roots: s.ca.roots()}
	for _, other := range s.names {
		if other != name {
			p.Others = append(p.Others, s.at[other])
		}
	}
	return p
}

// open starts nodes at once.
func (s *site) open(names ...string) {
	s.t.Helper()
	var wg sync.WaitGroup
	for _, name := range names {
		p := s.peers(name)
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
			defer cancel()
			st, err := embedded.OpenCluster(ctx, s.state[name], p, slog.New(slog.DiscardHandler))
			if err != nil {
				s.t.Error(err)
				return
			}
			s.mu.Lock()
			s.stores[name] = st
			s.mu.Unlock()
		})
	}
	wg.Wait()
	if s.t.Failed() {
		s.t.FailNow()
	}
}

func (s *site) stop(names ...string) {
	var wg sync.WaitGroup
	for _, name := range names {
		s.mu.Lock()
		st := s.stores[name]
		delete(s.stores, name)
		s.mu.Unlock()
		if st != nil {
			wg.Go(func() { _ = st.Close() })
		}
	}
	wg.Wait()
}

// join makes a node a member. What it finds out about others it does as a node
// does.
func (s *site) join(name string) *cluster.Members {
	s.t.Helper()
	m, err := cluster.Join(cluster.Config{Node: name, Nodes: s.names, Bus: s.stores[name], Refused: cluster.Dial(s.at)})
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

// TestCluster: what one node writes every other reads at once, also when it was
// written with a node gone; a revision is good for one of them; and messages go
// round.
func TestCluster(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	a, b := s.stores["a"], s.stores["b"]
	for i := range 50 { // read where it was not written
		key := fmt.Sprint("call", i)
		rev, err := a.Create(ctx, store.Calls, key, []byte("1"), 0)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := b.Get(ctx, store.Calls, key); err != nil || e.Revision != rev {
			t.Fatalf("%s: %+v, %v", key, e, err)
		}
		if _, err := b.Update(ctx, store.Calls, key, []byte("2"), rev); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Update(ctx, store.Calls, key, []byte("3"), rev); !errors.Is(err, store.ErrConflict) {
			t.Fatalf("both have updated revision %d: %v", rev, err)
		}
	}
	got := make(chan string, 1)
	stop, err := b.Subscribe("test", func(data []byte) {
		select {
		case got <- string(data):
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for heard := false; !heard; { // a learns late that b listens
		if err := a.Publish("test", []byte("hello")); err != nil {
			t.Fatal(err)
		}
		select {
		case <-got:
			heard = true
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal("no message came")
		}
	}

	s.stop("w")
	for { // it may have been the leader of the bucket
		_, err := a.Put(ctx, store.Calls, "without", []byte("x"))
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	s.stop("b")
	began := time.Now()
	if _, err := a.Put(ctx, store.Calls, "alone", []byte("x")); err == nil {
		t.Error("one node of three has written")
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("calls waited for %v", took)
	}
	for { // a leader finds out late that nobody follows it
		if _, err := a.Get(ctx, store.Calls, "without"); err != nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("one node of three goes on reading what may be old")
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.open("b")
	for {
		e, err := s.stores["b"].Get(ctx, store.Calls, "without")
		if err == nil && string(e.Value) == "x" {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("the value is gone: %v", err)
		}
	}
}

// TestStrangersAreNotLetIn: who has no certificate of the cluster's authority is
// no node, and keeps nobody from being one.
func TestStrangersAreNotLetIn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for name, certs := range map[string][]tls.Certificate{"nobody's": nil, "another authority's": {*newAuthority(t).issue("a")}} {
		conn, err := net.Dial("tcp", s.at["a"])
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		secure := tls.Client(conn, &tls.Config{RootCAs: s.ca.roots(), ServerName: "127.0.0.1", Certificates: certs})
		err = secure.Handshake()
		if err == nil { // in TLS 1.3 the refusal comes after the client's part
			_, err = secure.Read(make([]byte, 1))
		}
		if err == nil {
			t.Errorf("with %s certificate it was let in", name)
		}
		_ = conn.Close()
	}
	if _, err := s.stores["a"].Put(t.Context(), store.Calls, "x", nil); err != nil {
		t.Error(err)
	}
}

// TestAClaimWaitsForNoElection: the node that led the store is gone, and what it
// had is another's while nothing can be written yet.
func TestAClaimWaitsForNoElection(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	members := map[string]*cluster.Members{}
	for _, name := range s.names {
		members[name] = s.join(name)
	}
	defer func() {
		for _, m := range members {
			m.Leave()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for {
		if epoch, err := members["b"].Claim(ctx, "first", "b", 1); err == nil {
			if epoch != 1 {
				t.Errorf("epoch %d", epoch)
			}
			break
		} else if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	if _, err := members["b"].Claim(ctx, "call", "a", 2); !errors.Is(err, cluster.ErrLives) {
		t.Errorf("of a node that lives: %v", err)
	}
	leader := ""
	for leader == "" {
		for name, st := range s.stores {
			if st.Leads(store.Calls) {
				leader = name
			}
		}
		if leader == "" && ctx.Err() != nil {
			t.Fatal("no node takes writes")
		}
	}
	members[leader].Leave()
	delete(members, leader)
	s.stop(leader)
	other := "b"
	if leader == "b" {
		other = "a"
	}
	began := time.Now()
	if _, err := members[other].Claim(ctx, "call", leader, 2); err != nil {
		t.Fatal(err)
	}
	t.Logf("claimed after %v", time.Since(began))
	for {
		_, err := s.stores[other].Put(ctx, store.Calls, "call", nil)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	t.Logf("written after %v", time.Since(began))
}
