package sip

import (
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"time"
)

// TestCallsAtOnceShareAConnection: calls that come while the connection to their
// peer is being made wait for it, and make no other.
func TestCallsAtOnceShareAConnection(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- conn
		}
	}()
	to := addrPortOf(l.Addr())
	a, _ := tlsAgent(t, ca, newAcceptor(), Trunk{Peer: to.String(), Transport: "tls", TLS: &TrunkTLS{Roots: ca.pool, Name: "carrier.example"}})
	const callers = 20
	var waiting sync.WaitGroup
	var got [callers]*stream
	for i := range callers {
		waiting.Go(func() {
			s, err := a.connect(ctx, a.trunks[0], overTLS, to)
			if err != nil {
				t.Errorf("caller %d: %v", i, err)
			}
			got[i] = s
		})
	}
	first := <-accepted
	defer first.Close()
	time.Sleep(200 * time.Millisecond) // for others that would come
	secured := tls.Server(first, &tls.Config{Certificates: []tls.Certificate{*ca.issue(nil, "carrier.example")}})
	if err := secured.HandshakeContext(ctx); err != nil {
		t.Fatal(err)
	}
	waiting.Wait()
	for i, s := range got {
		if s == nil || s != got[0] {
			t.Errorf("caller %d has another connection", i)
		}
	}
	if n := len(accepted); n != 0 {
		t.Errorf("%d more connections were made", n)
	}
}

// TestEveryConnectionIsClosed: a peer that listens at the port which it also
// connects from can be reached in two ways that look like one; both end with the
// agent.
func TestEveryConnectionIsClosed(t *testing.T) {
	t.Parallel()
	a := startAgent(t, newAcceptor(), Trunk{})
	var peers [2]net.Conn
	for i := range peers {
		ours, theirs := tcpPair(t)
		peers[i] = theirs
		s := newStream(ours, overTCP, a.trunks[0], origin{})
		s.peer = addrPortOf(peers[0].LocalAddr())
		if !a.enlist(s) || !a.work.Go(func() { a.attend(s) }) {
			t.Fatal("the agent is not there")
		}
	}
	if err := a.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	for i, c := range peers {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if _, err := c.Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Errorf("connection %d is open: %v", i, err)
		}
	}
}

// tcpPair is a connection.
func tcpPair(t *testing.T) (ours, theirs net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if theirs, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if ours, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = theirs.Close() })
	return ours, theirs
}
