package h3

import (
	"context"
	"crypto/x509"
	"log/slog"
	"sync"
	"testing"
	"time"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
	"riptide/bridge/store"
	"riptide/h3/conform"
	"riptide/policy"
)

// callerOf is our client, with somebody who dials through it.
type callerOf struct {
	t      *testing.T
	client *Client
}

// connectTo runs a client of a conformance listener.
func connectTo(t *testing.T, l *conform.Listener) *callerOf {
	t.Helper()
	key, err := NewClientKey(newKey(t), "")
	must(t, err)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(l.CertificatePEM()) {
		t.Fatal("the listener has no certificate")
	}
	c, err := NewClient(ClientConfig{
		Store: store.NewMemory(), Logger: slog.New(slog.DiscardHandler), HandlerID: "node-1",
		Trunks: []TrunkConfig{{
			Name: "telco", Connect: l.URL(), ClientID: "office", Key: key, Roots: pool, Numbers: []policy.Pattern{"+1202555010x"},
		}},
	})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	awaitReady(t, c)
	return &callerOf{t, c}
}

// call places a call and talks until the other side ends it, or for a while.
func (c *callerOf) call(ctx context.Context) {
	in := bridge.Intent{
		Call: "conform", Trunk: "telco", From: "+12025550100", To: "+12025550191", Hops: bridge.DefaultHops,
		Media: bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMU, bridge.PCMA, bridge.Opus}, Digits: true, ComfortNoise: true},
	}
	var err error
	if in.Passport, err = c.client.Sign(ctx, "telco", in.From, in.To, "A"); err != nil {
		c.t.Logf("sign: %v", err) // the judge says what calls it misses
		return
	}
	if _, err := (bridgetest.Caller{Dialer: c.client, Hz: 620, TalkFor: 45 * time.Second, Digits: "5#"}).Call(ctx, in); err != nil {
		c.t.Logf("call: %v", err)
	}
}

// callAll places as many calls as the listener wants, the last one alone.
func (c *callerOf) callAll(ctx context.Context, l *conform.Listener) {
	n := l.CallsWanted()
	var wg sync.WaitGroup
	room := make(chan struct{}, 4)
	for range n - 1 {
		room <- struct{}{}
		wg.Go(func() {
			c.call(ctx)
			<-room
		})
	}
	wg.Wait()
	c.call(ctx)
}

func judgeClient(t *testing.T, o conform.ListenOptions) *conform.Report {
	t.Helper()
	o.Addr, o.Time, o.Progress = "127.0.0.1:0", 4*time.Minute, func(s string) { t.Log(s) }
	l, err := conform.NewListener(o)
	must(t, err)
	defer l.Close()
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	judging, enough := context.WithCancel(t.Context())
	defer enough()
	var calls sync.WaitGroup
	calls.Go(func() {
		connectTo(t, l).callAll(ctx, l)
		time.AfterFunc(8*time.Second, enough) // calls that were refused leave the judge waiting
	})
	report, err := l.Run(judging)
	hangUp()
	calls.Wait()
	must(t, err)
	return report
}

// TestClientConforms: every requirement of clients, judged from outside.
func TestClientConforms(t *testing.T) {
	t.Parallel()
	judged(t, judgeClient(t, conform.ListenOptions{}))
}

// judged wants every line to pass.
func judged(t *testing.T, r *conform.Report) {
	t.Helper()
	for _, x := range r.Results {
		if x.Verdict != conform.Passed {
			t.Errorf("%s %s: %s (%s): %s", x.Verdict, x.ID, x.Text, x.Did, x.Why)
		}
	}
	t.Log(r.Totals())
}
