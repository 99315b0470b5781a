package bridge_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
	"riptide/transcode"
)

// listener keeps what a party hears.
type listener struct {
	mu     sync.Mutex
	frames []bridge.Frame
}

func listen(l *bridgetest.Leg) *listener {
	h := &listener{}
	l.Peer().Join(h)
	return h
}

func (l *listener) Push(f *bridge.Frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := *f
	kept.Payload = append([]byte(nil), f.Payload...)
	l.frames = append(l.frames, kept)
}

// take is what came since the last look.
func (l *listener) take() []bridge.Frame {
	l.mu.Lock()
	defer l.mu.Unlock()
	frames := l.frames
	l.frames = nil
	return frames
}

// level is how loud µ-law frames are, in dBm0.
func level(frames []bridge.Frame) float64 {
	var samples []int16
	for _, f := range frames {
		samples = transcode.MuLaw.Decode(samples, f.Payload)
	}
	return transcode.LevelDBm0(samples)
}

// hold changes the media of a leg's peer, which makes no noise of its own.
func hold(l *bridgetest.Leg, held bool) {
	p := plan
	p.ComfortNoise = false
	l.Send(bridge.Event{Kind: bridge.MediaChanged, Plan: &p, Held: held})
	synctest.Wait()
}

// signalwire/freeswitch#1947 and livekit/sip#812: whoever is held hears a line,
// for as long as it takes, and the music of who holds, if there is any.
func TestHeldPartyNeverHearsNothing(t *testing.T) {
	for name, byCaller := range map[string]bool{"held by the caller": true, "held by the callee": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newTransferRig(t, nil)
				holds, waits := r.a, r.b
				if !byCaller {
					holds, waits = r.b, r.a
				}
				hold(holds, false)
				hold(waits, false)
				ear, other := listen(waits), listen(holds)
				time.Sleep(time.Second)
				if got := ear.take(); len(got) != 0 {
					t.Errorf("a call that is not held is filled with %d frames", len(got))
				}
				hold(holds, true)
				time.Sleep(2 * time.Second)
				frames := ear.take()
				if n := len(frames); n < 85 || n > 95 { // all but the first 200 ms
					t.Errorf("%d frames in 2 s", n)
				}
				for i, f := range frames[1:] {
					if f.Codec != bridge.PCMU || f.Seq != frames[i].Seq+1 || f.Timestamp != frames[i].Timestamp+160 {
						t.Fatalf("frame %d: %+v after %+v", i+1, f, frames[i])
					}
				}
				if db := level(frames); db > -40 || db < -75 {
					t.Errorf("noise of %.0f dBm0", db)
				}
				// Music.
				for range 50 {
					holds.Peer().Push(&bridge.Frame{Codec: bridge.PCMU, Payload: make([]byte, 160)})
					time.Sleep(20 * time.Millisecond)
				}
				if got := ear.take(); len(got) < 50 || len(got) > 52 {
					t.Errorf("%d frames while music is played, want 50", len(got))
				}
				hold(holds, false)
				time.Sleep(time.Second)
				ear.take()
				time.Sleep(time.Second)
				if got := ear.take(); len(got) != 0 {
					t.Errorf("filled after the hold: %d frames", len(got))
				}
				if got := other.take(); len(got) != 0 {
					t.Errorf("who holds hears %d frames", len(got))
				}
				hold(holds, true)
				time.Sleep(time.Second)
				waits.HangUp(bridge.CauseNormal, nil)
				r.over("normal", 0)
			})
		})
	}
}

// A peer that makes the noise itself is told how.
func TestHeldPartyMakesTheNoise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := leg("pbx", nil)
		b := r.start(a)
		p := plan
		p.ComfortNoise = true
		b.PickUp(p)
		r.await(a, bridgetest.Accepted)
		synctest.Wait()
		ear := listen(b)
		a.Send(bridge.Event{Kind: bridge.MediaChanged, Plan: &p, Held: true})
		time.Sleep(2 * time.Second)
		frames := ear.take()
		if n := len(frames); n < 8 || n > 11 {
			t.Fatalf("%d frames in 2 s", n)
		}
		for _, f := range frames {
			if f.Codec != bridge.ComfortNoise {
				t.Errorf("%+v", f)
			}
		}
		a.HangUp(bridge.CauseNormal, nil)
		r.summary()
	})
}

// Who waits for a transfer's target hears it ring, unless its network sends
// something better, and a line before.
func TestWaitingForATransfer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTransferRig(t, nil)
		hold(r.b, false)
		var steps []bridge.EventKind
		r.a.Send(bridge.Event{
			Kind: bridge.Transfer, Target: target,
			Moving:      func(k bridge.EventKind) { steps = append(steps, k) },
			Transferred: func(err error) { r.told <- err },
		})
		c, _ := r.dialled()
		ear := listen(r.b)
		r.a.HangUp(bridge.CauseNormal, nil)
		time.Sleep(2 * time.Second)
		if db := level(ear.take()); db > -40 || db < -75 {
			t.Errorf("hears %.0f dBm0 before it rings", db)
		}
		c.Ring()
		time.Sleep(5 * time.Second)
		if db := level(ear.take()); db > -15 || db < -30 {
			t.Errorf("hears %.0f dBm0 while it rings", db)
		}
		early := plan
		c.Send(bridge.Event{Kind: bridge.Proceeding, Plan: &early})
		synctest.Wait()
		for range 50 {
			c.Peer().Push(&bridge.Frame{Codec: bridge.PCMU, Payload: make([]byte, 160)})
			time.Sleep(20 * time.Millisecond)
		}
		if got := ear.take(); len(got) < 50 || len(got) > 61 {
			t.Errorf("%d frames while the target's network speaks", len(got))
		}
		c.PickUp(plan)
		if err := r.outcome(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ear.take()
		time.Sleep(time.Second)
		if got := ear.take(); len(got) != 0 {
			t.Errorf("the line is filled after the transfer: %d frames", len(got))
		}
		if len(steps) != 2 || steps[0] != bridge.Proceeding || steps[1] != bridge.Alerting {
			t.Errorf("who asked was told %v", steps)
		}
		r.b.HangUp(bridge.CauseNormal, nil)
		r.over("normal", 1)
	})
}
