package h3

import (
	"context"
	"crypto/tls"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"riptide/bridge"
	"riptide/h3/h3test"
)

// mortal is a pair whose server can be killed and started again, and whose
// clients, too: each behind a relay of its own that can be cut.
type mortal struct {
	*pair
	relay *h3test.Relay
}

// newMortal runs a server, and a client of it that is not yet connected.
func newMortal(t *testing.T, carrier string, changes ...func(*ServerConfig)) *mortal {
	t.Helper()
	m := &mortal{pair: &pair{rig: makeRig(t, changes...)}}
	m.run(nil)
	m.clients()
	m.start(carrier)
	return m
}

// run lets the server listen, then does what must be done before it serves.
func (m *mortal) run(before func(*Server)) {
	m.t.Helper()
	s := m.server
	var err error
	for range 100 { // somebody else's test may have the port for a moment
		if err = s.Listen(m.t.Context()); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	must(m.t, err)
	m.cfg.Listen = s.Addr().String()
	if before != nil {
		before(s)
	}
	served := make(chan struct{})
	go func() { defer close(served); _ = s.Serve(context.WithoutCancel(m.t.Context())) }()
	m.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
		<-served
	})
}

// crash is what kill -9 is for the server's peers: its sockets are gone, and
// nobody was told.
func (m *mortal) crash() {
	m.t.Helper()
	_ = m.server.udp.Conn.Close()
	_ = m.server.tcp.Close()
	_ = m.server.h2.Close()
}

// restart starts the next server with the same configuration and store.
func (m *mortal) restart(before func(*Server)) {
	m.t.Helper()
	var err error
	m.server, err = NewServer(m.cfg)
	must(m.t, err)
	m.run(before)
}

// start runs a client behind a relay of its own.
func (m *mortal) start(carrier string, changes ...func(*TrunkConfig)) {
	m.t.Helper()
	m.relay = h3test.NewRelay(m.t, m.server.Addr().String(), h3test.Path{}, h3test.Path{}, 1)
	m.at = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), m.relay.Addr().Port())
	m.client = m.connect(carrier, changes...)
}

// cut is what kill -9 is for the client's peer: nothing comes from it any more.
func (m *mortal) cut() {
	gone := h3test.Path{Loss: 1}
	m.relay.Set(gone, gone)
}

func again(leg bridge.Leg, state bridge.State) bridge.Resumption {
	return bridge.Resumption{LegRecord: leg.Record(), Call: "call-1", State: state}
}

// answered is a call that is up and heard.
func (m *mortal) answered(carrier string) (out, in bridge.Leg) {
	m.t.Helper()
	out, in = m.dial()
	must(m.t, in.Answer(m.t.Context(), bridge.Answer{Media: testPlan}))
	awaitKind(m.t, out, bridge.Answered)
	m.heard(out, in)
	m.carriedBy(out, carrier)
	return out, in
}

// meter speaks on a port, and measures for how long nothing is heard of the
// other end.
type meter struct {
	mu      sync.Mutex
	last    time.Time
	longest time.Duration
}

func (g *meter) Push(*bridge.Frame) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if !g.last.IsZero() {
		g.longest = max(g.longest, now.Sub(g.last))
	}
	g.last = now
}

// begin forgets what was before.
func (g *meter) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last, g.longest = time.Now(), 0
}

func (g *meter) gap() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.longest
}

// goesOn checks that a leg which was taken up again is the one of before, and that
// everything a call can do it can still do with the one at its other end.
func (m *mortal) goesOn(leg, other, before bridge.Leg, carrier string) {
	m.t.Helper()
	m.heard(leg, other)
	m.carriedBy(leg, carrier)
	m.carriedBy(other, carrier)
	if leg.Info().ID != before.Info().ID || leg.Info().From != testFrom || leg.Info().To != testTo {
		m.t.Errorf("it goes on as %+v", leg.Info())
	}

	client, server := leg, other
	if leg.Record().Incoming {
		client, server = other, leg
	}
	must(m.t, client.(bridge.Adapter).Adapt(m.t.Context(), bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMU}, Digits: true}))
	if ev := awaitKind(m.t, server, bridge.MediaChanged); ev.Plan == nil || ev.Plan.Speech != bridge.PCMU {
		m.t.Errorf("the server changed to %+v", ev.Plan)
	}
	if ev := nextEvent(m.t, client); ev.Kind != bridge.MediaChanged || ev.Plan.Speech != bridge.PCMU {
		m.t.Errorf("the client heard %v %+v", ev.Kind, ev.Plan)
	}
	must(m.t, leg.End(m.t.Context(), bridge.CauseNormal))
	if c := awaitEnded(m.t, other); c.Code != "normal" {
		m.t.Errorf("ended with %v", c)
	}
}

// talk speaks at 50 packets a second until stop is called.
func talk(port func() bridge.MediaPort) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		f := &bridge.Frame{Codec: bridge.PCMA, Payload: make([]byte, 160)}
		for ctx.Err() == nil {
			if p := port(); p != nil {
				p.Push(f)
			}
			f.Seq, f.Timestamp = f.Seq+1, f.Timestamp+160
			<-tick.C
		}
	})
	return func() { cancel(); wg.Wait() }
}

// overQUIC is a transport with a connection of its own; dialled hears of it.
func (r *rig) overQUIC(dialled func(*quic.Conn, error)) *http3.Transport {
	return &http3.Transport{
		TLSClientConfig: &tls.Config{RootCAs: r.roots, MinVersion: tls.VersionTLS13},
		Dial: func(ctx context.Context, _ string, c *tls.Config, q *quic.Config) (*quic.Conn, error) {
			conn, err := quic.DialAddr(ctx, r.server.Addr().String(), c, q)
			dialled(conn, err)
			return conn, err
		},
	}
}
