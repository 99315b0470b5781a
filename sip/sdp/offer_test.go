package sdp

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	pion "github.com/pion/sdp/v3"
)

var (
	ours  = []Format{PCMU, PCMA, TelephoneEvent(101, 8000), CN}
	local = Local{RTP: netip.MustParseAddrPort("192.0.2.99:20000"), Session: 42, Version: 1}
)

// written is the description as text with LF, after a strict parser by other
// hands has taken it.
func written(t *testing.T, d Description) string {
	t.Helper()
	b := d.Bytes()
	var strict pion.SessionDescription
	if err := strict.Unmarshal(b); err != nil {
		t.Fatalf("%v in\n%s", err, b)
	}
	return strings.ReplaceAll(string(b), "\r\n", "\n")
}

const head = "v=0\no=- 42 1 IN IP4 192.0.2.99\ns=-\nc=IN IP4 192.0.2.99\nt=0 0\n"

func TestMakeAnswer(t *testing.T) {
	six := Local{RTP: netip.MustParseAddrPort("[2001:db8::99]:20000"), RTCP: netip.MustParseAddrPort("[2001:db8::99]:30001"), Session: 42, Version: 2}
	mux := local
	mux.RTCPMux = true
	cases := []struct {
		name, file string
		local      Local
		formats    []Format
		want       Direction
		answer     string
	}{
		{"our choice first, digits with it", "asterisk.sdp", local, ours, SendRecv, head +
			"m=audio 20000 RTP/AVP 0 101 8\na=rtpmap:0 PCMU/8000\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-16\na=rtpmap:8 PCMA/8000\na=ptime:20\na=sendrecv\n"},
		{"digits at the clock of the speech only", "freeswitch.sdp", local, []Format{PCMA, TelephoneEvent(96, 8000), CN}, SendRecv, head +
			"m=audio 20000 RTP/AVP 8 101 13\na=rtpmap:8 PCMA/8000\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-16\na=rtpmap:13 CN/8000\na=ptime:20\na=sendrecv\n"},
		{"encrypted section refused, plain one taken", "freeswitch-srtp.sdp", local, []Format{PCMU}, SendRecv, head +
			"m=audio 0 RTP/SAVP 0 8 101\nm=audio 20000 RTP/AVP 0\na=rtpmap:0 PCMU/8000\na=ptime:20\na=sendrecv\n"},
		{"comfort noise under another number, ptime 30", "cisco-cube.sdp", local, []Format{PCMU, TelephoneEvent(101, 8000), CN}, SendRecv, head +
			"m=audio 20000 RTP/AVP 0 101 19\na=rtpmap:0 PCMU/8000\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-16\na=rtpmap:19 CN/8000\na=ptime:30\na=sendrecv\n"},
		{"hold by address", "cisco-hold.sdp", local, []Format{PCMU}, SendRecv, head +
			"m=audio 20000 RTP/AVP 0\na=rtpmap:0 PCMU/8000\na=recvonly\n"},
		{"hold by direction", "pjsua-hold.sdp", local, []Format{PCMU, TelephoneEvent(101, 8000)}, SendRecv, head +
			"m=audio 20000 RTP/AVP 0 96\na=rtpmap:0 PCMU/8000\na=rtpmap:96 telephone-event/8000\na=fmtp:96 0-16\na=recvonly\n"},
		{"no digits, no comfort noise offered", "sipp.sdp", local, ours, SendRecv, head +
			"m=audio 20000 RTP/AVP 0\na=rtpmap:0 PCMU/8000\na=sendrecv\n"},
		{"static numbers without rtpmap", "sipp-static.sdp", local, []Format{PCMA, CN}, SendRecv, head +
			"m=audio 20000 RTP/AVP 8 13\na=rtpmap:8 PCMA/8000\na=rtpmap:13 CN/8000\na=sendrecv\n"},
		{"video refused", "baresip-video.sdp", local, []Format{PCMA}, SendRecv, head +
			"m=audio 20000 RTP/AVP 8\na=rtpmap:8 PCMA/8000\na=ptime:20\na=sendrecv\nm=video 0 RTP/AVP 99\n"},
		{"mux offered but not ours", "pjsua.sdp", local, []Format{PCMU}, SendRecv, head +
			"m=audio 20000 RTP/AVP 0\na=rtpmap:0 PCMU/8000\na=sendrecv\n"},
		{"mux accepted", "pjsua.sdp", mux, []Format{PCMU}, SendRecv, head +
			"m=audio 20000 RTP/AVP 0\na=rtpmap:0 PCMU/8000\na=rtcp-mux\na=sendrecv\n"},
		{"mux not offered", "sipp.sdp", mux, []Format{PCMU}, SendRecv, head +
			"m=audio 20000 RTP/AVP 0\na=rtpmap:0 PCMU/8000\na=sendrecv\n"},
		{"IPv6, own port for reports, ptime limited", "ipv6.sdp", six, []Format{PCMU}, SendRecv,
			"v=0\no=- 42 2 IN IP6 2001:db8::99\ns=-\nc=IN IP6 2001:db8::99\nt=0 0\nm=audio 20000 RTP/AVP 0\na=rtpmap:0 PCMU/8000\na=ptime:60\na=rtcp:30001 IN IP6 2001:db8::99\na=inactive\n"},
		{"we want less than offered", "sipp.sdp", local, []Format{PCMU}, SendOnly, head +
			"m=audio 20000 RTP/AVP 0\na=rtpmap:0 PCMU/8000\na=sendonly\n"},
		{"profile kept", "fqdn.sdp", local, []Format{PCMU}, SendRecv, head +
			"m=audio 20000 RTP/AVPF 0\na=rtpmap:0 PCMU/8000\na=sendrecv\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a, err := MakeAnswer(parseFile(t, c.file), c.local, Capability{Audio: c.formats, Direction: c.want})
			if err != nil {
				t.Fatal(err)
			}
			if got := written(t, a); got != c.answer {
				t.Errorf("have\n%swant\n%s", got, c.answer)
			}
		})
	}
}

