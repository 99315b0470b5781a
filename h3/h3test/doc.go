// Package h3test stands between a RIPT client and a RIPT server in tests, as
// networks and load balancers do: they know nothing of calls, and neither does
// this package.
//
//	client --UDP--> Relay     --UDP-->     server    loses and delays datagrams (QUIC)
//
// A Relay loses by a seed, so that a run can be repeated, and counts what it
// did: that is the wire loss against which the loss of media is measured. It
// takes the place of the kernel's netem, which not every kernel has.
package h3test
