package h3

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"riptide/bridge"
)

// bubble is a rig without a network, for tests in which time is none either
// (testing/synctest): the server is reached over TLS on pipes.
type bubble struct {
	*rig
	dialled atomic.Int32
	conns   chan net.Conn
	closed  chan struct{}
}

func newBubble(t *testing.T, changes ...func(*ServerConfig)) *bubble {
	t.Helper()
	b := &bubble{rig: makeRig(t, changes...), conns: make(chan net.Conn), closed: make(chan struct{})}
	served := make(chan error, 1)
	go func() { served <- b.server.h2.ServeTLS(guests{b, b.server.strangers}, "", "") }()
	tr2, tr1 := b.client("h2"), b.client("http/1.1")
	b.h1 = &http.Client{Transport: tr1, CheckRedirect: noRedirect}
	b.h2 = &http.Client{Transport: tr2, CheckRedirect: noRedirect}
	b.h3 = b.h2
	t.Cleanup(func() {
		if err := b.server.calls.endAll(context.Background(), bridge.CauseShuttingDown); err != nil {
			t.Errorf("end the calls: %v", err)
		}
		tr2.CloseIdleConnections()
		tr1.CloseIdleConnections()
		_ = b.server.h2.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return b
}

func (b *bubble) client(version string) *http.Transport {
	return &http.Transport{
		ForceAttemptHTTP2: true,
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			b.dialled.Add(1)
			select {
			case b.conns <- theirs:
			case <-b.closed:
				return nil, net.ErrClosed
			}
			c := tls.Client(ours, &tls.Config{RootCAs: b.roots, ServerName: testAuthority, NextProtos: []string{version}})
			return c, c.HandshakeContext(ctx)
		},
	}
}

// Accept implements net.Listener.
func (b *bubble) Accept() (net.Conn, error) {
	select {
	case c := <-b.conns:
		return c, nil
	case <-b.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (b *bubble) Close() error {
	close(b.closed)
	return nil
}

// Addr implements net.Listener.
func (b *bubble) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }
