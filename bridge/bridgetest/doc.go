// Package bridgetest holds what stands at the two ends of a call when no
// telephone does: legs and dialers that follow a script, media ports in memory,
// tone senders and recorders, and probes that judge by signal analysis what was
// heard.
//
// The tests of the bridge use it, and so does `riptide demo`, whose answerer and
// caller are Answerer and Caller here. It knows no SIP and no HTTP.
//
//	Caller --Dial--> [edge ... bridge ... edge] --Accept--> Answerer
//	ToneSource ---------------- frames ------------------> ToneSink
//	                                       Samples --> Analyse, FindFaults, WriteWAV
package bridgetest
