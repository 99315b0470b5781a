// Package h3 is the web edge: RIPT on HTTP/3, and on HTTP/2 behind balancers.
// Calls are resources, signalling is JSON events, media rides the same
// connection. It implements bridge.Leg and bridge.Dialer and knows no SIP.
//
//	           +-----------+   POST calls, events, media   +-----------+
//	bridge <-> | client.go | ----------------------------> | server.go | <-> bridge
//	           +-----------+     HTTP/3 (or HTTP/2)        +-----------+
//
// What is where: resources and their JSON in message.go and resource*.go, the
// event streams in byway.go, tokens in oauth*.go, media in package h3/media,
// the wire format of chunks in h3/chunk, advertisements and directives in
// h3/advert.
package h3
