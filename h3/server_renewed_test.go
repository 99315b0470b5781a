package h3

import (
	"bytes"
	"crypto/tls"
	"sync/atomic"
	"testing"

	"github.com/quic-go/quic-go"
)

// A certificate that is renewed is shown on the next connection, over QUIC as
// over TCP, and those that are open go on.
func TestRenewedCertificateIsShown(t *testing.T) {
	t.Parallel()
	var current atomic.Pointer[tls.Certificate]
	r := newRig(t, func(c *ServerConfig) {
		current.Store(&c.Certificate)
		c.Renewed = func() (*tls.Certificate, error) { return current.Load(), nil }
	})
	shown := func() (overQUIC, overTCP []byte) {
		conf := &tls.Config{RootCAs: r.roots, ServerName: testAuthority, NextProtos: []string{"h3"}}
		conn, err := quic.DialAddr(t.Context(), r.server.Addr().String(), conf, nil)
		must(t, err)
		defer func() { _ = conn.CloseWithError(0, "") }()
		conf = conf.Clone()
		conf.NextProtos = []string{"h2"}
		tcp, err := tls.Dial("tcp", r.server.Addr().String(), conf)
		must(t, err)
		defer func() { _ = tcp.Close() }()
		return conn.ConnectionState().TLS.PeerCertificates[0].Raw, tcp.ConnectionState().PeerCertificates[0].Raw
	}
	first := current.Load().Certificate[0]
	if overQUIC, overTCP := shown(); !bytes.Equal(overQUIC, first) || !bytes.Equal(overTCP, first) {
		t.Error("the first certificate is not shown")
	}
	running, err := r.h3.Get(testRoot)
	must(t, err)
	must(t, running.Body.Close())
	renewed, _ := testTLS(t)
	r.roots.AddCert(renewed.Leaf)
	current.Store(&renewed)
	if overQUIC, overTCP := shown(); !bytes.Equal(overQUIC, renewed.Certificate[0]) || !bytes.Equal(overTCP, renewed.Certificate[0]) {
		t.Error("the new certificate is not shown")
	}
	again, err := r.h3.Get(testRoot)
	must(t, err)
	must(t, again.Body.Close())
	if again.StatusCode != running.StatusCode {
		t.Errorf("the connection from before gets %d, had %d", again.StatusCode, running.StatusCode)
	}
}
