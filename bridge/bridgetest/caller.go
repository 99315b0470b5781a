package bridgetest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"riptide/bridge"
)

// Caller is the person who dials: it waits for the answer, plays a tone, listens
// and hangs up.
type Caller struct {
	Dialer  bridge.Dialer
	Hz      float64
	TalkFor time.Duration // after the answer
	Digits  string        // keys it presses meanwhile, again every second

	OnAnswer func(*ToneSink) // if not nil, called once somebody has answered
}

// Call places one call and returns what was heard. An error means that there was
// no answer; its Cause says why. When ctx ends, so does the call.
func (c Caller) Call(ctx context.Context, in bridge.Intent) (Heard, error) {
	start := time.Now()
	leg, err := c.Dialer.Dial(ctx, in)
	if err != nil {
		return Heard{}, fmt.Errorf("call %s: %w", in.To, err)
	}
	sink := NewToneSink()
	leg.Media().Join(sink)
	defer leg.Media().Join(nil)

	heard := Heard{Info: leg.Info()}
	heard.Plan, err = awaitAnswer(ctx, leg)
	heard.SetUp = time.Since(start)
	if err != nil {
		return heard, fmt.Errorf("call %s: %w", in.To, err)
	}
	if c.OnAnswer != nil {
		c.OnAnswer(sink)
	}
	heard.Cause = c.talk(ctx, leg, heard.Plan)
	heard.Samples, heard.Digits = sink.Samples(), sink.Digits()
	heard.Tone, heard.Media = sink.Heard(), leg.Media().Stats()
	return heard, nil
}

func awaitAnswer(ctx context.Context, leg bridge.Leg) (bridge.MediaPlan, error) {
	for {
		select {
		case e, ok := <-leg.Events():
			if cause, over := ended(leg, e, ok); over {
				return bridge.MediaPlan{}, cause
			}
			if e.Kind == bridge.Answered && e.Plan != nil {
				return *e.Plan, nil
			}
		case <-ctx.Done():
			return bridge.MediaPlan{}, finish(leg, bridge.CauseCancelled.With("%v", context.Cause(ctx)))
		}
	}
}

func (c Caller) talk(ctx context.Context, leg bridge.Leg, plan bridge.MediaPlan) bridge.Cause {
	ctx, cancel := context.WithTimeout(ctx, c.TalkFor)
	var play sync.WaitGroup
	defer play.Wait()
	defer cancel()
	voice := &inTurn{to: leg.Media()}
	if c.Digits != "" && plan.Digits {
		play.Go(func() { pressKeys(ctx, voice, c.Digits) })
	}
	say := func(codec bridge.Codec) (hush context.CancelFunc) {
		saying, hush := context.WithCancel(ctx)
		play.Go(func() { NewToneSource(codec, c.Hz).Run(saying, voice) })
		return hush
	}
	hush := say(plan.Speech)
	defer func() { hush() }()
	for {
		select {
		case e, ok := <-leg.Events():
			if cause, over := ended(leg, e, ok); over {
				return cause
			}
			if e.Kind == bridge.MediaChanged && e.Plan != nil && e.Plan.Speech != plan.Speech {
				plan = *e.Plan
				hush()
				hush = say(plan.Speech)
			}
		case <-ctx.Done():
			return finish(leg, bridge.CauseNormal.EndedBy(bridge.ByCaller))
		}
	}
}
