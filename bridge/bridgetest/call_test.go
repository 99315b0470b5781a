package bridgetest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"riptide/bridge"
)

// join is the least bridge there is: it dials a scripted pair of legs, one end
// of which is the answerer's.
func join(a *Answerer) *Dialer {
	d := NewDialer()
	d.OnDial = func(ctx context.Context, in bridge.Intent) (bridge.Leg, error) {
		out := NewLeg(bridge.LegInfo{ID: "out", From: in.From, To: in.To, Media: in.Media})
		back := &backLeg{Leg: NewLeg(bridge.LegInfo{ID: "in", From: in.From, To: in.To, Media: in.Media}), out: out}
		back.Peer().Join(out.Peer())
		out.Peer().Join(back.Peer())
		if err := a.Accept(ctx, back); err != nil {
			return nil, err
		}
		return &frontLeg{Leg: out, back: back}, nil
	}
	return d
}

type backLeg struct {
	*Leg
	out  *Leg
	over atomic.Bool // one side has told the other
}

func (l *backLeg) Progress(ctx context.Context, p bridge.Progress) error {
	l.out.Ring()
	return l.Leg.Progress(ctx, p)
}

func (l *backLeg) Answer(ctx context.Context, a bridge.Answer) error {
	l.out.PickUp(a.Media)
	return l.Leg.Answer(ctx, a)
}

func (l *backLeg) End(ctx context.Context, c bridge.Cause) error {
	if !l.over.Swap(true) {
		l.out.HangUp(c, nil)
	}
	return l.Leg.End(ctx, c)
}

type frontLeg struct {
	*Leg
	back *backLeg
}

func (l *frontLeg) End(ctx context.Context, c bridge.Cause) error {
	if !l.back.over.Swap(true) {
		l.back.HangUp(c, nil)
	}
	return l.Leg.End(ctx, c)
}

var offer = bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMA}}

func TestCallIsHeardBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var called []Heard
		a := &Answerer{Hz: 600, RingFor: time.Second, OnEnd: func(h Heard) {
			mu.Lock()
			defer mu.Unlock()
			called = append(called, h)
		}}
		got, err := Caller{Dialer: join(a), Hz: 440, TalkFor: 3 * time.Second}.Call(t.Context(), bridge.Intent{To: "+12025550100", Media: offer})
		a.Close()
		if err != nil {
			t.Fatal(err)
		}
		if !got.Tone.Is(600) || got.Plan.Speech != bridge.PCMA || got.SetUp != time.Second {
			t.Errorf("caller: heard %v on %v after %v", got.Tone, got.Plan.Speech, got.SetUp)
		}
		if f := FindFaults(got.Samples, 8000); len(f) > 0 {
			t.Errorf("caller: %v", f)
		}
		if len(called) != 1 || !called[0].Tone.Is(440) || called[0].Cause.Code != "normal" {
			t.Errorf("called: %+v", called)
		}
	})
}

func TestAnswererEchoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &Answerer{Hz: 600, PlayFor: 2 * time.Second}
		defer a.Close()
		got, err := Caller{Dialer: join(a), Hz: 440, TalkFor: 5 * time.Second}.Call(t.Context(), bridge.Intent{Media: offer})
		if err != nil {
			t.Fatal(err)
		}
		first, then := got.Samples[:12000], got.Samples[20000:36000]
		if a, b := ToneLevel(first, 8000), ToneLevel(then, 8000); !a.Is(600) || !b.Is(440) {
			t.Errorf("first %v, then %v", a, b)
		}
	})
}

func TestAnswererHangsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &Answerer{HangUp: time.Second}
		defer a.Close()
		start := time.Now()
		got, err := Caller{Dialer: join(a), Hz: 440, TalkFor: time.Hour}.Call(t.Context(), bridge.Intent{Media: offer})
		if err != nil || got.Cause.By != bridge.ByCallee || time.Since(start) != time.Second {
			t.Errorf("%v, %v after %v", got.Cause, err, time.Since(start))
		}
	})
}

func TestAnswererRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &Answerer{MaxCalls: 1, RingFor: time.Hour}
		d := join(a)
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan error, 1)
		go func() {
			_, err := Caller{Dialer: d, TalkFor: time.Second}.Call(ctx, bridge.Intent{Media: offer})
			first <- err
		}()
		synctest.Wait()
		if _, err := (Caller{Dialer: d}).Call(t.Context(), bridge.Intent{Media: offer}); !errors.Is(err, bridge.CauseBusy) {
			t.Errorf("second call: %v, want busy", err)
		}
		cancel()
		if err := <-first; !errors.Is(err, bridge.CauseCancelled) {
			t.Errorf("first call: %v, want cancelled", err)
		}
		if _, err := (Caller{Dialer: d}).Call(t.Context(), bridge.Intent{}); !errors.Is(err, bridge.CauseMediaIncompatible) {
			t.Errorf("no codec: %v", err)
		}
		a.Close()
		if _, err := (Caller{Dialer: d}).Call(t.Context(), bridge.Intent{Media: offer}); !errors.Is(err, bridge.CauseShuttingDown) {
			t.Errorf("closed: %v", err)
		}
	})
}

