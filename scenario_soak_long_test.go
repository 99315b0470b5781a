package main_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"riptide/bridge/bridgetest"
	"riptide/sip/siptest"
)

// bothKeys adds keys to both trunks of the SBC.
func bothKeys(keys string) func(config string) string {
	return func(config string) string { return withKeys("carrier", keys)(withKeys("pbx", keys)(config)) }
}

// protectedCall is a call with SRTP between two telephones of ours. The caller
// keeps a session of 90 s, and the callee's numbers of RTP begin just before their
// end, as do the caller's.
type protectedCall struct {
	s      *sbc
	phones [2]*siptest.Phone
	speech [2]*siptest.Speech
}

// lastNumbers is so many numbers of RTP from the end of them.
const lastNumbers = 36

func startProtectedCall(t *testing.T, edit ...func(string) string) *protectedCall {
	t.Helper()
	c := &protectedCall{s: startSBC(t, append([]func(string) string{bothKeys("srtp: required, srtp-keys: clear")}, edit...)...)}
	c.phones[0] = (&siptest.Phone{User: officeNumber, Netns: c.s.pbx, SRTP: true, Ptime: 10, Timer: 90}).Start(t)
	c.phones[1] = (&siptest.Phone{User: outsideNumber, Netns: c.s.carrier, Port: 5060, SRTP: true, Ptime: 10}).Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := c.phones[0].Call(ctx, c.s.inside, outsideNumber); err != nil {
		t.Fatal(err)
	}
	if err := c.phones[1].Talks(ctx); err != nil {
		t.Fatal(err)
	}
	for i, p := range c.phones {
		c.speech[i] = p.Speech(t, 1<<16-lastNumbers)
	}
	return c
}

// refresh has a telephone offer again what there is, over and over, until the
// context ends.
func refresh(ctx context.Context, t *testing.T, p *siptest.Phone, every time.Duration) (times int) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return times
		case <-tick.C:
		}
		// Not ctx: what was begun is finished.
		limited, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		err := p.Offer(limited, false)
		cancel()
		if err != nil {
			t.Errorf("refresh %d: %v", times, err)
			return times
		}
		times++
	}
}

// end hangs up and tells what each end missed: nothing.
func (c *protectedCall) end(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := c.phones[0].HangUp(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.phones[1].Over(ctx); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"caller", "callee"} {
		said, heard := c.speech[1-i].Said(), c.speech[i].Heard()
		t.Logf("the %s heard %d of %d packets, longest silence %v; their numbers wrapped %d times on the way in and %d times on the way out",
			name, heard.Packets, said, heard.Longest.Round(time.Millisecond), (1<<16-lastNumbers+said-1)>>16, heard.Wraps)
		if heard.Packets != said || heard.Missing+heard.Gaps+heard.Again+heard.Sealed > 0 || heard.Keys != 1 {
			t.Errorf("the %s heard %+v of %d packets", name, heard, said)
		}
	}
	c.s.node.settle(t)
	c.s.node.awaitLog(t, "call ended")
	for _, side := range []string{"a", "b"} {
		if got := logged(c.s.node.logText(t), side+".security"); got != "AES_CM_128_HMAC_SHA1_80" {
			t.Errorf("leg %s was protected by %q", side, got)
		}
	}
}

// TestSoakRollover_rtpengine1443: the numbers of RTP of a call with SRTP wrap
// again and again, in both directions, so that the roll-over counter counts, and
// both ends offer the same again and again meanwhile. Each packet arrives, once
// and in its order, under the first key.
func TestSoakRollover_rtpengine1443(t *testing.T) {
	besideOthers(t)
	siptest.Shows(t, "srtp", "scripted")
	siptest.Shows(t, "reinvite", "scripted")
	c := startProtectedCall(t)
	// Two wraps on the way in, and seven.
	packets := uint64(size(1<<16+1000, 6<<16+1000))
	ctx, cancel := context.WithCancel(t.Context())
	var offers sync.WaitGroup
	for i, p := range c.phones {
		offers.Go(func() {
			t.Logf("telephone %d made %d offers", i, refresh(ctx, t, p, time.Second+time.Duration(i)*300*time.Millisecond))
		})
	}
	talkFast(t, c.speech, packets)
	cancel()
	offers.Wait()
	c.end(t)
}

// talkFast has both ends say so many packets, as fast as the other end hears
// them.
func talkFast(t *testing.T, speech [2]*siptest.Speech, packets uint64) {
	t.Helper()
	const ahead = 64
	moved := time.Now()
	for {
		done, busy := 0, false
		for i, s := range speech {
			heard := speech[1-i].Heard().Next
			if heard == packets {
				done++
			}
			for n := s.Said(); n < min(packets, heard+ahead); n++ {
				busy = true
				if err := s.Say(); err != nil {
					t.Fatal(err)
				}
			}
		}
		switch {
		case done == len(speech):
			return
		case busy:
			moved = time.Now()
		case time.Since(moved) > 20*time.Second:
			t.Fatalf("of %d and %d packets %+v and %+v were heard, and no more come", speech[1].Said(), speech[0].Said(), speech[0].Heard(), speech[1].Heard())
		default:
			time.Sleep(100 * time.Microsecond)
		}
	}
}

