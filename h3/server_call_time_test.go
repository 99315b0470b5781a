package h3

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"riptide/bridge"
	"riptide/h3/agree"
	"riptide/h3/media"
)

// timedCall is a call in a bubble of synthetic time.
func timedCall(t *testing.T) *serverCall {
	t.Helper()
	c := newServerCall(CallDescription{URI: "https://ript.test/c"}, bridge.LegInfo{}, time.Now)
	c.maxByways = 4
	c.media = testAgreement()
	t.Cleanup(func() { c.finish(bridge.CauseNormal) })
	return c
}

func testAgreement() *agreement {
	return newAgreement(agree.Directives{}, testPlan, media.Config{Server: true})
}

// TestSignallingLost ends a call without byways after 30 s, and none before.
func TestSignallingLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := timedCall(t)
		time.Sleep(signallingGrace - time.Second)
		must(t, c.openForward())
		time.Sleep(time.Hour)
		b, err := c.openReverse()
		must(t, err)
		c.closeForward()
		time.Sleep(time.Hour)
		c.closeReverse(b)
		time.Sleep(signallingGrace - time.Millisecond)
		synctest.Wait()
		select {
		case ev := <-c.events:
			t.Fatalf("ended too early: %+v", ev)
		default:
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		select {
		case ev := <-c.events:
			if ev.Kind != bridge.Ended || ev.Cause.Code != "signalling-lost" || ev.Cause.By != bridge.ByBridge {
				t.Errorf("event %+v", ev)
			}
			ev.Stored()
			must(t, serverLeg{c}.End(t.Context(), ev.Cause))
		default:
			t.Fatal("the call lives without signalling")
		}
	})
}

// TestEndIsAcknowledgedWithoutTheBridge: a bridge that never stores the end
// does not hold the client for ever.
func TestEndIsAcknowledgedWithoutTheBridge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := timedCall(t)
		start := time.Now()
		c.command(t.Context(), Event{Type: eventEnd, Seq: 1})
		if d := time.Since(start); d != storedLimit {
			t.Errorf("acknowledged after %v, want %v", d, storedLimit)
		}
		if c.describe().State != "ended" {
			t.Errorf("state %s", c.describe().State)
		}
	})
}

// TestEndIsTold: End returns when the byways have carried it, or after a limit.
func TestEndIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := timedCall(t)
		b, err := c.openReverse()
		must(t, err)
		start := time.Now()
		go func() {
			time.Sleep(300 * time.Millisecond)
			c.closeReverse(b)
		}()
		must(t, serverLeg{c}.End(t.Context(), bridge.CauseNormal))
		if d := time.Since(start); d != 300*time.Millisecond {
			t.Errorf("told after %v", d)
		}

		stuck := timedCall(t)
		_, err = stuck.openReverse()
		must(t, err)
		start = time.Now()
		must(t, serverLeg{stuck}.End(t.Context(), bridge.CauseNormal))
		if d := time.Since(start); d != toldLimit {
			t.Errorf("waited %v for a client that does not read, want %v", d, toldLimit)
		}
	})
}

// TestHeartbeat: something crosses an idle byway at least every 5 s.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := timedCall(t)
		b, err := c.openReverse()
		must(t, err)
		defer c.closeReverse(b)
		r, w := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- sendEvents(ctx, c, b, newBywayWriter(w, nil)) }()
		read := func() string {
			buf := make([]byte, maxEvent)
			n, err := r.Read(buf)
			must(t, err)
			return string(buf[:n])
		}
		if s := read(); s != "[\n" {
			t.Errorf("first write %q", s)
		}
		if s := read(); !strings.Contains(s, `"proceeding"`) {
			t.Errorf("second write %q", s)
		}
		for range 3 {
			before := time.Now()
			if s := read(); strings.TrimSpace(s) != "" || time.Since(before) > heartbeat {
				t.Errorf("%q after %v", s, time.Since(before))
			}
		}
		cancel()
		if err := <-done; err == nil {
			t.Error("a byway that was cut ended in order")
		}
	})
}

// TestSlowClient cuts a byway that does not follow, and only that.
func TestSlowClient(t *testing.T) {
	t.Parallel()
	c := timedCall(t)
	slow, err := c.openReverse()
	must(t, err)
	good, err := c.openReverse()
	must(t, err)
	<-good.queue // the state
	for i := range bywayQueue {
		c.command(t.Context(), Event{Type: eventPing, Seq: uint64(i + 1)})
		<-good.queue
	}
	select {
	case <-slow.behind:
	default:
		t.Error("a client that is far behind keeps its byway")
	}
	select {
	case <-good.behind:
		t.Error("a client that reads was cut")
	default:
	}
	c.closeReverse(slow)
	c.closeReverse(good)
}

// TestEndedCallsAreForgotten after an hour, or when there are too many.
func TestEndedCallsAreForgotten(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	table := newCallTable(ServerLimits{Calls: 10, Ended: 3})
	end := func(id string) {
		must(t, table.reserve())
		c := newServerCall(CallDescription{URI: id}, bridge.LegInfo{}, func() time.Time { return now })
		c.id, c.client, c.tg, c.media = id, "me", "tg", testAgreement()
		table.add(c)
		c.finish(bridge.CauseNormal)
	}
	known := func(id string) bool {
		_, d := table.find("me", "tg", id, now)
		return d != nil
	}
	end("a")
	now = now.Add(endedKept - time.Second)
	end("b")
	if !known("a") || !known("b") {
		t.Error("a call was forgotten within the hour")
	}
	now = now.Add(2 * time.Second)
	if known("a") || !known("b") {
		t.Error("a call is known after an hour")
	}
	for _, id := range []string{"c", "d", "e"} {
		end(id)
	}
	if known("b") || !known("c") || !known("e") || len(table.order) > 3 || len(table.ended) > 3 {
		t.Errorf("%d ended calls are kept, want 3: %v", len(table.ended), table.order)
	}
	if table.count() != 0 {
		t.Errorf("%d calls are up", table.count())
	}
	if _, d := table.find("you", "tg", "e", now); d != nil {
		t.Error("another client sees the call")
	}
}