func TestScriptedLeg(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDialer()
		leg, err := d.Dial(t.Context(), bridge.Intent{Trunk: "pbx", To: "+12025550100"})
		if err != nil {
			t.Fatal(err)
		}
		script, err := d.Next(t.Context())
		if err != nil || script.Info().Trunk != "pbx" || len(d.Intents()) != 1 {
			t.Fatalf("%+v, %v", script, err)
		}
		go func() {
			time.Sleep(time.Second)
			_ = leg.End(context.Background(), bridge.CauseBusy)
		}()
		if act, err := script.Await(t.Context(), Finished); err != nil || act.Cause.Code != "busy" {
			t.Errorf("%+v, %v", act, err)
		}
		if _, ok := <-leg.Events(); ok {
			t.Error("events stay open after End")
		}
		broken := errors.New("socket gone")
		script.Fail(Progressed, broken)
		if err := leg.Progress(t.Context(), bridge.Progress{}); !errors.Is(err, broken) {
			t.Errorf("Progress: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := script.Await(ctx, Accepted); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Await: %v", err)
		}
	})
}

func TestAcceptor(t *testing.T) {
	a := NewAcceptor()
	leg := NewLeg(bridge.LegInfo{ID: "x"})
	if err := a.Accept(t.Context(), leg); err != nil {
		t.Fatal(err)
	}
	if got, err := a.Next(t.Context()); err != nil || got.Info().ID != "x" {
		t.Fatalf("%v, %v", got, err)
	}
	a.Refuse(bridge.CauseForbidden)
	if err := a.Accept(t.Context(), leg); !errors.Is(err, bridge.CauseForbidden) {
		t.Errorf("refused with %v", err)
	}
}

func TestRecorder(t *testing.T) {
	s := NewToneSink()
	voice := make([]byte, 160)
	for i := range voice {
		voice[i] = 0x10
	}
	for _, ts := range []uint64{1000, 1160, 1480, 1320 - 1160} { // one lost, one from before the beginning
		s.Push(&bridge.Frame{Codec: bridge.PCMU, Timestamp: ts, Payload: voice})
	}
	got := s.Samples()
	if len(got) != 640 || got[320] != 0 || got[479] != 0 || got[480] == 0 {
		t.Errorf("%d samples, a lost frame must be a hole", len(got))
	}
	if n := s.Missing(); n != 1 {
		t.Errorf("%d frames are missing, want 1", n)
	}
	s.Push(&bridge.Frame{Codec: bridge.PCMU, Timestamp: 1000 + uint64(maxSamples) - 160, Payload: voice})
	s.Push(&bridge.Frame{Codec: bridge.PCMU, Timestamp: 1001 + uint64(maxSamples) - 160, Payload: voice})
	if n := len(s.Samples()); n != maxSamples {
		t.Errorf("%d samples, at most %d", n, maxSamples)
	}
	event := func(ts uint64, digit byte) {
		s.Push(&bridge.Frame{Codec: bridge.TelephoneEvent, Timestamp: ts, Payload: []byte{digit, 10, 0, 160}})
	}
	for _, e := range []struct {
		ts    uint64
		digit byte
	}{{100, 1}, {100, 1}, {900, 1}, {900, 1}, {1700, 11}, {100, 1}, {2500, 200}} {
		event(e.ts, e.digit)
	}
	s.Push(&bridge.Frame{Codec: bridge.TelephoneEvent, Payload: []byte{1}})
	if s.Digits() != "11#" || s.FramesOf(bridge.TelephoneEvent) != 8 {
		t.Errorf("digits %q from %d packets", s.Digits(), s.FramesOf(bridge.TelephoneEvent))
	}
}

func TestJoinKeepsItsPromise(t *testing.T) {
	a, b := NewPipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 1000 {
			a.Push(&bridge.Frame{})
		}
	}()
	for range 100 {
		var closed bool
		s := sinkFunc(func(*bridge.Frame) {
			if closed {
				t.Error("a frame after Join returned")
			}
		})
		b.Join(s)
		b.Join(nil)
		closed = true
	}
	<-done
	if st := b.Stats(); st.Received != 1000 || a.Stats().Sent != 1000 {
		t.Errorf("%+v", st)
	}
}

type sinkFunc func(*bridge.Frame)

func (f sinkFunc) Push(fr *bridge.Frame) { f(fr) }
