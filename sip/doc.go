// Package sip is the legacy edge: a SIP user agent that PBXs, softswitches and
// session border controllers trunk to. It turns SIP dialogs into bridge.Legs
// and back, and knows nothing of what is on the other side of a call.
//
// From sipgo come the parser, the message types and the transaction state
// machines (RFC 3261 section 17). Sockets, the order of messages, dialogs,
// offer/answer and trunk policy are ours.
//
//	socket --> admission --> parser --> mailbox of the Call-ID --> transaction --> Leg <--> bridge
//	           (trunks only)            (in order of arrival)
//
// A mailbox is a queue that at most one goroutine works on at a time. Whatever
// belongs to one Call-ID (transactions, legs, timers, what the bridge asks of a
// leg) happens there, in the order in which it arrived on the wire, so that
// nothing behind it needs a lock and an ACK cannot be overtaken by its BYE. A
// call that is silent has no goroutine at all.
//
// Why not sipgo's own layers: its TransactionLayer starts a goroutine for each
// message and so loses their order before anyone can see it; its
// TransportLayer drops malformed messages without an answer, closes a TCP
// connection that many calls share because of one of them, and never forgets a
// UDP source. Its state machines have none of that, and are used as they are.
package sip