func TestMakeAnswerRefuses(t *testing.T) {
	g729 := []Format{{Payload: 18, Name: "G729", Clock: 8000, Channels: 1}}
	cases := []struct {
		file    string
		formats []Format
		want    error
		text    string
	}{
		{"asterisk-t38.sdp", ours, ErrNoAudio, "answer offer with image udptl: no audio over RTP"},
		{"asterisk-webrtc.sdp", ours, ErrNoKey, "the offer wants UDP/TLS/RTP/SAVPF, for which it or this trunk has no keys: no protection of media in common"},
		{"sipp.sdp", g729, ErrNoFormat, "answer offer of PCMU/8000, we take G729/8000: no audio format in common"},
		{"asterisk.sdp", []Format{TelephoneEvent(101, 8000)}, ErrNoFormat, "answer offer of PCMA/8000, PCMU/8000, G722/8000, telephone-event/8000, we take telephone-event/8000: no audio format in common"},
	}
	for _, c := range cases {
		_, err := MakeAnswer(parseFile(t, c.file), local, Capability{Audio: c.formats})
		if !errors.Is(err, c.want) || err.Error() != c.text {
			t.Errorf("%s: %v\nwant %s", c.file, err, c.text)
		}
	}
}

func TestMakeOffer(t *testing.T) {
	d := MakeOffer(local, Capability{Audio: ours, Ptime: 20 * time.Millisecond})
	want := head + "m=audio 20000 RTP/AVP 0 8 101 13\na=rtpmap:0 PCMU/8000\na=rtpmap:8 PCMA/8000\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-16\na=rtpmap:13 CN/8000\na=ptime:20\na=sendrecv\n"
	if got := written(t, d); got != want {
		t.Errorf("have\n%swant\n%s", got, want)
	}
}

// A section once there stays in its place (RFC 3264 section 8).
func TestReofferKeepsSections(t *testing.T) {
	answer, err := MakeAnswer(parseFile(t, "freeswitch-srtp.sdp"), local, Capability{Audio: ours})
	if err != nil {
		t.Fatal(err)
	}
	next := local
	next.Version = 2
	got := written(t, answer.Reoffer(next, Capability{Audio: []Format{PCMU}, Direction: Inactive}))
	want := strings.Replace(head, "42 1", "42 2", 1) + "m=audio 0 RTP/SAVP 0 8 101\nm=audio 20000 RTP/AVP 0\na=rtpmap:0 PCMU/8000\na=inactive\n"
	if got != want {
		t.Errorf("have\n%swant\n%s", got, want)
	}
}

func TestReofferKeepsPayloadNumbers(t *testing.T) {
	answer, err := MakeAnswer(parseFile(t, "pjsua.sdp"), local, Capability{Audio: ours})
	if err != nil {
		t.Fatal(err)
	}
	m, _ := answer.Reoffer(local, Capability{Audio: ours}).Audio()
	if f := m.Formats[2]; !f.IsTelephoneEvent() || f.Payload != 96 {
		t.Errorf("digits were 96, now %d", f.Payload)
	}
	if ours[2].Payload != 101 {
		t.Error("the caller's formats were changed")
	}
}

