package h3

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// A server that is killed says goodbye to nobody. The one that takes its place
// on the same address must end the old connections at their first packet.
func TestRestartedServerResetsOldConnections(t *testing.T) {
	t.Parallel()
	cert, roots := testTLS(t)
	first, err := resetKey(cert.PrivateKey)
	must(t, err)
	again, err := resetKey(cert.PrivateKey)
	must(t, err)
	if *first != *again {
		t.Fatal("the key is not the same after a restart")
	}
	other, err := resetKey(newKey(t))
	must(t, err)
	if *other == *first {
		t.Fatal("two TLS keys give one reset key")
	}

	r := newRig(t)
	if r.server.cfg.StatelessReset == nil {
		t.Fatal("a server has no reset key by default")
	}

	// The predecessor: a socket that is closed without a word, as the kernel
	// does it for a process that was killed.
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	conf := http3TLS(cert)
	old := &quic.Transport{Conn: &mute{UDPConn: socket}, StatelessResetKey: first}
	ln, err := old.Listen(conf, &quic.Config{EnableDatagrams: true})
	must(t, err)
	conn, err := quic.DialAddr(t.Context(), socket.LocalAddr().String(), clientTLS(roots), &quic.Config{EnableDatagrams: true})
	must(t, err)
	_, err = ln.Accept(t.Context())
	must(t, err)
	addr := socket.LocalAddr().(*net.UDPAddr)
	old.Conn.(*mute).silent.Store(true)
	_ = old.Close()
	_ = socket.Close()

	socket, err = net.ListenUDP("udp4", addr)
	must(t, err)
	defer socket.Close()
	next := &quic.Transport{Conn: socket, StatelessResetKey: again}
	defer next.Close()
	_, err = next.Listen(conf, nil)
	must(t, err)

	must(t, conn.SendDatagram(make([]byte, 200)))
	ctx, cancel := context.WithTimeout(t.Context(), testWait)
	defer cancel()
	select {
	case <-conn.Context().Done():
	case <-ctx.Done():
		t.Fatal("the old connection lives on")
	}
	var reset *quic.StatelessResetError
	if err := context.Cause(conn.Context()); !errors.As(err, &reset) {
		t.Errorf("the old connection ended with %v", err)
	}
}

// TestPacketsThatWaitedForTheNextProcess: a service manager keeps the socket between
// two processes, and behind a balancer of datagrams clients cannot see that nobody
// reads it. The first thing that the next process does with what waited there is to
// say that the connection is gone.
func TestPacketsThatWaitedForTheNextProcess(t *testing.T) {
	t.Parallel()
	cert, roots := testTLS(t)
	key, err := resetKey(cert.PrivateKey)
	must(t, err)
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	defer socket.Close()
	kept := &mute{UDPConn: socket}
	old := &quic.Transport{Conn: kept, StatelessResetKey: key}
	ln, err := old.Listen(http3TLS(cert), &quic.Config{EnableDatagrams: true})
	must(t, err)
	conn, err := quic.DialAddr(t.Context(), socket.LocalAddr().String(), clientTLS(roots), &quic.Config{EnableDatagrams: true})
	must(t, err)
	_, err = ln.Accept(t.Context())
	must(t, err)
	kept.silent.Store(true)
	_ = old.Close() // which leaves the socket open
	must(t, conn.SendDatagram(make([]byte, 200)))
	if conn.Context().Err() != nil {
		t.Fatal("the client was told by the process that was killed")
	}

	next := &quic.Transport{Conn: socket, StatelessResetKey: key}
	defer next.Close()
	_, err = next.Listen(http3TLS(cert), nil)
	must(t, err)
	select {
	case <-conn.Context().Done():
	case <-time.After(testWait):
		t.Fatal("the client waits for its timeout")
	}
	var reset *quic.StatelessResetError
	if err := context.Cause(conn.Context()); !errors.As(err, &reset) {
		t.Errorf("the connection ended with %v", err)
	}
}

// TestDerivedTokenKey: nodes that share a TLS key, and the same node after a
// restart, take each other's tokens.
func TestDerivedTokenKey(t *testing.T) {
	t.Parallel()
	for name, tls := range map[string]crypto.PrivateKey{"EC": newKey(t), "Ed25519": ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))} {
		key, err := tokenKey(tls)
		must(t, err)
		again, err := tokenKey(tls)
		must(t, err)
		other, err := tokenKey(newKey(t))
		must(t, err)
		if !key.Equal(again) || key.Equal(other) || key.Equal(tls) {
			t.Errorf("%s: the token key is not that of the TLS key, and of no other", name)
		}
	}
	r := newRig(t, func(c *ServerConfig) { c.TokenKey = nil })
	want, err := tokenKey(r.cfg.Certificate.PrivateKey)
	must(t, err)
	if !r.server.cfg.TokenKey.Equal(want) {
		t.Error("a server's token key is another by default")
	}
}

// mute is a socket that sends nothing any more once it is told so.
type mute struct {
	*net.UDPConn
	silent atomic.Bool
}

func (m *mute) WriteTo(b []byte, to net.Addr) (int, error) {
	if m.silent.Load() {
		return len(b), nil
	}
	return m.UDPConn.WriteTo(b, to)
}

// WriteMsgUDP is what is used where the kernel segments.
func (m *mute) WriteMsgUDP(b, oob []byte, to *net.UDPAddr) (int, int, error) {
	if m.silent.Load() {
		return len(b), len(oob), nil
	}
	return m.UDPConn.WriteMsgUDP(b, oob, to)
}

func http3TLS(cert tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{http3.NextProtoH3}}
}

func clientTLS(roots *x509.CertPool) *tls.Config {
	return &tls.Config{RootCAs: roots, ServerName: testAuthority, NextProtos: []string{http3.NextProtoH3}}
}
