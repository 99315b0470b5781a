package sip

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestSlowMessage: a message has a time in which to come, and not a new one with
// every byte. Between messages a connection may be silent for as long as it
// likes.
func TestSlowMessage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		a := &Agent{}
		done := make(chan struct{})
		began := time.Now()
		var took time.Duration
		go func() {
			defer close(done)
			a.readBytes(newStream(ours, overTCP, &trunk{}, origin{}))
			took = time.Since(began)
			_ = ours.Close()
		}()
		time.Sleep(time.Hour)
		began = time.Now()
		for range 10 {
			if _, err := theirs.Write([]byte("I")); err != nil {
				break
			}
			time.Sleep(messageTimeout * 2 / 3)
		}
		<-done
		if took != messageTimeout {
			t.Errorf("a message that never ends was read for %v", took)
		}
	})
}

// TestListenerEndures: when there are no more files, calls go on, and so does
// the listener afterwards; one that is broken ends.
func TestListenerEndures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &Agent{base: context.Background()}
		failures := 0
		for i := range 10 * maxFailures {
			if !a.endure(&failures, &net.OpError{Op: "accept", Err: syscall.EMFILE}) {
				t.Fatalf("gave up after %d", i)
			}
		}
		n := 0
		for a.endure(&failures, &net.OpError{Op: "accept", Err: syscall.EINVAL}) {
			n++
		}
		if n != maxFailures {
			t.Errorf("gave up after %d", n)
		}
	})
}

// TestAliases: a connection has one alias, however many its peer names.
func TestAliases(t *testing.T) {
	t.Parallel()
	tr := &trunk{}
	a := &Agent{streams: map[streamKey]*stream{}}
	s := &stream{over: overTLS, peer: netip.MustParseAddrPort("192.0.2.1:40000"), trunk: tr, proven: true, gone: make(chan struct{})}
	a.streams[streamKey{s.over, s.peer, s.trunk}] = s
	for _, port := range []uint16{5061, 40000, 5062, 5063, 5061} {
		a.reuse(s, port)
	}
	if a.streams[streamKey{s.over, s.alias, tr}] != s || s.alias.Port() != 5061 || a.streams[streamKey{s.over, s.peer, tr}] != s || len(a.streams) != 2 {
		t.Errorf("%d ways to one peer, alias %v", len(a.streams), s.alias)
	}
}
