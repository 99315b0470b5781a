package main

import "riptide/ops"

// What the edges count, in the words of the metrics.

func (a *appliance) sipCounts() ops.SIPCounts {
	c := a.sip.Counts()
	return ops.SIPCounts{
		Strangers: c.Strangers, Malformed: c.Malformed, Stray: c.Stray, Full: c.Full, Refused: c.Refused, Unsent: c.Unsent,
	}
}

func (a *appliance) riptCounts() ops.RIPTCounts {
	if a.server == nil {
		return ops.RIPTCounts{}
	}
	s := a.server.State()
	return ops.RIPTCounts{Refused: s.Refused, Replayed: s.Replayed, Events: s.UnknownEvents, Byways: s.CutByways, Strangers: s.CutStrangers}
}
