// Package siptest drives SIP programs that nobody here wrote, from Go tests:
// sipp with scenarios for every way a call can go, baresip for calls that are
// heard, kamailio and secsipidx as judges of caller identity. What none of
// them can do, a scripted peer on a plain socket does (Forker).
//
// Their worth is that they know nothing of riptide: this package imports none
// of its SIP code.
//
//	test --> Sipp, Baresip, Kamailio --> process (in a Namespace) <--SIP, RTP--> riptide
//	     <-- SippResult, recordings, exit status
//
// A program that is missing makes a test skip and say what to install; with
// CI=true or RIPTIDE_PEERS=required it makes the test fail.
package siptest
