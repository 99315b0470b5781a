// Package advert is the grammar of handler advertisements and directives, and
// the decision between them: what a handler can do, and what each end is told
// to send.
//
//	advertisement  1 in: PCMU; PCMA; telephone-event; CN;     what a sink takes
//	               1 out: PCMU; PCMA; telephone-event; CN;    what a source offers
//	directive      1 to 1: PCMU; telephone-event; CN;         source to sink
//
// The grammar (docs/spec/baseline.md; the drafts left it open):
//
//	adv      = 1*( id SP ("in" / "out") ":" 1*( codec ";" ) )
//	dir      = 1*( id SP "to" SP id ":" 1*( codec ";" ) )
//	codec    = name *( "," name [ "=" int ] )
//	name     = ALPHA *( ALPHA / DIGIT / "-" / "_" / "." )
//	id       = 1..255
//	int      = -(2^63-1) .. 2^63-1
//
// White space may stand between any two tokens, line ends are white space, and
// names are case-insensitive. A document has at most 4 KiB and 64 lines.
//
// The package is pure and knows nothing of calls, HTTP or media packets.
package advert
