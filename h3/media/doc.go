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
// go: WebTransport datagrams (datagram.go), and one request per chunk as the
// core draft has it: the client PUTs (putget.go), the server answers parked
// GETs (lot.go). The one with the highest epoch is used; of equals the
// WebTransport session. Numbers, acknowledgements and counters belong to the
// Port, so that a change of carrier loses and repeats nothing.
//
// Server answers the requests on {call}/media, Dial makes them and climbs the
// ladder between the carriers. Each Port has one goroutine, the pump, which
// Close ends; each WebTransport session has one that reads.
package media
