// Package sdp is offer and answer (RFC 3264) for one audio and one video stream
// over RTP, as pure functions on values: no sockets, no clock, no random
// numbers. There is no session without the audio; the video may be refused.
//
// It reads what PBXs really send, which is looser than RFC 8866: lines out of
// order, missing s= and t= lines and unknown attributes are no reason to lose a
// call. What it writes is strict. It knows encoding names and payload type
// numbers, never the bridge's codecs. How media is protected (keys of SDES,
// fingerprints of DTLS) is negotiated here by a Security that its caller
// fills: which keys, and whether there have to be any, is not for this package
// to say.
//
//	peer's offer --Parse--> Description --MakeAnswer--> Description --Append--> 200 OK
//	                             |                          |
//	                             +-------- Answered --------+--> Agreed --> sip/rtp
//
//	MakeOffer --Append--> INVITE ... 200 OK --Parse--> Description --Accepted--> Agreed
package sdp