func TestAnsweredIsWhatTheAnswerSays(t *testing.T) {
	offer := parseFile(t, "pjsua-hold.sdp")
	answer, err := MakeAnswer(offer, local, Capability{Audio: ours})
	if err != nil {
		t.Fatal(err)
	}
	both, err := Answered(offer, answer)
	if err != nil {
		t.Fatal(err)
	}
	a := both.Audio
	if a.Remote != netip.MustParseAddrPort("10.1.2.3:4000") || a.RemoteRTCP != netip.MustParseAddrPort("10.1.2.4:4005") {
		t.Errorf("addresses %v %v", a.Remote, a.RemoteRTCP)
	}
	if a.Direction != RecvOnly || a.Direction.Sends() {
		t.Errorf("direction %v, want recvonly", a.Direction)
	}
	if len(a.Send) != 2 || a.Send[0].Payload != 0 || a.Send[1].Payload != 96 || a.Receive[1].Payload != 96 {
		t.Errorf("send %v receive %v", a.Send, a.Receive)
	}
}

// An answer may use other payload type numbers than the offer: we send under
// the peer's and receive under ours (RFC 3264 section 5.1).
func TestAcceptedRenumbered(t *testing.T) {
	offer := MakeOffer(local, Capability{Audio: ours, Ptime: 20 * time.Millisecond})
	answer, err := Parse([]byte("v=0\no=- 9 9 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\n" +
		"m=audio 9000 RTP/AVP 8 18 96\na=rtpmap:96 telephone-event/8000\na=ptime:30\na=rtcp-mux\na=recvonly\n"))
	if err != nil {
		t.Fatal(err)
	}
	both, err := Accepted(offer, answer)
	if err != nil {
		t.Fatal(err)
	}
	a := both.Audio
	if len(a.Send) != 2 || !a.Send[0].Same(PCMA) || a.Send[1].Payload != 96 || a.Receive[1].Payload != 101 {
		t.Errorf("send %+v receive %+v", a.Send, a.Receive)
	}
	if a.RTCPMux || a.Direction != SendOnly || a.Ptime != 30*time.Millisecond {
		t.Errorf("%+v", a)
	}
	for body, want := range map[string]error{
		"m=audio 0 RTP/AVP 0\n":     ErrNoAudio,
		"m=audio 9000 RTP/AVP 18\n": ErrNoFormat,
		"":                          ErrNoAudio,
	} {
		answer, err := Parse([]byte("v=0\no=- 9 9 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\n" + body))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Accepted(offer, answer); !errors.Is(err, want) {
			t.Errorf("answer %q: %v, want %v", body, err, want)
		}
	}
}

func TestDirection(t *testing.T) {
	for _, c := range []struct {
		d, reverse      Direction
		sends, receives bool
	}{
		{SendRecv, SendRecv, true, true},
		{SendOnly, RecvOnly, true, false},
		{RecvOnly, SendOnly, false, true},
		{Inactive, Inactive, false, false},
	} {
		if c.d.Reverse() != c.reverse || c.d.Sends() != c.sends || c.d.Receives() != c.receives {
			t.Errorf("%v: reverse %v, sends %v, receives %v", c.d, c.d.Reverse(), c.d.Sends(), c.d.Receives())
		}
		if back, ok := directionNamed(c.d.String()); !ok || back != c.d {
			t.Errorf("%v read back as %v", c.d, back)
		}
		if c.d.And(SendRecv) != c.d || c.d.And(Inactive) != Inactive {
			t.Errorf("%v does not combine", c.d)
		}
	}
	if SendOnly.And(RecvOnly) != Inactive {
		t.Error("sendonly and recvonly leave something")
	}
}

func TestPacketTime(t *testing.T) {
	ms := time.Millisecond
	for _, c := range []struct{ ptime, maxptime, want time.Duration }{
		{0, 0, 0}, {20 * ms, 0, 20 * ms}, {10 * ms, 0, 10 * ms}, {9 * ms, 0, 10 * ms},
		{60 * ms, 0, 60 * ms}, {61 * ms, 0, 60 * ms}, {25 * ms, 0, 20 * ms},
		{60 * ms, 40 * ms, 40 * ms}, {20 * ms, 5 * ms, 10 * ms}, {0, 20 * ms, 0},
	} {
		if got := (Media{Ptime: c.ptime, MaxPtime: c.maxptime}).PacketTime(); got != c.want {
			t.Errorf("ptime %v maxptime %v: %v, want %v", c.ptime, c.maxptime, got, c.want)
		}
	}
}
