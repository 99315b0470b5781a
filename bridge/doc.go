// Package bridge is the domain: what a call is. A call joins two legs, runs
// one event loop, keeps one record and ends with exactly one cause.
//
// It knows no SIP and no HTTP. Edges (packages sip and h3) implement Leg,
// Dialer and MediaPort; whatever they have in common is here and nowhere else.
//
//	 incoming                                                  outgoing
//	+--------+  Accept   +---------------------------+  Dial   +--------+
//	|  Leg A | --------> |  Call: state, loop, record | ------> |  Leg B |
//	|        | <-------- |                            | <------ |        |
//	+--------+ Progress, +---------------------------+ Events  +--------+
//	    |      Answer, End                                          |
//	    | Media()                pump: pass | convert               | Media()
//	    +=================== frames, pushed, never queued ==========+
//
// The media seam is push: a MediaPort hands each Frame to the sink it was
// joined to, on the goroutine that received it, and a sink never blocks. The
// seam itself has no goroutine, channel or lock per call.
package bridge
