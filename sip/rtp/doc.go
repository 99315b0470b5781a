// Package rtp is the media end of a SIP leg: sockets from a pool of ports,
// symmetric RTP, RTCP, and exact accounting. A Port implements
// bridge.MediaPort.
//
// SRTP is under all of it: what cannot be opened never gets to the latch. Digits
// leave and come as events, whatever the peer has for them (events, tones, or
// requests that the leg sends and takes).
//
// It knows no SIP: what the peer said comes as sdp.Agreed, and what is lost,
// late or foreign shows in bridge.MediaStats, each packet exactly once.
//
//	socket --> opener --> latch --> source --> Frame --> joined sink
//	           SRTP       who may   place,     extended
//	                      speak     lost, late numbering
//
//	Push(Frame) --> timeline --> packer, keys --> sealer --> socket
//	                own SSRC, continuous sequence and timestamps
//
// The work is in methods of Port that take bytes and a time (onRTP, onRTCP,
// report); an engine calls them. The engine of today is two goroutines per port;
// another one can replace it without a change to anything exported.
package rtp
