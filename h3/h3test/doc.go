// Package h3test stands between a RIPT client and a RIPT server in tests, as
// networks and load balancers do: they know nothing of calls, and neither does
// this package.
//
//	client --UDP--> Relay     --UDP-->     server    loses and delays datagrams (QUIC)
//	client --h3---> Balancer  --h3---> servers   buffers, cuts, limits, loses nodes
//
// A Relay loses by a seed, so that a run can be repeated, and counts what it
// did: that is the wire loss against which the loss of media is measured. It
// takes the place of the kernel's netem, which not every kernel has.
//
// A Balancer has the manners that real ones were seen to have, one by one and on
// demand: see Manners. Real balancers are tested too, with the example files of
// configs/examples; this one shows how clients and servers bear what those of
// today happen not to do by default.
package h3test
