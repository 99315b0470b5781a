package siptest

import (
	"encoding/json"
	"os"
	"slices"
	"testing"
)

// Behaviour is a row of docs/interop.md: something that peers expect of us.
type Behaviour struct {
	ID    string // what tests call it
	Title string
}

// Behaviours are all rows, in the document's order. A test says with Shows which
// of them it shows.
var Behaviours = []Behaviour{
	{"udp", "calls over UDP"},
	{"tcp", "calls over TCP"},
	{"tls", "calls over TLS"},
	{"websocket", "calls over WebSocket"},
	{"ipv6", "calls over IPv6"},
	{"large", "requests too large for a datagram"},
	{"nat", "peers behind NAT: rport, received, latching"},
	{"loss", "calls over a network that loses SIP messages"},
	{"order", "messages in the order of their arrival"},
	{"proxy", "a proxy on the way that stays on it (Record-Route)"},
	{"flood", "scanners and floods learn nothing and harm nobody"},

	{"options", "OPTIONS: answered, and sent to see whether the peer lives"},
	{"register", "registration with a provider"},
	{"registrar", "registrations from a PBX"},
	{"digest", "digest authentication"},
	{"failover", "another address, or another trunk, when one does not answer"},
	{"redirect", "3xx answers"},
	{"ring", "calls that come back to where they came from"},
	{"methods", "requests that are no calls (MESSAGE, SUBSCRIBE, unknown ones)"},
	{"extensions", "extensions that are offered or required (preconditions, unknown ones)"},
	{"limits", "limits of calls and of calls per second"},

	{"hangup", "either side hangs up"},
	{"causes", "every cause, told in the words of both sides (Reason, Q.850)"},
	{"cancel", "the caller gives up"},
	{"cancel-glare", "CANCEL and answer cross"},
	{"lost-ack", "an answer that is never acknowledged"},
	{"forked", "several answers to one call"},
	{"ringing", "180 and 183, in any order and number"},
	{"early-media", "announcements before the answer"},
	{"prack", "reliable provisional answers (PRACK)"},
	{"late-offer", "INVITE and re-INVITE without an offer"},
	{"reinvite", "re-INVITE and UPDATE: codec, address, refresh"},
	{"hold", "hold and resume"},
	{"glare", "two changes at once"},
	{"timers", "session timers"},
	{"transfer", "transfer (REFER, Replaces)"},

	{"media", "speech is heard in both directions"},
	{"codecs", "G.711, G.722 and Opus pass through"},
	{"transcoding", "two codecs in one call"},
	{"dtmf", "digits as telephone-event"},
	{"dtmf-info", "digits by INFO"},
	{"dtmf-inband", "digits as tones"},
	{"rtcp", "RTCP reports, rtcp-mux, a=rtcp"},
	{"srtp", "SRTP with keys in SDP"},
	{"dtls", "SRTP with keys by DTLS"},
	{"fax", "T.38 is refused and the call lives"},
	{"video", "video"},

	{"identity", "caller identity (STIR): signed, verified, relayed"},
	{"privacy", "anonymous callers, asserted identities, trust"},
	{"numbers", "numbers as each trunk writes them"},
	{"facts", "what a provider says about a call (diversions, priority …)"},
	{"restart", "calls go on when the box is killed, or restarted"},
	{"takeover", "calls go on when a node of several, or the balancer before them, is killed"},
	{"sbc", "SIP to SIP: between two SIP trunks, no RIPT"},
	{"topology", "nothing of one side is seen on the other"},
	{"trace", "what goes over the wire, shown to Homer (HEP3), sngrep and tshark"},
	{"bad-input", "malformed messages get their right answer"},
}

// Peers are the columns of docs/interop.md. "scripted" is a peer of our own, for
// what no program out there does on demand.
var Peers = []string{"sipp", "baresip", "kamailio", "rtpengine", "scripted"}

// Shown is one record of a run.
type Shown struct {
	Behaviour string `json:"behaviour"`
	Peer      string `json:"peer"`
	Test      string `json:"test"`
	Passed    bool   `json:"passed"`
}

// Shows says that a test shows a behaviour with these peers. docs/interop.md is
// made of what these calls record while RIPTIDE_INTEROP names a file; arguments
// are constants, so that the document can be checked without a run.
func Shows(t testing.TB, behaviour string, peers ...string) {
	t.Helper()
	if !slices.ContainsFunc(Behaviours, func(b Behaviour) bool { return b.ID == behaviour }) {
		t.Errorf("behaviour %q has no row in docs/interop.md (add it to siptest.Behaviours)", behaviour)
	}
	for _, p := range peers {
		if !slices.Contains(Peers, p) {
			t.Errorf("peer %q has no column in docs/interop.md (add it to siptest.Peers)", p)
		}
	}
	file := os.Getenv("RIPTIDE_INTEROP")
	if file == "" {
		return
	}
	t.Cleanup(func() {
		if t.Skipped() {
			return
		}
		var lines []byte
		for _, p := range peers {
			line, err := json.Marshal(Shown{Behaviour: behaviour, Peer: p, Test: t.Name(), Passed: !t.Failed()})
			if err != nil {
				t.Fatal(err)
			}
			lines = append(append(lines, line...), '\n')
		}
		// Several tests, and several processes, append to it: one write each.
		f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatalf("record what was shown: %v", err)
		}
		defer f.Close()
		if _, err := f.Write(lines); err != nil {
			t.Fatalf("record what was shown: %v", err)
		}
	})
}
