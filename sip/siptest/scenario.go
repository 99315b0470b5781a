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
	UACTransfers      Scenario = "uac-transfers"       // REFER to Target; Status is its answer: 202, or a refusal
)

// Caller tells scenarios that place calls.
func (s Scenario) Caller() bool { return strings.HasPrefix(string(s), "uac") }

// Script is what fills a scenario in.
type Script struct {
	From      string   // calling number; default +12025550100
	Status    int      // of a refusal; default 486
	Phrase    string   // of a refusal; default "Refused"
	RingMS    int      // how long it rings; 0 = no 180
	HoldMS    int      // how long they talk
	Headers   []string // more lines for the INVITE, the refusal, or the callee's BYE
	Reason    string   // regular expression that the Reason header has to match; "" = not looked at
	MediaFile string   // raw G.711 to play for ever; "" = none
	Payload   int      // 0 (PCMU) or 8 (PCMA)
	Target    string   // number of a transfer
}

// view is a Script as the templates see it.
type view struct {
	Script
	Codec     string
	MediaPort string // sipp's keyword for it
	Back      int    // index of the command whose branch is used again

	Seq               int    // CSeq of a change
	Direction, Answer string // offered, and expected in the answer
}

// XML fills the scenario in.
func (s Scenario) XML(script Script) (string, error) {
	v := view{Script: script, Codec: "PCMU", MediaPort: "media_port"}
	if v.From == "" {
		v.From = "+12025550100"
	}
	if v.Status == 0 {
		v.Status = 486
	}
	if v.Phrase == "" {
		v.Phrase = "Refused"
	}
	if v.Payload == 8 {
		v.Codec = "PCMA"
	}
	if v.MediaFile != "" {
		v.MediaPort = "rtpstream_audio_port"
	}
	funcs := template.FuncMap{
		"at": func(v view, back int) view { v.Back = back; return v },
		"change": func(v view, seq int, direction, answer string) view {
			v.Seq, v.Direction, v.Answer = seq, direction, answer
			return v
		},
	}
	file := "scenarios/" + string(s) + ".xml"
	tmpl, err := template.New(string(s)+".xml").Funcs(funcs).ParseFS(scenarioFiles, "scenarios/parts.tmpl", file)
	if err != nil {
		return "", fmt.Errorf("sipp scenario %s: %w", s, err)
	}
	var b strings.Builder
	if err := tmpl.ExecuteTemplate(&b, string(s)+".xml", v); err != nil {
		return "", fmt.Errorf("sipp scenario %s: %w", s, err)
	}
	return b.String(), nil
}
