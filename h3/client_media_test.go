package h3

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"riptide/bridge"
	"riptide/h3/advert"
)

// countingSink counts frames.
type countingSink struct{ n atomic.Int64 }

func (s *countingSink) Push(*bridge.Frame) { s.n.Add(1) }

// speak pushes a packet every 200 ms until the other side has heard enough of
// them. The pace is slow so that a loaded machine can keep it.
func speak(ctx context.Context, port bridge.MediaPort, heard *countingSink, enough int64) bool {
	payload := make([]byte, 160)
	for i := uint64(0); ctx.Err() == nil; i++ {
		if heard.n.Load() >= enough {
			return true
		}
		port.Push(&bridge.Frame{Codec: bridge.PCMA, Seq: i, Timestamp: i * 1600, Payload: payload})
		time.Sleep(200 * time.Millisecond)
	}
	return false
}

// TestThirtyCallsPutGet: put/get parks a handful of requests per call, and
// connections take 100: all of them together must be heard, in both directions.
func TestThirtyCallsPutGet(t *testing.T) {
	const calls, enough = 30, 5
	p := newFakePeerWith(t, 100)
	cfg := p.config()
	cfg.Trunks[0].Media = "put-get"
	c := runClient(t, cfg)
	awaitReady(t, c)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	legs := make([]bridge.Leg, calls)
	var wg sync.WaitGroup
	for i := range legs {
		wg.Go(func() {
			in := testIntent()
			in.Call = fmt.Sprint(i)
			leg, err := c.Dial(ctx, in)
			if err != nil {
				t.Errorf("call %d: %v", i, err)
				return
			}
			legs[i] = leg
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	up, down := make([]countingSink, calls), make([]countingSink, calls)
	for i, leg := range legs {
		call := p.Call(leg.Info().ID[strings.LastIndexByte(leg.Info().ID, '/')+1:])
		call.port.Join(&up[i])
		leg.Media().Join(&down[i])
		wg.Go(func() {
			if !speak(ctx, leg.Media(), &up[i], enough) {
				t.Errorf("call %d is not heard at the peer: %+v", i, leg.Media().Stats())
			}
		})
		wg.Go(func() {
			if !speak(ctx, call.port, &down[i], enough) {
				t.Errorf("call %d hears nothing: %+v", i, leg.Media().Stats())
			}
		})
	}
	wg.Wait()
	if n, open := p.Count(), calls*(2+4); n < open/100 {
		t.Errorf("%d connections for %d open requests: the test does not reach the limit", n, open)
	}
	for _, leg := range legs {
		wg.Go(func() {
			if err := leg.End(ctx, bridge.CauseNormal); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// testClock is a clock that tests can put forward.
type testClock struct{ offset atomic.Int64 }

func (c *testClock) Now() time.Time          { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *testClock) Advance(d time.Duration) { c.offset.Add(int64(d)) }

// TestSilentByway: a byway without a byte for 15 s is dead, and opened anew.
func TestSilentByway(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	var silent atomic.Bool
	silent.Store(true)
	reached := make(chan struct{}, 8)
	p.onGet = func(w http.ResponseWriter, r *http.Request, _ *fakeCall) bool {
		if !silent.Load() {
			return false
		}
		_ = newBywayWriter(w, http.NewResponseController(w).Flush).Open()
		reached <- struct{}{}
		<-r.Context().Done()
		return true
	}
	clock := &testClock{}
	cfg := p.config()
	cfg.Now = clock.Now
	c := runClient(t, cfg)
	awaitReady(t, c)
	leg := mustDial(t, c, testIntent())
	<-reached
	silent.Store(false)
	for len(leg.Events()) == 0 { // the bracket may still be on its way when the clock is put forward
		clock.Advance(silentLimit + time.Second)
		time.Sleep(time.Second) // to attach anew, by a clock that stands still
	}
	expect(t, leg, bridge.Proceeding, false)
	if err := leg.End(t.Context(), bridge.CauseNormal); err != nil {
		t.Error(err)
	}
}

// TestHoldLimit: the peer is gone for good; after 30 s so is the call.
func TestHoldLimit(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	p.onGet = func(w http.ResponseWriter, _ *http.Request, _ *fakeCall) bool {
		w.WriteHeader(http.StatusBadGateway)
		return true
	}
	clock := &testClock{}
	cfg := p.config()
	cfg.Now = clock.Now
	c := runClient(t, cfg)
	awaitReady(t, c)
	leg := mustDial(t, c, testIntent())
	clock.Advance(holdLimit + time.Second)
	if ev := expect(t, leg, bridge.Ended, false); ev.Cause.Code != "signalling-lost" || ev.Cause.By != bridge.ByBridge {
		t.Errorf("cause %+v, want signalling-lost by the bridge", ev.Cause)
	}
	expectClosed(t, leg)
}

func TestFollowed(t *testing.T) {
	t.Parallel()
	both, err := advert.ParseAdvert("1 in: PCMU; PCMA; telephone-event; CN; 1 out: PCMU; PCMA; telephone-event; CN; 2 in: VP8; 2 out: VP8;")
	must(t, err)
	for _, tc := range []struct {
		directive string
		want      string // "" = refused
	}{
		{"1 to 1: PCMU; telephone-event; CN;", "PCMU digits noise"},
		{"1 to 3: pcma;", "PCMA"},
		{"1 to 1: PCMA; PCMU;", "PCMA"},
		{"1 to 1: PCMU; 2 to 2: VP8;", "PCMU VP8"},
		{"1 to 1: PCMU; 2 to 2: VP8,max-width=640;", "PCMU VP8"},
		{"1 to 1: CN;", ""}, {"2 to 1: PCMU;", ""}, {"1 to 1: PCMU; 1 to 2: PCMU;", ""}, {"1 to 1: opus;", ""},
		{"1 to 1: PCMU; 3 to 2: VP8;", ""}, {"1 to 1: PCMU,sealed;", ""}, {"2 to 2: VP8;", ""},
		{"", ""}, {"nonsense", ""}, {"1 to 1:", ""},
	} {
		_, plan, err := followed(tc.directive, "1 to 1: nonsense", both)
		got := ""
		if err == nil {
			got = plan.Speech.String()
			if plan.Digits {
				got += " digits"
			}
			if plan.ComfortNoise {
				got += " noise"
			}
			if plan.Video != nil {
				got += " " + plan.Video.Codec.String()
			}
		}
		if got != tc.want {
			t.Errorf("%q: %q, %v; want %q", tc.directive, got, err, tc.want)
		}
	}
}

func FuzzFollowed(f *testing.F) {
	mine, err := advert.ParseAdvert("1 in: PCMU; opus,ch=2; 1 out: PCMU; opus,ch=2; 2 in: VP8; H264; 2 out: VP8; H264;")
	if err != nil {
		f.Fatal(err)
	}
	f.Add("1 to 1: PCMU; telephone-event; CN;", "1 to 1: PCMU;")
	f.Add("1 to 1: opus,br=1; 2 to 2: H264;", "2 to 2: VP8;")
	f.Fuzz(func(t *testing.T, client, server string) {
		_, plan, err := followed(client, server, mine)
		if err == nil && !plan.Speech.Speech() {
			t.Errorf("plan %+v of %q", plan, client)
		}
	})
}

func TestX5UOf(t *testing.T) {
	t.Parallel()
	at := mustURL(t, "https://ript.telco.example/tg/1/certs")
	for _, tc := range []struct {
		header http.Header
		want   string
	}{
		{http.Header{"Link": {`</certs/a.pem>; rel="x5u"`}}, "https://ript.telco.example/certs/a.pem"},
		{http.Header{"Link": {`<https://a/>; rel=next, <https://ript.telco.example/b.pem>; rel=x5u`}, "Location": {"/wrong"}}, "https://ript.telco.example/b.pem"},
		{http.Header{"Content-Location": {"/c.pem"}}, "https://ript.telco.example/c.pem"},
		{http.Header{"Location": {"d.pem"}}, "https://ript.telco.example/tg/1/d.pem"},
		{http.Header{"Link": {`<https://evil.example/a.pem>; rel="x5u"`}}, ""},
		{http.Header{"Link": {`<:bad>; rel="x5u"`}}, ""},
		{http.Header{}, ""},
	} {
		got, err := x5uOf(reply{Header: tc.header}, at, at)
		if got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%v: %q, %v; want %q", tc.header, got, err, tc.want)
		}
	}
}

func TestCookieLimits(t *testing.T) {
	t.Parallel()
	u := mustURL(t, "https://ript.telco.example/")
	learn := func(j *cookieJar, n, size int) {
		for i := range n {
			h := http.Header{}
			h.Add("Set-Cookie", fmt.Sprintf("c%02d=%s", i, strings.Repeat("x", size-3)))
			j.Learn(u, &http.Response{Header: h})
		}
	}
	j := newCookieJar(bridge.Trace{})
	learn(j, maxCookies+1, 10)
	if got := len(j.Values(u)); got != maxCookies {
		t.Errorf("%d cookies kept of %d, want %d", got, maxCookies+1, maxCookies)
	}
	j.Empty()
	if got := len(j.Values(u)); got != 0 {
		t.Errorf("%d cookies in an empty jar", got)
	}
	learn(j, 1, maxCookieSize)
	if got := len(j.Values(u)); got != 1 {
		t.Error("a cookie of the largest size was dropped")
	}
	j.Empty()
	learn(j, 1, maxCookieSize+1)
	if got := len(j.Values(u)); got != 0 {
		t.Error("a cookie past the largest size was kept")
	}
}
