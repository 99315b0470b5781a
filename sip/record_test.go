package sip

import (
	"encoding/json"
	"strings"
	"testing"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/sip/sdp"
)

// The record of a release before keys were in it is read.
func TestResumeFromARecordOfBefore(t *testing.T) {
	t.Parallel()
	c, port := mediaSocket(t)
	a, tr, d, l, _ := callFor(t, "uas", port)
	rec := l.Record()
	var fields map[string]any
	if err := json.Unmarshal(rec.State, &fields); err != nil {
		t.Fatal(err)
	}
	fields["v"] = 1
	for _, name := range []string{"answered", "refreshed", "secure", "invite"} {
		delete(fields, name)
	}
	stream := fields["media"].(map[string]any)
	for _, name := range []string{"clock", "pace", "roc", "reports", "peer"} {
		delete(stream, name)
	}
	var err error
	if rec.State, err = json.Marshal(fields); err != nil {
		t.Fatal(err)
	}
	_, _, legs := reborn(t, a, tr, rec)
	speak(legs[0], 1)
	heard(t, c)
	hangUp(t, d, legs[0])
}

// A record that is damaged, or of a call that cannot be, is refused.
func TestRecordsThatAreRefused(t *testing.T) {
	t.Parallel()
	a, tr, d, l, _ := callFor(t, "uas", 40000)
	rec := l.Record()
	hangUp(t, d, l)
	good := string(rec.State)
	for name, state := range map[string]string{
		"empty":         "",
		"no JSON":       "{",
		"a later one":   strings.Replace(good, `"v":2`, `"v":3`, 1),
		"none":          strings.Replace(good, `"v":2`, `"v":0`, 1),
		"role":          strings.Replace(good, `"role":"uas"`, `"role":"proxy"`, 1),
		"state":         strings.Replace(good, `"state":"confirmed"`, `"state":"new"`, 1),
		"transport":     strings.Replace(good, `"UDP"`, `"SCTP"`, 1),
		"peer":          strings.Replace(good, `"peer":"127`, `"peer":"300`, 1),
		"address":       strings.Replace(good, `"target":"sip:`, `"target":"x\r\nX: `, 1),
		"number":        strings.Replace(good, `"localSeq":0`, `"localSeq":4294967295`, 1),
		"another call":  strings.Replace(good, `"callId":"`, `"callId":"x`, 1),
		"tag":           strings.Replace(good, `"localTag":"`, `"localTag":"a b`, 1),
		"no port":       strings.Replace(good, `"local":"127.0.0.1:`, `"local":"127.0.0.x:`, 1),
		"descriptions":  strings.Replace(good, `m=audio 40000 RTP/AVP 8 0 101`, `m=audio 40000 RTP/AVP 18`, 1),
		"too large":     good + strings.Repeat(" ", maxState),
		"no INVITE":     strings.Replace(good, `"state":"confirmed"`, `"state":"inviting"`, 1),
		"over":          strings.Replace(good, `"state":"confirmed"`, `"state":"over"`, 1),
		"other INVITE":  strings.Replace(good, `"callId"`, `"invite":"BYE sip:a@b SIP/2.0\r\n\r\n","callId"`, 1),
		"keys of v1":    strings.Replace(good, `"v":2`, `"v":1`, 1),
		"session timer": strings.Replace(good, `"callId"`, `"sessionExpires":5,"callId"`, 1),
	} {
		r := rec
		r.State = json.RawMessage(state)
		trunk := tr
		if name == "keys of v1" {
			trunk.Media = TrunkMedia{KeysInClear: true}
		}
		if state == good {
			t.Errorf("%s: nothing changed", name)
		}
		b := startAgent(t, newAcceptor(), trunk)
		if again, err := b.Resume(ctx, bridge.Resumption{LegRecord: r, State: bridge.StateAnswered}); err == nil || bridge.CauseOf(err).Text == "" {
			t.Errorf("%s: %v, %v", name, again, err)
		}
	}
	r := rec
	r.Trunk = "other"
	if _, err := a.Resume(ctx, bridge.Resumption{LegRecord: r}); err == nil {
		t.Error("a trunk that is gone")
	}
}

// FuzzRecord: whatever a record holds, it is read without harm, and what is read
// says what it said.
func FuzzRecord(f *testing.F) {
	for _, s := range []string{
		`{"v":2,"role":"uas","state":"confirmed","callId":"a@b","localTag":"x","remoteTag":"y","localUri":"sip:a@b","remoteUri":"sip:c@d","localSeq":0,"remoteSeq":1,"inviteSeq":1,"target":"sip:c@127.0.0.1:5060","routes":["sip:127.0.0.1:9;lr"],"transport":"UDP","peer":"127.0.0.1:5070","listen":"127.0.0.1:5060","session":1,"sdp":1,"local":"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 16384 RTP/AVP 8\r\n","remote":"v=0\r\no=- 2 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 8 0\r\n","answered":true,"media":{"ssrc":1,"seq":2,"ts":3,"at":"2026-01-02T03:04:05Z","cname":"x","local":"127.0.0.1:16384"}}`,
		`{"v":2,"role":"uac","state":"inviting","callId":"a@b","localTag":"x","localUri":"sip:a@b","remoteUri":"sip:c@d","localSeq":1,"inviteSeq":1,"target":"sip:c@127.0.0.1:5060","transport":"TCP","peer":"127.0.0.1:5070","listen":"127.0.0.1:5060","invite":"INVITE sip:c@d SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:5060;branch=z9hG4bKa\r\nMax-Forwards: 70\r\nFrom: <sip:a@b>;tag=x\r\nTo: <sip:c@d>\r\nCall-ID: a@b\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n","media":{"local":"127.0.0.1:16384"}}`,
		`{"v":1}`, `{}`, `[]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseState(b)
		if err != nil {
			return
		}
		_, _, _ = r.agreed(func(sdp.Agreed) bool { return true })
		for _, text := range r.dlg.build(sipgo.BYE, 1).Headers() {
			if strings.ContainsAny(text.Value(), "\r\n") {
				t.Errorf("%q", text.Value())
			}
		}
		if r.invite != nil {
			again := r.dialogState
			again.Invite = headOf(r.invite)
			text, err := json.Marshal(again)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parseState(text); err != nil {
				t.Errorf("%v: %q", err, again.Invite)
			}
		}
	})
}
