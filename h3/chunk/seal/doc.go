// Package seal is the end-to-end encryption of media: SFrame (RFC 9605) in the
// envelope of a chunk. Hops hand sealed chunks on without it; only the ends of a
// call, which were given keys by other means, use it.
//
//	key file --ParseRing--> Ring --Call--> Session --Sealer--> tag | ciphertext
//	                                              --Opener--> package, or an error
//
// A sealed chunk is the auth tag and then the ciphertext of the package, in that
// order. The counter of SFrame is the full sequence number, its associated data
// what chunk.AppendAuthenticated writes. Keys are derived as in RFC 9605 section
// 4.4.2, with a label behind the cipher suite:
//
//	label = "ript-1" | direction (1 byte) | kind (1 byte) | call (16 bytes)
//
// so that one key serves both directions, audio and video, and many calls, and
// no counter is ever used twice with the same derived key. The call is the
// trace-id of the call, which every hop hands on and the caller's end chooses. A
// hop that made it come twice would gain nothing: no Sealer begins with a number
// that another of its Ring has used.
//
// The package is pure but for what Sealer and Opener remember about the numbers
// they have seen. Neither allocates once a key is in use.
package seal
