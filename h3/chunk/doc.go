// Package chunk is the wire format of media: one packet of one stream, or one
// acknowledgement, as it crosses a hop.
//
//	chunk    = version (0x01) | envelope length (varint) | envelope | ( package | sealed )
//	envelope = the TLVs of tags 1-3, 5-11, 13-15 and extensions
//	package  = tag 4 (media), or tags 12, 17 and 18 (control); to the end of the chunk
//	sealed   = auth tag | encrypted package; to the end of the chunk
//	TLV      = tag (varint) | length (varint) | value
//
// Varints are those of QUIC (RFC 9000 section 16). Tags stand in ascending
// order; one that comes twice, one out of order, and an unknown one below 32
// reject the chunk, unknown ones from 32 on are skipped. A datagram holds one
// chunk; the body of a request or response holds several, each after its
// length as a varint.
//
// Numbers of tags 1, 2 and 14 may be truncated to 1, 2 or 4 bytes; the reader
// takes the candidate nearest to the one it expects (RFC 9000 appendix A.3).
//
// Tag 13, a key id, makes a media chunk a sealed one (package chunk/seal): the ends of
// the call encrypt between themselves. Tags 1, 2, 3, 8-10, 13, 14 and 15 then are
// theirs; every hop truncates numbers as it can, and puts in tags 6, 7 and 11 of
// its own. Without tag 13 the hop's TLS is all the encryption there is.
//
// The package is pure: values in, values out, and it never keeps what it got.
// Parsing and appending allocate nothing.
package chunk
