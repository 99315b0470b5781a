package h3

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
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// testCA is a private CA with one certificate for 127.0.0.1.
func testCA(t testing.TB) (*x509.CertPool, tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(time.Now().UnixNano()),
		Subject:               pkix.Name{CommonName: "test"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		DNSNames:              []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return pool, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// testH3 serves a handler over HTTP/3 on loopback and returns its host:port.
type testH3 struct {
	Addr  string
	Roots *x509.CertPool
	certs [][]byte // DER

	mu    sync.Mutex
	conns []*quic.Conn
	count int
}

func serveH3(t testing.TB, streams int64, h http.Handler) *testH3 {
	t.Helper()
	roots, cert := testCA(t)
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	tr := &quic.Transport{Conn: udp}
	ln, err := tr.ListenEarly(http3.ConfigureTLSConfig(&tls.Config{Certificates: []tls.Certificate{cert}}), &quic.Config{
		MaxIncomingStreams: streams, MaxIdleTimeout: 5 * time.Second, EnableDatagrams: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &testH3{Addr: udp.LocalAddr().String(), Roots: roots, certs: cert.Certificate}
	server := &http3.Server{Handler: h}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept(context.Background())
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, c)
			s.count++
			s.mu.Unlock()
			wg.Go(func() { _ = server.ServeQUICConn(c) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		s.Drop()
		_ = tr.Close()
		_ = udp.Close()
		wg.Wait()
	})
	return s
}

// Drop closes every connection, as a restarting server or balancer does.
func (s *testH3) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.CloseWithError(0x102, "dropped by the test")
	}
	s.conns = nil
}

func (s *testH3) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

func (s *testH3) pool(t testing.TB) *pool {
	p := newPool(poolConfig{Trunk: "test", TLS: &tls.Config{RootCAs: s.Roots, MinVersion: tls.VersionTLS13}})
	t.Cleanup(p.Close)
	return p
}

func get(ctx context.Context, p *pool, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := p.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// TestPoolParkedRequests: balancers and servers allow 100 streams a connection
// and block the next without an error. Requests that park must not block others.
func TestPoolParkedRequests(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var parked atomic.Int64
	s := serveH3(t, 100, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/park" {
			parked.Add(1)
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
		_, _ = io.WriteString(w, "ok")
	}))
	p := s.pool(t)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	const n = 600
	errs := make(chan error, n)
	for range n {
		go func() { _, err := get(ctx, p, "https://"+s.Addr+"/park"); errs <- err }()
	}
	for parked.Load() < n {
		if ctx.Err() != nil {
			t.Fatalf("%d of %d requests reached the server", parked.Load(), n)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if body, err := get(ctx, p, "https://"+s.Addr+"/now"); err != nil || body != "ok" {
		t.Fatalf("request beside %d parked ones: %q, %v", n, body, err)
	}
	close(release)
	for range n {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if _, streams := p.Counts(); streams != 0 {
		t.Errorf("%d streams are counted as open after all requests ended", streams)
	}
	if got, most := s.Count(), n/maxStreams+8; got > most {
		t.Errorf("%d connections for %d requests, want at most %d", got, n, most)
	}
}

// TestPoolLearnsLimit: a server with fewer streams than we assume.
func TestPoolLearnsLimit(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := serveH3(t, 10, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/park" {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
		_, _ = io.WriteString(w, "ok")
	}))
	p := s.pool(t)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	errs := make(chan error, 35)
	for range cap(errs) {
		go func() { _, err := get(ctx, p, "https://"+s.Addr+"/park"); errs <- err }()
	}
	for s.Count() < 3 && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	if body, err := get(ctx, p, "https://"+s.Addr+"/now"); err != nil || body != "ok" {
		t.Fatalf("request beside parked ones: %q, %v", body, err)
	}
	close(release)
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// TestPoolDialsAheadForSessions: the next connection is there before the places
// for sessions on the first are taken, and no call waits for its handshake.
func TestPoolDialsAheadForSessions(t *testing.T) {
	t.Parallel()
	s := serveH3(t, 100, http.NotFoundHandler())
	p := s.pool(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	a := p.authority(s.Addr)
	for range maxSessions - spare + 1 {
		if _, err := a.acquire(ctx, true); err != nil {
			t.Fatal(err)
		}
	}
	for s.Count() < 2 {
		if ctx.Err() != nil {
			t.Fatalf("%d connections when %d of %d sessions are taken", s.Count(), maxSessions-spare+1, maxSessions)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if n := s.Count(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

// TestPoolReconnects: after all connections are cut the next request just works.
func TestPoolReconnects(t *testing.T) {
	t.Parallel()
	s := serveH3(t, 100, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	p := s.pool(t)
	for i := range 5 {
		if _, err := get(t.Context(), p, "https://"+s.Addr+"/"); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		s.Drop()
		time.Sleep(50 * time.Millisecond) // let the close frame arrive
	}
}

func TestPoolUntrusted(t *testing.T) {
	t.Parallel()
	s := serveH3(t, 100, http.NotFoundHandler())
	other, _ := testCA(t)
	p := newPool(poolConfig{Trunk: "test", TLS: &tls.Config{RootCAs: other}})
	defer p.Close()
	_, err := get(t.Context(), p, "https://"+s.Addr+"/")
	if !untrusted(err) {
		t.Fatalf("error %v, want one about the certificate", err)
	}
}

// TestPoolUnreachable: neither QUIC nor TCP answers.
func TestPoolUnreachable(t *testing.T) {
	t.Parallel()
	ln, err := net.ListenPacket("udp4", "127.0.0.1:0") // takes packets, answers none
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	roots, _ := testCA(t)
	p := newPool(poolConfig{Trunk: "test", TLS: &tls.Config{RootCAs: roots}})
	defer p.Close()
	_, err = get(t.Context(), p, "https://"+ln.LocalAddr().String()+"/")
	if err == nil || untrusted(err) || !strings.Contains(err.Error(), ln.LocalAddr().String()) {
		t.Fatalf("error %v, want one that names %s", err, ln.LocalAddr())
	}
	if c := transportCause(err); c.Code != "unreachable" {
		t.Errorf("cause %v, want unreachable", c)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err = get(ctx, p, "https://"+ln.LocalAddr().String()+"/"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the context's", err)
	}
}

// TestPoolTCP: where QUIC is blocked the same requests run over HTTP/2, both
// bodies streaming.
func TestPoolTCP(t *testing.T) {
	t.Parallel()
	roots, cert := testCA(t)
	ln, err := tls.Listen("tcp4", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		w.Header().Set("X-Proto", r.Proto)
		_ = rc.Flush()
		buf := make([]byte, 64)
		for {
			n, err := r.Body.Read(buf)
			_, _ = w.Write(buf[:n])
			_ = rc.Flush()
			if err != nil {
				return
			}
		}
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(ln) }()
	defer func() { _ = server.Close(); <-done }()
	p := newPool(poolConfig{Trunk: "test", TLS: &tls.Config{RootCAs: roots}})
	defer p.Close()

	body, write := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "https://"+ln.Addr().String()+"/echo", body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := p.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("X-Proto"); got != "HTTP/2.0" {
		t.Errorf("protocol %s, want HTTP/2.0", got)
	}
	for i := range 3 {
		want := fmt.Sprintf("line %d", i)
		if _, err := io.WriteString(write, want); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != want {
			t.Fatalf("echo %q, %v; want %q", got, err, want)
		}
	}
	_ = write.Close()
}
