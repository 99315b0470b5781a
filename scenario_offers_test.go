package main_test

import (
	"slices"
	"strings"
	"testing"

	"riptide/sip/siptest"
)

// Lines of offers within a call. sipp puts its own ports in.
var (
	speech = []string{"m=audio [media_port] RTP/AVP 0 101", "a=rtpmap:0 PCMU/8000", "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-15"}
	aLaw   = []string{"m=audio [media_port] RTP/AVP 8 101", "a=rtpmap:8 PCMA/8000", "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-15"}
	others = []string{"m=audio [media_port] RTP/AVP 18 0 8 101", "a=rtpmap:18 G729/8000", "a=rtpmap:0 PCMU/8000", "a=rtpmap:8 PCMA/8000", "a=rtpmap:101 telephone-event/8000"}
	alien  = []string{"m=audio [media_port] RTP/AVP 18", "a=rtpmap:18 G729/8000"}
	moved  = []string{"m=audio 39998 RTP/AVP 0 101", "a=rtpmap:0 PCMU/8000", "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-15"}
	fax    = []string{"m=image [media_port] udptl t38", "a=T38FaxVersion:0", "a=T38MaxBitRate:14400"}
)

func with(lines []string, more ...string) []string {
	return append(append([]string{}, lines...), more...)
}

// shapes is a call through every shape of offer that peers make, each by INVITE
// or by UPDATE. Nothing of it may end the call.
func shapes(method string) []siptest.Offer {
	const goes, faxRefused = "m=audio [1-9]", "m=image 0 "
	return []siptest.Offer{
		{Method: method, Media: speech, Answer: goes}, // nothing new
		{Method: method, Media: with(speech, "a=sendonly"), Answer: "a=recvonly"},
		{Method: method, Media: with(speech, "a=inactive"), Answer: "a=inactive"},
		{Method: method, At: "0.0.0.0", Media: speech, Answer: goes},
		{Method: method, Media: with(speech, "a=sendrecv"), Answer: goes},
		{Method: method, Media: moved, Answer: goes},                          // another port
		{Method: method, Media: others, Answer: "RTP/AVP 0"},                  // the codec stays, whatever comes before it
		{Method: method, Media: alien, Status: 488},                           // what nobody has
		{Method: method, Media: fax, Status: 488},                             // OpenSIPS#2177, asterisk#1880
		{Method: method, Media: with(speech, fax...), Answer: faxRefused},     // fax beside speech
		{Method: method, Media: []string{"m=audio 0 RTP/AVP 0"}, Status: 488}, // nothing left to talk with
		{Method: method, Media: speech, Answer: goes},
		{Method: "INVITE", Answer: goes}, // without an offer
		{Method: "UPDATE"},               // only a refresh
	}
}

// TestOffersOfSipp: re-INVITE and UPDATE with descriptions of every shape, by the
// caller and by the callee, on one leg of an SBC. The other leg never hears of it
// (a new codec aside, which it is asked to follow if it could), and the call
// outlives all of them.
func TestOffersOfSipp(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "reinvite", "sipp")
	siptest.Shows(t, "hold", "sipp")
	siptest.Shows(t, "late-offer", "sipp")
	siptest.Shows(t, "fax", "sipp")
	s := startSBC(t)
	for _, method := range []string{"INVITE", "UPDATE"} {
		t.Run(method+" of the caller", func(t *testing.T) {
			callee := s.server(t, 5060, siptest.UAS, rings, 1)
			s.call(t, siptest.UACOffers, siptest.Script{HoldMS: 50, Offers: shapes(method)}, 1)
			callee.Check(t, 1)
			undisturbed(t, callee)
		})
		t.Run(method+" of the callee", func(t *testing.T) {
			callee := s.server(t, 5060, siptest.UASOffers, siptest.Script{RingMS: 20, HoldMS: 50, Offers: append(shapes(method), siptest.Offer{Method: method, Media: aLaw, Answer: "RTP/AVP 8"})}, 1)
			caller := siptest.Sipp{
				Scenario: siptest.UACHearsBye, Script: siptest.Script{From: officeNumber}, Netns: s.pbx, Port: 5060, Remote: s.inside, Service: outsideNumber,
			}.Start(t)
			caller.Check(t, 1)
			callee.Check(t, 1)
			undisturbed(t, caller)
		})
	}
	s.node.settle(t)
}

