package sip

import (
	"fmt"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/sip/siptest"
)

func TestParseDigit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		contentType, body string
		want              string // key and duration; "" = not about digits; "bad" = no key
	}{
		{"application/dtmf-relay", "Signal=5\r\nDuration=160\r\n", "5 160ms"},
		{"application/dtmf-relay", "Signal= #\nDuration= 250", "# 250ms"},
		{"Application/DTMF-Relay; charset=utf-8", "signal=*\r\n", "* 0s"},
		{"application/dtmf-relay", "Signal=11\r\nDuration=100\r\n", "# 100ms"},
		{"application/dtmf-relay", "Signal=d\r\nDuration=x\r\n", "D 0s"},
		{"application/dtmf-relay", "Signal=12", "A 0s"},
		{"application/dtmf", "7", "7 0s"},
		{"application/dtmf", " 10\r\n", "* 0s"},
		{"application/dtmf", "", "bad"},
		{"application/dtmf", "55", "bad"},
		{"application/dtmf-relay", "Duration=160", "bad"},
		{"application/dtmf-relay", "Signal=hookflash", "bad"},
		{"application/dtmf-relay", strings.Repeat("Signal=5\r\n", 100), "bad"},
		{"application/media_control+xml", "<media_control/>", ""},
		{"", "5", ""},
	} {
		key, pressed, err := parseDigit(c.contentType, []byte(c.body))
		got := fmt.Sprintf("%c %v", key, pressed)
		switch err {
		case nil:
		case errNotDigit:
			got = ""
		default:
			got = "bad"
		}
		if got != c.want {
			t.Errorf("%s %q: have %q (%v), want %q", c.contentType, c.body, got, err, c.want)
		}
	}
}

func FuzzDigit(f *testing.F) {
	f.Add("application/dtmf-relay", []byte("Signal=5\r\nDuration=160\r\n"))
	f.Add("application/dtmf", []byte("#"))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		key, pressed, err := parseDigit(contentType, body)
		if err == nil && (!strings.ContainsRune("0123456789*#ABCD", rune(key)) || pressed < 0 || pressed > 66*time.Second) {
			t.Errorf("%q is %q for %v", body, key, pressed)
		}
	})
}

// events is a sink that keeps the events.
type events struct{ got chan byte }

func (e *events) Push(f *bridge.Frame) {
	if f.Codec == bridge.TelephoneEvent && f.Marker {
		e.got <- f.Payload[0]
	}
}

// jambonz/jambonz-feature-server#128: digits by INFO, in both bodies there are.
func TestDigitsByINFO_jambonz128(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "dtmf-info", "scripted")
	_, d, l := running(t)
	sink := &events{make(chan byte, 10)}
	l.Media().Join(sink)
	info := func(contentType, body string, status int) {
		t.Helper()
		d.seq++
		text := d.make("INFO", d.seq, newBranch(), body)
		d.send(strings.Replace(text, "application/sdp", contentType, 1))
		d.answer(status, "INFO")
	}
	info("application/dtmf-relay", "Signal=5\r\nDuration=80\r\n", 200)
	info("application/dtmf", "#", 200)
	info("application/dtmf", "what", 400)
	info("application/media_control+xml", "<x/>", 415)
	d.do("INFO", "")
	d.answer(200, "INFO")
	for i, want := range []byte{5, 11} {
		select {
		case got := <-sink.got:
			if got != want {
				t.Errorf("event %d is %d, want %d", i, got, want)
			}
		case <-time.After(patience):
			t.Fatalf("no event %d", want)
		}
	}
	hangUp(t, d, l)
}

// event frames of a digit, as the other leg hands them on.
func dial(l bridge.Leg, seq *uint64, key byte) {
	ts := (*seq + 100) * 160
	for i := range 4 {
		end := byte(0)
		if i > 0 {
			end = 0x80
		}
		*seq++
		l.Media().Push(&bridge.Frame{Codec: bridge.TelephoneEvent, Marker: i == 0, Seq: *seq, Timestamp: ts, Payload: []byte{key, end | 10, 3, 32}})
	}
}

func TestDigitsToAPeerWithINFO(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	d := newPeer(t).caller(startAgent(t, acc, Trunk{Media: TrunkMedia{DTMF: DTMFInfo}}))
	d.invite(offerSDP(1, 40000))
	l := acc.next(t)
	if err := l.Answer(ctx, bridge.Answer{Media: pcma}); err != nil {
		t.Fatal(err)
	}
	res := d.status(200, "INVITE")
	if strings.Contains(string(res.Body()), "telephone-event") {
		t.Errorf("events were taken:\n%s", res.Body())
	}
	d.learn(res)
	d.ack("")
	for l.Record().Plan == nil || !strings.Contains(string(l.Record().State), `"confirmed"`) {
		time.Sleep(time.Millisecond)
	}
	var seq uint64
	dial(l, &seq, 1)
	dial(l, &seq, 10)
	for i, want := range []string{"Signal=1\r\nDuration=100\r\n", "Signal=*\r\nDuration=100\r\n"} {
		req := d.request("INFO")
		if got := string(req.Body()); got != want || req.ContentType().Value() != typeRelay {
			t.Errorf("INFO %d: %s", i, req)
		}
		if n := d.count(func(m sipgo.Message) bool {
			return isRequest(m, "INFO") && strings.Contains(string(m.(*sipgo.Request).Body()), "Signal=*")
		}); i == 0 && n > 0 {
			t.Error("the second digit did not wait for the first")
		}
		d.respond(req, 200, "OK", "", "")
	}
	hangUp(t, d, l)
}
