package bridgetest

import (
	"context"
	"sync"
	"time"

	"riptide/bridge"
)

// Heard is one end's account of a call.
type Heard struct {
	Info    bridge.LegInfo
	Plan    bridge.MediaPlan
	SetUp   time.Duration // from the request to the answer
	Tone    Tone          // strongest tone of what came
	Samples []int16       // what came, at 8000 Hz
	Digits  string
	Media   bridge.MediaStats
	Cause   bridge.Cause // how it ended
}

// Answerer is the person who picks up: it rings, answers, plays a tone, listens,
// and after PlayFor echoes what it hears until the caller hangs up. Set its
// fields before the first call.
type Answerer struct {
	Hz       float64       // what it plays; 0 = it only echoes
	RingFor  time.Duration // before it answers
	PlayFor  time.Duration // before it echoes; 0 = it plays to the end
	HangUp   time.Duration // after which it ends the call itself; 0 = never
	MaxCalls int           // at once; 0 = 100. More are refused as busy.
	OnEnd    func(Heard)   // called once per call, from its own goroutine

	OnAnswer func(bridge.LegInfo, *ToneSink) // the same, of a call that it has answered

	Delay  time.Duration // before it rings
	Early  bool          // it is heard while it rings
	Refuse bridge.Cause  // with a code: what it does instead of answering
	Digits string        // keys it presses after the answer, again every second
	Video  bool          // it sends pictures too, where the caller takes VP8

	mu    sync.Mutex
	calls int
	stop  chan struct{}
	over  bool
	wait  sync.WaitGroup
}

const (
	answererCalls = 100
	endPatience   = 5 * time.Second
)

// Accept takes a call, which runs until it ends or Close is called.
func (a *Answerer) Accept(_ context.Context, leg bridge.Leg) error {
	want := bridge.MediaPlan{Speech: bridge.PCMU}
	if a.Video {
		want.Video = &bridge.Format{Codec: bridge.VP8}
	}
	plan, err := bridge.PlanFor(leg.Info().Media, want)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return bridge.CauseShuttingDown.With("the answerer is closed")
	}
	limit := a.MaxCalls
	if limit == 0 {
		limit = answererCalls
	}
	if a.calls >= limit {
		return bridge.CauseBusy.With("the answerer has %d calls", a.calls)
	}
	if a.stop == nil {
		a.stop = make(chan struct{})
	}
	a.calls++
	a.wait.Go(func() {
		heard := a.run(leg, plan, a.stop)
		a.mu.Lock()
		a.calls--
		a.mu.Unlock()
		if a.OnEnd != nil {
			a.OnEnd(heard)
		}
	})
	return nil
}

// Close hangs up every call and waits for them.
func (a *Answerer) Close() {
	a.mu.Lock()
	if !a.over && a.stop != nil {
		close(a.stop)
	}
	a.over = true
	a.mu.Unlock()
	a.wait.Wait()
}

func (a *Answerer) run(leg bridge.Leg, plan bridge.MediaPlan, stop <-chan struct{}) Heard {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	sink := NewToneSink()
	leg.Media().Join(sink)
	defer leg.Media().Join(nil)

	heard := Heard{Info: leg.Info(), Plan: plan}
	start := time.Now()
	heard.Cause = a.pickUp(ctx, leg, plan, stop)
	if heard.Cause.Code == "" {
		heard.SetUp = time.Since(start)
		if a.OnAnswer != nil {
			a.OnAnswer(leg.Info(), sink)
		}
		heard.Cause = a.talk(ctx, leg, plan, sink, stop)
	}
	heard.Samples, heard.Digits = sink.Samples(), sink.Digits()
	heard.Tone, heard.Media = sink.Heard(), leg.Media().Stats()
	return heard
}