// TestCodecChangeOfSipp: a caller that goes on in another codec takes the callee
// along, which is asked to, so that nothing has to be converted.
func TestCodecChangeOfSipp(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "reinvite", "sipp")
	s := startSBC(t)
	callee := s.server(t, 5060, siptest.UASFollows, siptest.Script{RingMS: 20, Payload: 8}, 1)
	s.call(t, siptest.UACOffers, siptest.Script{HoldMS: 1000, Offers: []siptest.Offer{{Method: "INVITE", Media: aLaw, Answer: "RTP/AVP 8"}}}, 1)
	callee.Check(t, 1)
	if m := callee.Messages(); strings.Contains(m, "\nUPDATE sip:") {
		t.Errorf("an offer went by UPDATE:\n%s", m)
	}
	s.node.settle(t)
}

// TestGlareOfSipp: the callee is offered another codec, and offers something itself
// before it answers. Both are refused with 491, and ours comes again.
func TestGlareOfSipp(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "glare", "sipp")
	s := startSBC(t)
	callee := s.server(t, 5060, siptest.UASGlare, siptest.Script{RingMS: 20, Payload: 8, Offers: []siptest.Offer{{Method: "INVITE", Media: with(speech, "a=sendonly"), Status: 491}}}, 1)
	s.call(t, siptest.UACOffers, siptest.Script{HoldMS: 6000, Offers: []siptest.Offer{{Method: "INVITE", Media: aLaw, Answer: "RTP/AVP 8"}}}, 1)
	callee.Check(t, 1)
	s.node.settle(t)
}

// TestLateOfferOfSipp: drachtio-server#459: an INVITE without an offer, whose ACK
// brings the answer; to a callee that picks up at once, and to one with early
// media.
func TestLateOfferOfSipp(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "late-offer", "sipp")
	s := startSBC(t)
	for _, callee := range []siptest.Scenario{siptest.UAS, siptest.UASEarly} {
		t.Run(string(callee), func(t *testing.T) {
			before := s.node.metrics(t)
			uas := siptest.Sipp{Scenario: callee, Script: siptest.Script{RingMS: 100}, Netns: s.carrier, Port: 5060, Echo: true}.Start(t)
			s.call(t, siptest.UACLate, siptest.Script{HoldMS: 2000, MediaFile: siptest.ToneFile(t, 440, 0)}, 1)
			uas.Check(t, 1)
			s.node.settle(t)
			const sent = "riptide_media_sent_packets_total"
			if packets := sum(s.node.metrics(t), sent) - sum(before, sent); packets < 2*50 { // a second, both ways
				t.Errorf("%d packets were handed on", packets)
			}
		})
	}
}

// TestLargeRequestOfSipp: emiago/sipgo#206: an INVITE that is too large for a
// datagram reaches a peer on UDP over TCP, and its call goes on there.
func TestLargeRequestOfSipp(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "large", "sipp")
	s := startSBC(t, func(config string) string {
		return replace(t, config, "    sip:\n", "    facts: {carry: X-Account}\n    sip:\n")
	})
	callee := siptest.Sipp{Scenario: siptest.UAS, Script: rings, Netns: s.carrier, Port: 5060, TCP: true}.Start(t)
	s.call(t, siptest.UAC, siptest.Script{HoldMS: 50, Headers: slices.Repeat([]string{"X-Account: " + strings.Repeat("0123456789", 40)}, 3)}, 1)
	callee.Check(t, 1)
	if m := callee.Messages(); !strings.Contains(m, "SIP/2.0/TCP") {
		t.Errorf("no Via with TCP:\n%s", m)
	}
	s.node.settle(t)
}

// undisturbed checks that a sipp saw one INVITE and no UPDATE.
func undisturbed(t *testing.T, run *siptest.SippRun) {
	t.Helper()
	m := run.Messages()
	if n := strings.Count(m, "\nINVITE sip:"); n != 1 || strings.Contains(m, "\nUPDATE sip:") {
		t.Errorf("%d INVITEs, or an UPDATE, on the other leg:\n%s", n, m)
	}
}

// TestRingingAfterEarlyMedia: signalwire/freeswitch#2596: 180 after 183 was
// swallowed.
func TestRingingAfterEarlyMedia(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "ringing", "sipp")
	s := startSBC(t)
	callee := s.server(t, 5060, siptest.UASEarly, siptest.Script{RingMS: 100, Rings: true}, 1)
	caller := siptest.Sipp{
		Scenario: siptest.UAC, Script: siptest.Script{From: officeNumber, HoldMS: 50}, Netns: s.pbx, Port: 5060, Remote: s.inside, Service: outsideNumber,
	}.Start(t)
	caller.Check(t, 1)
	callee.Check(t, 1)
	m := caller.Messages()
	if early, ringing := strings.Index(m, "SIP/2.0 183"), strings.Index(m, "SIP/2.0 180"); early < 0 || ringing < early {
		t.Errorf("no 183 and then 180:\n%s", m)
	}
}
