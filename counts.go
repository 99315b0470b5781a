package main

import "riptide/ops"

// What the edges count, in the words of the metrics.

func (a *appliance) sipCounts() ops.SIPCounts {
	c := a.sip.Counts()
	return ops.SIPCounts{
		Strangers: c.Strangers, Malformed: c.Malformed, Stray: c.Stray, Full: c.Full, Refused: c.Refused, Handshakes: c.Handshakes, Limited: c.Limited, Unsent: c.Unsent, Unproven: c.Unproven,
	}
}

// sipTrunks are the SIP trunks as they are now.
func (a *appliance) sipTrunks() []ops.TrunkState {
	var out []ops.TrunkState
	for _, t := range a.sip.Trunks() {
		out = append(out, ops.TrunkState{Name: t.Name, Up: t.Err == nil, Registers: t.Registers, Registered: t.Registered, Contacts: t.Users})
	}
	return out
}

func (a *appliance) riptCounts() ops.RIPTCounts {
	c := ops.RIPTCounts{Reopened: map[string]uint64{}, Sessions: map[string]uint64{}, Seated: map[string]uint64{}}
	for _, t := range a.client.State().Trunks {
		c.Reopened[t.Name], c.Sessions[t.Name], c.Seated[t.Name] = t.Reattached, uint64(t.Sessions), uint64(t.Seated) //nolint:gosec // never negative
	}
	if a.server != nil {
		s := a.server.State()
		c.Refused, c.Replayed, c.Events, c.Byways, c.Strangers = s.Refused, s.Replayed, s.UnknownEvents, s.CutByways, s.CutStrangers
	}
	return c
}
