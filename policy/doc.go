// Package policy answers one question: may this call happen, and where does
// it go? It holds numbers and patterns of numbers, trunks as policy sees them,
// and the routing table.
//
// Everything here is pure: values in, values out. It knows no call, no
// protocol, no clock and no network.
//
//	(from trunk, caller, called, hops, verdict) --> Policy.Decide --> trunk to try, or a Refusal
package policy
