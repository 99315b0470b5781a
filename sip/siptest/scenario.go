package siptest

import (
	"embed"
	"fmt"
	"strings"
	"text/template"
)

//go:embed scenarios/*.xml scenarios/*.tmpl
var scenarioFiles embed.FS

// Scenario names one of the embedded sipp scenarios, scenarios/NAME.xml, whose
// first line says what it is.
type Scenario string

// The scenarios. Those of callers begin with UAC.
const (
	UAC               Scenario = "uac"                 // call, talk for HoldMS, hang up
	UACHearsBye       Scenario = "uac-hears-bye"       // call, talk until hung up on
	UACRefused        Scenario = "uac-refused"         // be refused with Status
	UACCancel         Scenario = "uac-cancel"          // give up RingMS after it began to ring
	UACCancelLate     Scenario = "uac-cancel-late"     // give up as the answer comes
	UACCancelAnswered Scenario = "uac-cancel-answered" // give up RingMS after it began to ring, and be answered
	UACNoACK          Scenario = "uac-no-ack"          // never acknowledge the answer
	UAS               Scenario = "uas"                 // pick up, be hung up on
	UASEarly          Scenario = "uas-early"           // 183 with media, then pick up
	UASHangsUp        Scenario = "uas-hangs-up"        // pick up, talk for HoldMS, hang up
	UASRefuses        Scenario = "uas-refuses"         // refuse with Status and Phrase
	UASRings          Scenario = "uas-rings"           // ring until the caller gives up
	UASLate           Scenario = "uas-answers-late"    // pick up as the caller gives up
	UASCancelledLate  Scenario = "uas-cancelled-late"  // pick up, and be cancelled too late
	UASSilent         Scenario = "uas-silent"          // say nothing at all for HoldMS
	UACReliable       Scenario = "uac-reliable"        // acknowledge a reliable 183 (add Require: 100rel), then as uac
	UASReliable       Scenario = "uas-reliable"        // a reliable 183 with media, then pick up
	UACChanges        Scenario = "uac-changes"         // refresh, hold, resume, re-INVITE without an offer (add Session-Expires: 90)
	UASRefreshed      Scenario = "uas-refreshed"       // pick up, be refreshed by UPDATE, be hung up on
	UASHearsKey       Scenario = "uas-hears-key"       // pick up, be told of Key by INFO, be hung up on
	UACTransfers      Scenario = "uac-transfers"       // REFER to Target; Status is its answer: 202, or a refusal
	UACLate           Scenario = "uac-late"            // as uac, but with its description in the ACK only
	UACAsks           Scenario = "uac-asks"            // Method outside a dialog, answered with Status
	UACProves         Scenario = "uac-proves"          // call with User and Password when asked (Status: 401 or 407); hang up
	UACRegisters      Scenario = "uac-registers"       // register with them; Status 200, or what a wrong password gets
	UACOffers         Scenario = "uac-offers"          // call, make Offers one by one, hang up
	UASLives          Scenario = "uas-lives"           // answer OPTIONS with Status, calls as uas does
	UASAsks           Scenario = "uas-asks"            // ask the caller for User and Password, then as uas
	UASRegistrar      Scenario = "uas-registrar"       // Min-Expires, digest, overload, and at last a registration
	UASOffers         Scenario = "uas-offers"          // pick up, make Offers one by one, hang up
	UASDigits         Scenario = "uas-digits"          // pick up, take two INFOs, be hung up on
	UASGlare          Scenario = "uas-glare"           // pick up, and when offered something, offer too: both get 491; then as uas-follows
	UASFollows        Scenario = "uas-follows"         // pick up, and answer a re-INVITE in the codec of Payload
	UACGoesOn         Scenario = "uac-goes-on"         // call, talk wherever the call goes on, until SippRun.HangUp
	UASGoesOn         Scenario = "uas-goes-on"         // pick up, talk wherever the call goes on, be hung up on
)

// Caller tells scenarios that place calls.
func (s Scenario) Caller() bool { return strings.HasPrefix(string(s), "uac") }