// TestSoakLongCall_pjproject2682: twenty minutes with SRTP and sessions of 90 s, in packets of
// 10 ms, so that the numbers of RTP wrap more than once. On one call telephones of
// ours count each packet, and the caller refreshes its leg; the other one is of
// baresip, which knows no session timers and is refreshed by riptide.
func TestSoakLongCall_pjproject2682(t *testing.T) {
	besideOthers(t)
	long := time.Duration(size(10, 20*60)) * time.Second
	t.Run("numbered", func(t *testing.T) {
		t.Parallel()
		siptest.Shows(t, "srtp", "scripted")
		siptest.Shows(t, "timers", "scripted")
		c := startProtectedCall(t, withKeys("carrier", "timer: require, timer-interval: 90s"))
		ctx, cancel := context.WithTimeout(t.Context(), long)
		defer cancel()
		var offers sync.WaitGroup
		offers.Go(func() { t.Logf("the caller refreshed %d times", refresh(ctx, t, c.phones[0], long/30)) })
		for i := range c.speech {
			offers.Go(func() { talkInTime(ctx, t, c.speech[i]) })
		}
		offers.Wait()
		time.Sleep(time.Second) // until the last packets are there
		t.Logf("the callee was refreshed %d times", c.phones[1].Asked())
		if want := int(long/(90*time.Second)) - 1; c.phones[1].Asked() < want {
			t.Errorf("the callee was refreshed %d times, want %d", c.phones[1].Asked(), want)
		}
		c.end(t)
	})
	t.Run("baresip", func(t *testing.T) {
		t.Parallel()
		siptest.Shows(t, "srtp", "baresip")
		longBaresip(t, long)
	})
}

// talkInTime says a packet every 10 ms.
func talkInTime(ctx context.Context, t *testing.T, s *siptest.Speech) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	begun := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for due := uint64(time.Since(begun) / (10 * time.Millisecond)); s.Said() < due; {
			if err := s.Say(); err != nil {
				t.Error(err)
				return
			}
		}
	}
}

func longBaresip(t *testing.T, long time.Duration) {
	s := startSBC(t, bothKeys("srtp: required, srtp-keys: clear, timer: require, timer-interval: 90s"))
	phone := siptest.Baresip{Port: 5060, SRTP: "srtp-mand", Ptime: 10, Tone: int(long.Seconds()) + 60}
	caller, callee := phone, phone
	caller.Netns, caller.User, caller.Hz = s.pbx, officeNumber, 620
	callee.Netns, callee.User, callee.Hz = s.carrier, outsideNumber, 1040
	a, b := caller.Start(t), callee.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), long+time.Minute)
	defer cancel()
	s.connect(t, ctx, a, b)
	time.Sleep(long)
	for _, phone := range []*siptest.BaresipRun{a, b} {
		for _, e := range phone.Events() {
			if e.Type == "CALL_CLOSED" {
				t.Fatalf("%s: the call is over: %+v\n%s", phone.URI, e, phone.Log())
			}
		}
	}
	if err := a.HangUp(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Await(ctx, "CALL_CLOSED", 0); err != nil {
		t.Fatal(err)
	}
	s.node.settle(t)
	m := s.node.metrics(t)
	received, lost := sum(m, "riptide_media_received_packets_total"), sum(m, "riptide_media_lost_packets_total")
	told := sum(m, "riptide_media_peer_lost_packets_total")
	unopened := sum(m, "riptide_media_dropped_packets_total", `"undecrypted"`)
	t.Logf("%d packets came, %d are missing, %d could not be opened; the telephones miss %d", received, lost, unopened, told)
	// A telephone that calls opens NATs by a packet from before it has keys, and
	// the first from one that is called may overtake its answer. After a fault of
	// the roll-over counter nothing would be opened any more.
	if lost+told > 0 || unopened > 10 {
		t.Errorf("%d packets are missing, %d could not be opened, and the telephones miss %d", lost, unopened, told)
	}
	if want := int(long/(10*time.Millisecond)) * 2 * 9 / 10; received < want {
		t.Errorf("%d packets came, want %d", received, want)
	}
	for _, ear := range []struct {
		phone *siptest.BaresipRun
		hz    float64
	}{{a, callee.Hz}, {b, caller.Hz}} {
		hearsToTheEnd(t, ear.phone, ear.hz, long)
	}
}

// hearsToTheEnd looks for a tone in the whole of a recording and in its end, and
// for what is missing between.
func hearsToTheEnd(t *testing.T, phone *siptest.BaresipRun, hz float64, long time.Duration) {
	t.Helper()
	hearsTone(t, phone, hz)
	samples, rate, err := phone.Recording()
	if err != nil {
		t.Fatal(err)
	}
	heard := time.Duration(len(samples)) * time.Second / time.Duration(rate)
	if heard < long*9/10 {
		t.Errorf("%s heard %v of %v", phone.URI, heard, long)
	}
	if tone := bridgetest.ToneLevel(samples[max(0, len(samples)-2*rate):], rate); !tone.Is(hz) {
		t.Errorf("at the end %s heard %v, want %.0f Hz", phone.URI, tone, hz)
	}
	var gaps, longest time.Duration
	for _, f := range bridgetest.FindFaults(samples, rate) {
		if f.Kind == bridgetest.Gap {
			gaps, longest = gaps+f.Length, max(longest, f.Length)
		}
	}
	t.Logf("%s heard %v, of which %v are missing, the longest part %v", phone.URI, heard, gaps, longest)
}
