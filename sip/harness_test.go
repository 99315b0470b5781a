package sip

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/sip/rtp"
)

// The timers of RFC 3261, ten times faster. sipgo keeps them in variables of
// its package, so they are the same for all tests.
func TestMain(m *testing.M) {
	sipgo.SetTimers(50*time.Millisecond, 400*time.Millisecond, 500*time.Millisecond)
	sipgo.Timer_D = 3200 * time.Millisecond
	os.Exit(m.Run())
}

const patience = 10 * time.Second

var (
	loopback  = netip.MustParseAddr("127.0.0.1")
	loopbacks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
)

// acceptor hands incoming legs to the test.
type acceptor struct {
	legs chan bridge.Leg
	err  error
}

func (a *acceptor) Accept(_ context.Context, l bridge.Leg) error {
	if a.err != nil {
		return a.err
	}
	a.legs <- l
	return nil
}

func newAcceptor() *acceptor { return &acceptor{legs: make(chan bridge.Leg, 16384)} }

func (a *acceptor) next(t *testing.T) bridge.Leg {
	t.Helper()
	select {
	case l := <-a.legs:
		return l
	case <-time.After(patience):
		t.Fatal("no leg arrived")
		return nil
	}
}

// startAgent runs an agent with the peer's address as its trunk, and checks at
// the end that nothing is left of it.
func startAgent(t *testing.T, acc bridge.Acceptor, tr Trunk, change ...func(*Config)) *Agent {
	t.Helper()
	pool, err := rtp.NewPool(loopback, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if tr.Name == "" {
		tr.Name = "pbx"
	}
	if tr.Match == nil {
		tr.Match = loopbacks
	}
	cfg := Config{Listen: []string{"127.0.0.1:0"}, Media: pool, Trunks: []Trunk{tr}, Acceptor: acc, Logger: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&cfg)
	}
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- a.Serve(context.Background()) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := a.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		if n := a.Legs(); n != 0 {
			t.Errorf("%d legs left", n)
		}
		if n := pool.InUse(); n != 0 {
			t.Errorf("%d RTP ports left", n)
		}
	})
	return a
}

// offerSDP is a description as a PBX writes it.
func offerSDP(version int, port int, attrs ...string) string {
	lines := []string{
		"v=0", fmt.Sprintf("o=pbx 1 %d IN IP4 127.0.0.1", version), "s=-", "c=IN IP4 127.0.0.1", "t=0 0",
		fmt.Sprintf("m=audio %d RTP/AVP 8 0 101", port),
		"a=rtpmap:8 PCMA/8000", "a=rtpmap:0 PCMU/8000", "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-16", "a=ptime:20",
	}
	return strings.Join(append(lines, attrs...), "\r\n") + "\r\n"
}

// event waits for the next event of a leg.
func event(t *testing.T, l bridge.Leg, kind bridge.EventKind) bridge.Event {
	t.Helper()
	select {
	case ev, ok := <-l.Events():
		if !ok {
			t.Fatalf("events closed, want %v", kind)
		}
		if ev.Kind != kind {
			t.Fatalf("event %v (%v), want %v", ev.Kind, ev.Cause, kind)
		}
		if ev.Stored != nil {
			ev.Stored()
		}
		return ev
	case <-time.After(patience):
		t.Fatalf("no %v event", kind)
	}
	return bridge.Event{}
}

// closed waits until a leg is over, without another event.
func closed(t *testing.T, l bridge.Leg) {
	t.Helper()
	select {
	case ev, ok := <-l.Events():
		if ok {
			t.Fatalf("event %v (%v) when the leg should be over", ev.Kind, ev.Cause)
		}
	case <-time.After(patience):
		t.Fatal("leg did not close")
	}
}

var pcma = bridge.MediaPlan{Speech: bridge.PCMA, Digits: true, Ptime: 20 * time.Millisecond}

var ctx = context.Background()
