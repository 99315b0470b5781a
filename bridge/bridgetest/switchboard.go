package bridgetest

import (
	"context"
	"time"

	"riptide/bridge"
	"riptide/policy"
)

// Switchboard puts each call through to whoever has its number.
type Switchboard struct {
	Numbers map[policy.Number]*Answerer
	Else    *Answerer // has all other numbers; nil = nobody is there
}

// Accept hands the call on.
func (s *Switchboard) Accept(ctx context.Context, leg bridge.Leg) error {
	if a := s.Numbers[leg.Info().To]; a != nil {
		return a.Accept(ctx, leg)
	}
	if s.Else == nil {
		return bridge.CauseNotFound.With("nobody has number %s", leg.Info().To)
	}
	return s.Else.Accept(ctx, leg)
}

// Close hangs up every call and waits for them.
func (s *Switchboard) Close() {
	for _, a := range s.Numbers {
		a.Close()
	}
	if s.Else != nil {
		s.Else.Close()
	}
}

// Everybody is a switchboard with one extension for each way in which a call can
// go. It has the numbers that the base begins: base + "1" speaks and listens …
func Everybody(base policy.Number) *Switchboard {
	const ring = 300 * time.Millisecond
	at := func(n string) policy.Number { return base + policy.Number(n) }
	return &Switchboard{Numbers: map[policy.Number]*Answerer{
		at(Speaks):      {Hz: 1040, RingFor: ring},
		at(Declines):    {RingFor: ring, Refuse: bridge.CauseDeclined.EndedBy(bridge.ByCallee)},
		at(Busy):        {Refuse: bridge.CauseBusy.EndedBy(bridge.ByCallee)},
		at(NeverThere):  {RingFor: 2 * time.Second, Refuse: bridge.CauseNoAnswer.EndedBy(bridge.ByCallee)},
		at(KeepsRings):  {Delay: time.Second, RingFor: 5 * time.Minute, Hz: 1040},
		at(SpeaksEarly): {RingFor: 2 * time.Second, Early: true, Hz: 1040},
		at(PressesKeys): {RingFor: ring, Hz: 1040, Digits: "5#"},
		at(HasPictures): {RingFor: ring, Hz: 1040, Video: true},
	}}
}

// What the extensions of Everybody do, as the last digit of their numbers.
const (
	Speaks      = "1"
	Declines    = "2"
	Busy        = "3"
	NeverThere  = "4"
	KeepsRings  = "5"
	SpeaksEarly = "6"
	PressesKeys = "7"
	HasPictures = "8"
)

var _ bridge.Acceptor = (*Switchboard)(nil)
