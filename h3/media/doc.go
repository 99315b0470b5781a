// Package media carries one call's media over RIPT: frames in, chunks out, and
// back. It knows chunks and the ways to carry them; it knows no events, no
// documents and no SIP.
//
//	             +-------------------------- Port ------------------------+
//	Push(frame)->| number, seal -> queue (drop oldest) -> pump: ack, write |-> carrier -> peer
//	sink.Push  <-| order <- open <- loss window <- complete <- parse       |<- carrier <- peer
//	             +--------------------------------------------------------+
//
// There is one such way for speech and one for video (sender, receiver), each
// with its own numbers. What the ends of the call have sealed is handed on as it
// came, unless the Port was given their keys (package chunk/seal).
//
// A Port is the call's end of it, for the life of the call. Carriers come and
// go; their kinds are the rungs of a ladder (rung.go), the best first: datagrams
// of a session that calls share (session*.go, which pack in outbox.go and are
// read by drain.go and inbox.go), datagrams of a session of the call's own
// (datagram.go), striped streams (stripe*.go, of lanes), and one request per
// chunk as the core draft has it: the client PUTs (putget.go), the server
// answers parked GETs (lot.go). The one with the highest epoch is used; of
// equals the one of the highest rung. Numbers, acknowledgements and counters
// belong to the Port, so that a change of carrier loses and repeats nothing.
//
// Server answers the requests of media. Dial makes them, and climbs and falls
// while the call runs (client.go, open.go); Ladder remembers what works where,
// Sessions are the trunk sessions of a client, spread and gathered by what their
// calls lose (path.go). Every goroutine belongs to a Port, a Client, a session
// or a request, and whoever closes those waits for it.
package media