// Script is what fills a scenario in.
type Script struct {
	From      string   // calling number; default +12025550100
	Status    int      // of a refusal; default 486
	Phrase    string   // of a refusal; default "Refused"
	Again     int      // how many more INVITEs of the same call are refused
	RingMS    int      // how long it rings; 0 = no 180
	HoldMS    int      // how long they talk
	Rings     bool     // 180 after the 183, which is not the usual order
	Headers   []string // more lines for the INVITE, the refusal, or the callee's BYE
	Reason    string   // regular expression that the Reason header has to match; "" = not looked at
	MediaFile string   // raw G.711 to play for ever; "" = none
	Payload   int      // 0 (PCMU) or 8 (PCMA)
	Target    string   // number of a transfer
	Key       string   // a digit to press, as telephone events in RTP, or to be told of; needs root
	Method    string   // of a request outside a dialog

	User, Password string  // of digest
	Offers         []Offer // within the call
}

// Offer is one change of a call that is up, or another request within it.
type Offer struct {
	Method string   // INVITE or UPDATE; others with a Type
	Type   string   // of what Media is, if it is no description
	At     string   // address in c=; default sipp's own
	Media  []string // lines of its description from m= on; none: no offer
	Status int      // of its answer; 0 = 200
	Answer string   // regular expression that the answer's body has to match; "" = not looked at
}

// Expected is the status of the answer.
func (o Offer) Expected() int {
	if o.Status == 0 {
		return 200
	}
	return o.Status
}

// Refused tells offers that are to be refused.
func (o Offer) Refused() bool { return o.Expected() >= 300 }

// keyFiles are packets of telephone events, payload type 101, that come with
// Debian's sip-tester: one file for each digit.
const keyFiles = "/usr/share/sip-tester/dtmf_2833_"

// view is a Script as the templates see it.
type view struct {
	Script
	Codec     string
	MediaPort string // sipp's keyword for it
	KeyFile   string // with the events of Key
	Back      int    // index of the command whose branch is used again

	Seq               int    // CSeq of a change
	Direction, Answer string // offered, and expected in the answer

	Offer         Offer
	Local, Remote string // From and To of whoever offers
}

// speaking is the same in another codec, 0 or 8.
func speaking(v view, payload int) view {
	v.Payload, v.Codec = payload, "PCMU"
	if payload == 8 {
		v.Codec = "PCMA"
	}
	return v
}

// sippParts are what the templates make of a view.
var sippParts = template.FuncMap{
	"add":      func(a, b int) int { return a + b },
	"repeat":   func(n int) []struct{} { return make([]struct{}, n) },
	"at":       func(v view, back int) view { v.Back = back; return v },
	"speaking": speaking,
	"numbered": func(v view, seq int) view { v.Seq = seq; return v },
	"inviting": func(v view) view { v.Method = "INVITE"; return v },
	"change": func(v view, seq int, direction, answer string) view {
		v.Seq, v.Direction, v.Answer = seq, direction, answer
		return v
	},
	"byCaller": func(v view, i int, o Offer) view {
		v.Seq, v.Offer = i+2, o
		v.Local = "From: <sip:" + v.From + "@[local_ip]:[local_port]>;tag=c[pid]x[call_number]"
		v.Remote = "To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]"
		return v
	},
	"byCallee": func(v view, i int, o Offer) view {
		v.Seq, v.Offer = i+2, o
		v.Local, v.Remote = "From: <sip:[service]@[local_ip]:[local_port]>;tag=s[pid]x[call_number]", "To: [$caller]"
		return v
	},
}

// XML fills the scenario in.
func (s Scenario) XML(script Script) (string, error) {
	v := speaking(view{Script: script, MediaPort: "media_port"}, script.Payload)
	if v.From == "" {
		v.From = "+12025550100"
	}
	if v.Status == 0 {
		v.Status = 486
	}
	if v.Phrase == "" {
		v.Phrase = "Refused"
	}
	if v.MediaFile != "" {
		v.MediaPort = "rtpstream_audio_port"
	}
	if script.Key != "" {
		v.KeyFile = keyFiles + script.Key + ".pcap"
	}
	file := "scenarios/" + string(s) + ".xml"
	tmpl, err := template.New(string(s)+".xml").Funcs(sippParts).ParseFS(scenarioFiles, "scenarios/parts*.tmpl", file)
	if err != nil {
		return "", fmt.Errorf("sipp scenario %s: %w", s, err)
	}
	var b strings.Builder
	if err := tmpl.ExecuteTemplate(&b, string(s)+".xml", v); err != nil {
		return "", fmt.Errorf("sipp scenario %s: %w", s, err)
	}
	return b.String(), nil
}