// pickUp rings and answers. A cause means that the call is over already.
func (a *Answerer) pickUp(ctx context.Context, leg bridge.Leg, plan bridge.MediaPlan, stop <-chan struct{}) bridge.Cause {
	if c := a.linger(leg, a.Delay, stop); c.Code != "" {
		return c
	}
	ringing := bridge.Progress{Alerting: true}
	if a.Early {
		ringing.Early = &plan
	}
	if err := leg.Progress(ctx, ringing); err != nil {
		return finish(leg, bridge.CauseOf(err))
	}
	if a.Early {
		playing, silence := context.WithCancel(ctx)
		var play sync.WaitGroup
		defer play.Wait()
		defer silence()
		play.Go(func() { NewToneSource(plan.Speech, earlyHz).Run(playing, leg.Media()) })
	}
	if c := a.linger(leg, a.RingFor, stop); c.Code != "" {
		return c
	}
	if a.Refuse.Code != "" {
		return finish(leg, a.Refuse)
	}
	if err := leg.Answer(ctx, bridge.Answer{Media: plan}); err != nil {
		return finish(leg, bridge.CauseOf(err))
	}
	return bridge.Cause{}
}

// earlyHz is the tone that is heard before the answer.
const earlyHz = 425

// linger waits, unless the call ends or the answerer is closed meanwhile.
func (a *Answerer) linger(leg bridge.Leg, d time.Duration, stop <-chan struct{}) bridge.Cause {
	if d == 0 {
		return bridge.Cause{}
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case e, ok := <-leg.Events():
			if c, over := ended(leg, e, ok); over {
				return c
			}
		case <-stop:
			return finish(leg, bridge.CauseShuttingDown)
		case <-timer.C:
			return bridge.Cause{}
		}
	}
}

func (a *Answerer) talk(ctx context.Context, leg bridge.Leg, plan bridge.MediaPlan, sink *ToneSink, stop <-chan struct{}) bridge.Cause {
	playing, silence := context.WithCancel(ctx)
	var play sync.WaitGroup
	defer play.Wait()
	defer silence()
	source := NewToneSource(plan.Speech, a.Hz)
	voice := &inTurn{to: leg.Media()}
	echo := after(a.PlayFor)
	if a.Digits != "" && plan.Digits {
		play.Go(func() { pressKeys(playing, voice, a.Digits) })
	}
	if plan.Video != nil {
		play.Go(func() { sendPictures(playing, leg.Media()) })
	}
	if a.Hz > 0 {
		play.Go(func() { source.Run(playing, voice) })
	} else {
		leg.Media().Join(Both{sink, source.Echo(leg.Media())})
		echo = nil
	}
	hangUp := after(a.HangUp)
	for {
		select {
		case e, ok := <-leg.Events():
			if c, over := ended(leg, e, ok); over {
				return c
			}
		case <-stop:
			return finish(leg, bridge.CauseShuttingDown)
		case <-hangUp:
			return finish(leg, bridge.CauseNormal.EndedBy(bridge.ByCallee))
		case <-echo:
			silence()
			play.Wait() // one voice at a time: two sources have two clocks
			leg.Media().Join(Both{sink, source.Echo(leg.Media())})
		}
	}
}

// after is a channel that delivers once when d has passed, never if d is 0.
func after(d time.Duration) <-chan time.Time {
	if d == 0 {
		return nil
	}
	return time.After(d)
}

// ended tells whether an event, or the end of events, is the end of the leg, and
// then lets go of it. It keeps no record, so a change is as stored as it will
// ever be.
func ended(leg bridge.Leg, e bridge.Event, ok bool) (bridge.Cause, bool) {
	if !ok {
		return bridge.CauseNormal, true
	}
	if e.Stored != nil {
		e.Stored()
	}
	if e.Kind == bridge.Transfer && e.Transferred != nil {
		e.Transferred(bridge.CauseTransferRefused.With("nobody here transfers calls"))
	}
	if e.Kind != bridge.Ended {
		return e.Cause, false
	}
	return finish(leg, e.Cause), true
}

// finish ends a leg, and returns the cause with which it did.
func finish(leg bridge.Leg, c bridge.Cause) bridge.Cause {
	ctx, cancel := context.WithTimeout(context.Background(), endPatience)
	defer cancel()
	if err := leg.End(ctx, c); err != nil {
		return c.With("%s; ending the leg: %v", c.Error(), err)
	}
	return c
}

var _ bridge.Acceptor = (*Answerer)(nil)
