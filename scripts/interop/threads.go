package main

import (
	"fmt"
	"strings"
)

// complaint is a thread in which users of a neighbouring system say what hurts,
// or a fault found in the dialog layer of a SIP library. A test that guards one
// is named after it: TestPain07_..., TestFault03....
type complaint struct {
	kind   string // "Pain" or "Fault"
	number int
	thread string // OWNER/REPOSITORY#NUMBER; "" for faults
	hurts  string
	tests  []string // that guard it without bearing its number
}

func (c complaint) link() string {
	repository, number, _ := strings.Cut(c.thread, "#")
	return fmt.Sprintf("%d [%s](https://github.com/%s/issues/%s)", c.number, c.thread, repository, number)
}

const threadsHeading = `
## Threads

What users of neighbouring systems complain about where SIP and RTP are concerned, and the tests that keep it from happening here.

| thread | what hurts | guarded by |
|---|---|---|
`

const faultsHeading = `
## Faults

Ten faults that were reproduced in the dialog layer of the SIP library whose parser and state machines riptide uses, and which its own dialogs must not have.

| # | fault | guarded by |
|---|---|---|
`

func pain(number int, thread, hurts string, tests ...string) complaint {
	return complaint{"Pain", number, thread, hurts, tests}
}

func fault(number int, hurts string) complaint {
	return complaint{kind: "Fault", number: number, hurts: hurts}
}

var threads = []complaint{
	pain(1, "livekit/sip#611", "a private address in SDP, and no audio", "TestLatch", "TestNATOfBaresip"),
	pain(2, "emiago/diago#100", "a private address in SDP, and no audio", "TestLatch"),
	pain(3, "livekit/sip#597", "Contact shows an address of a container, and the BYE is lost", "TestPain03And04ShownAddressIsTheTrunks"),
	pain(4, "livekit/sip#515", "the address in Contact is not the firewall's", "TestPain03And04ShownAddressIsTheTrunks"),
	pain(5, "asterisk/asterisk#1847", "an RTP socket bound to every address breaks NAT gateways"),
	pain(6, "livekit/sip#424", "picked up but no sound, and nobody can say why", "TestNothingHeard", "TestBothAddressesAreLogged"),
	pain(7, "sipwise/rtpengine#765", "audio stops after a re-INVITE", "TestReconfigureKeepsTheStream"),
	pain(8, "sipwise/rtpengine#1443", "the roll-over counter of SRTP is reset by a re-INVITE"),
	pain(9, "pjsip/pjproject#2682", "one-way audio, only in calls of more than 17 minutes", "TestLongCall"),
	pain(10, "sipwise/rtpengine#1703", "a re-INVITE without an offer breaks transcoding", "TestReinviteWithoutOfferChangesCodec"),
	pain(11, "asterisk/asterisk#2059", "a call torn down by a late packet of the old codec"),
	pain(12, "livekit/sip#95", "SDP says one codec, the stream is another"),
	pain(13, "VapiAI/docs#1219", "A-law decoded as µ-law sounds like a bad line", "TestBaresipHearsBaresip"),
	pain(14, "jambonz/sbc-inbound#84", "calls die at one minute: a re-INVITE offers another codec", "TestReinviteKeepsTheCodec"),
	pain(15, "livekit/sip#96", "a hold re-INVITE ends the call", "TestHold"),
	pain(16, "livekit/sip#582", "session refresh and BYE are dropped"),
	pain(17, "livekit/sip#494", "no session timers", "TestAgreeTimer"),
	pain(18, "drachtio/drachtio-server#474", "a timer that nobody wanted"),
	pain(19, "livekit/sip#438", "IMS sends preconditions and two INVITEs"),
	pain(20, "drachtio/drachtio-server#459", "delayed offer loses the dialog", "TestLateOffer"),
	pain(21, "livekit/sip#280", "storms of BYE for calls that are over"),
	pain(22, "livekit/sip#812", "a call ended because nobody speaks"),
	pain(23, "signalwire/freeswitch#1947", "the hold time-out is ignored", "TestHoldLimit"),
	pain(24, "sipwise/rtpengine#1530", "digits scrambled where clock rates differ", "TestDigitsOfAnotherClock"),
	pain(25, "sipwise/rtpengine#1569", "the last digit is lost when transcoding", "TestBaresipHearsBaresip"),
	pain(26, "jambonz/jambonz-feature-server#128", "digits by INFO"),
	pain(27, "signalwire/freeswitch#2596", "180 after 183 is swallowed", "TestEarlyMediaAndProgress"),
	pain(28, "signalwire/freeswitch#1725", "183 without RTP is dead silence"),
	pain(29, "signalwire/freeswitch#2401", "reliable provisional answers are unstable, and carriers insist"),
	pain(30, "livekit/protocol#737", "most support tickets are about a leading +"),
	pain(31, "livekit/sip#484", "a mismatch of configurations is reported as 486", "TestRefusedOverSIP", "TestRefusalsDiffer", "TestSBCRefusalsAreDiscreet"),
	pain(32, "livekit/sip#530", "no client certificate on outbound TLS"),
	pain(33, "meetecho/janus-gateway#2726", "SDES answered with the wrong crypto tag"),
	pain(34, "emiago/sipgo#206", "an INVITE of more than 1300 bytes is refused on UDP", "TestFault08LargeRequestGoesOverTCP", "TestFault08LargeRequestFallsBackToUDP"),
	pain(35, "emiago/sipgo#349", "goroutines pile up", "TestNothingLeft", "TestSoakTenThousandCalls"),
	pain(36, "kamailio/kamailio#3823", "memory grows with each reload of certificates"),
	pain(37, "asterisk/asterisk#436", "a bad configuration at reload stops everything", "TestMistakes", "TestLimits", "TestReload"),
	pain(38, "livekit/agents#3020", "deploys drop calls, or wait for hours until there are none", "TestRestartIsNoNewDialog", "TestRestartedSBCIsHeard", "TestNothingIsRefusedWhileRestarting", "TestReload"),
	pain(39, "sipwise/rtpengine#662", "calls survive until the store restarts, versions differ, or DTLS is used", "TestStoreOutageDoesNotHurtRunningCalls", "TestATakeoverDoesNotWaitForTheStore", "TestRecordVersions", "TestRecordsOfTheFirstVersion", "TestRestartedSBCIsHeard"),
	pain(40, "asterisk/asterisk#1271", "signed callers: ports of certificates, chains lost in caches, quotes, wrong keys, refusals that say nothing",
		"TestCheckURL", "TestSourceKeeps", "TestIdentity", "TestNewSignerRefusals", "TestVerdicts", "TestIdentityAcceptedByOthers"),
}

var faults = []complaint{
	fault(1, "an answer that crosses a CANCEL is neither acknowledged nor hung up"),
	fault(2, "after a PRACK, the ACK has the wrong number"),
	fault(3, "a second answer of a fork is acknowledged with the tag of the first"),
	fault(4, "more than ten responses end the call"),
	fault(5, "an answer is repeated at the wrong times, and a caller that never acknowledges is never hung up"),
	fault(6, "messages of one connection overtake each other"),
	fault(7, "sips: goes out in clear"),
	fault(8, "messages of more than 1300 bytes are not sent over UDP, nor by another way"),
	fault(9, "a re-INVITE is not acknowledged, and a restored dialog cannot hang up"),
	fault(10, "CANCEL without a transaction is answered 405"),
}
