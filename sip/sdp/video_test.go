package sdp

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

const asked = PLI | FIR

var (
	baseline = Format{Payload: 112, Name: "H264", Clock: 90000, Channels: 1, Params: "profile-level-id=42e01f;packetization-mode=1", Feedback: asked}
	single   = Format{Payload: 113, Name: "H264", Clock: 90000, Channels: 1, Params: "profile-level-id=42e01f;packetization-mode=0", Feedback: asked}
	vp8      = Format{Payload: 114, Name: "VP8", Clock: 90000, Channels: 1, Params: "max-fr=30;max-fs=3600", Feedback: asked}

	both = Local{
		RTP: netip.MustParseAddrPort("192.0.2.99:20000"), Video: netip.MustParseAddrPort("192.0.2.99:20002"), Session: 42, Version: 1,
	}
)

func at(payload uint8, f Format) Format {
	f.Payload = payload
	return f
}

func offered(t *testing.T, media string) Description {
	t.Helper()
	d, err := Parse([]byte("v=0\no=- 9 9 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\n" + media))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

const audioLines = "m=audio 9000 RTP/AVP 0\n"

const answeredAudio = head + "m=audio 20000 RTP/AVP 0\na=rtpmap:0 PCMU/8000\na=sendrecv\n"

func TestAnswerVideo(t *testing.T) {
	cases := []struct {
		name, offer string
		local       Local
		video       []Format
		answer      string // of the sections after the audio
	}{
		{"taken, with the feedback that both know",
			"m=video 9002 RTP/AVP 97\na=rtpmap:97 H264/90000\na=fmtp:97 profile-level-id=42e01f;packetization-mode=1\na=rtcp-fb:97 nack pli\na=rtcp-fb:97 nack\n",
			both, []Format{at(97, baseline)},
			"m=video 20002 RTP/AVP 97\na=rtpmap:97 H264/90000\na=fmtp:97 profile-level-id=42e01f;packetization-mode=1\na=rtcp-fb:97 nack pli\na=sendrecv\n"},
		{"feedback of every format, and one answer for two formats",
			"m=video 9002 RTP/AVPF 97 98\na=rtpmap:97 VP8/90000\na=rtpmap:98 H264/90000\na=fmtp:98 packetization-mode=1;profile-level-id=42e00c\na=rtcp-fb:* ccm fir\na=recvonly\n",
			both, []Format{at(98, baseline), at(97, vp8)},
			"m=video 20002 RTP/AVPF 98\na=rtpmap:98 H264/90000\na=fmtp:98 profile-level-id=42e01f;packetization-mode=1\na=rtcp-fb:98 ccm fir\na=sendonly\n"},
		{"no such number", "m=video 9002 RTP/AVP 96\na=rtpmap:96 VP8/90000\n", both, []Format{at(97, vp8)}, "m=video 0 RTP/AVP 96\n"},
		{"another format under the number", "m=video 9002 RTP/AVP 97\na=rtpmap:97 H264/90000\n", both, []Format{at(97, vp8)}, "m=video 0 RTP/AVP 97\n"},
		{"the plan has none", "m=video 9002 RTP/AVP 97\na=rtpmap:97 VP8/90000\n", both, nil, "m=video 0 RTP/AVP 97\n"},
		{"no port for it", "m=video 9002 RTP/AVP 97\na=rtpmap:97 VP8/90000\n", local, []Format{at(97, vp8)}, "m=video 0 RTP/AVP 97\n"},
		{"encrypted", "m=video 9002 RTP/SAVPF 97\na=rtpmap:97 VP8/90000\n", both, []Format{at(97, vp8)}, "m=video 0 RTP/SAVPF 97\n"},
		{"switched off", "m=video 0 RTP/AVP 97\na=rtpmap:97 VP8/90000\n", both, []Format{at(97, vp8)}, "m=video 0 RTP/AVP 97\n"},
		{"unreadable", "m=video 9002 RTP/AVP 97 vp8\na=rtpmap:97 VP8/90000\n", both, []Format{at(97, vp8)}, "m=video 0 RTP/AVP 97 vp8\n"},
		{"slides beside the speaker, and what else there is in a meeting room",
			"m=application 9010 UDP/BFCP *\nm=video 9002 RTP/AVP 97\na=rtpmap:97 VP8/90000\na=fmtp:97 max-fs=900\nm=video 9004 RTP/AVP 97\na=rtpmap:97 VP8/90000\na=content:slides\nm=message 9006 TCP/MSRP *\n",
			both, []Format{at(97, vp8)},
			"m=application 0 UDP/BFCP *\nm=video 20002 RTP/AVP 97\na=rtpmap:97 VP8/90000\na=fmtp:97 max-fr=30;max-fs=3600\na=sendrecv\nm=video 0 RTP/AVP 97\nm=message 0 TCP/MSRP *\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			offer := offered(t, audioLines+c.offer)
			answer, err := MakeAnswer(offer, c.local, Capability{Audio: []Format{PCMU}, Video: c.video})
			if err != nil {
				t.Fatal(err)
			}
			if got := written(t, answer); got != answeredAudio+c.answer {
				t.Errorf("have\n%swant\n%s", got, answeredAudio+c.answer)
			}
			a, err := Answered(offer, answer)
			if taken := strings.Contains(c.answer, "m=video 20002"); err != nil || a.Video.Agreed() != taken {
				t.Errorf("video %v, want %v (%v)", a.Video.Agreed(), taken, err)
			}
		})
	}
}

// Video may stand before the audio: sections answer each other by their place.
func TestVideoFirst(t *testing.T) {
	offer := offered(t, "m=video 9002 RTP/AVP 97\na=rtpmap:97 VP8/90000\na=rtcp-fb:97 nack pli\nm=audio 9000 RTP/AVP 8\n")
	answer, err := MakeAnswer(offer, both, Capability{Audio: []Format{PCMA}, Video: []Format{at(97, vp8)}})
	if err != nil {
		t.Fatal(err)
	}
	a, err := Answered(offer, answer)
	if err != nil || answer.Media[0].Type != "video" || answer.Media[1].Type != "audio" {
		t.Fatalf("%+v %v", answer, err)
	}
	v := a.Video
	if v.Remote.Port() != 9002 || v.RemoteRTCP.Port() != 9003 || a.Audio.Remote.Port() != 9000 || v.Send[0].Payload != 97 || v.Send[0].Feedback != PLI {
		t.Errorf("%+v", a)
	}
}

func TestOfferVideo(t *testing.T) {
	d := MakeOffer(both, Capability{Audio: []Format{PCMU}, Video: []Format{baseline, single, vp8}})
	want := answeredAudio + "m=video 20002 RTP/AVP 112 113 114\n" +
		"a=rtpmap:112 H264/90000\na=fmtp:112 profile-level-id=42e01f;packetization-mode=1\na=rtcp-fb:112 nack pli\na=rtcp-fb:112 ccm fir\n" +
		"a=rtpmap:113 H264/90000\na=fmtp:113 profile-level-id=42e01f;packetization-mode=0\na=rtcp-fb:113 nack pli\na=rtcp-fb:113 ccm fir\n" +
		"a=rtpmap:114 VP8/90000\na=fmtp:114 max-fr=30;max-fs=3600\na=rtcp-fb:114 nack pli\na=rtcp-fb:114 ccm fir\na=sendrecv\n"
	if got := written(t, d); got != want {
		t.Errorf("have\n%swant\n%s", got, want)
	}
	if got := written(t, MakeOffer(local, Capability{Audio: []Format{PCMU}, Video: []Format{vp8}})); got != answeredAudio {
		t.Errorf("without a port for it:\n%s", got)
	}
	for _, c := range []struct{ send, receive uint8 }{{113, 113}, {99, 112}} { // the second of ours, and one under a number of its own
		lines := strings.ReplaceAll("m=video 9002 RTP/AVP 99\na=rtpmap:99 h264/90000\na=rtcp-fb:99 ccm  FIR\n", "99", strconv.Itoa(int(c.send)))
		a, err := Accepted(d, offered(t, audioLines+lines))
		if err != nil {
			t.Fatal(err)
		}
		v := a.Video
		if len(v.Send) != 1 || v.Send[0].Payload != c.send || v.Receive[0].Payload != c.receive || v.Send[0].Feedback != FIR {
			t.Errorf("%+v", v)
		}
	}
	for name, refusal := range map[string]string{
		"port 0": "m=video 0 RTP/AVP 112\n", "missing": "", "other": "m=video 9002 RTP/AVP 99\na=rtpmap:99 H263-1998/90000\n",
	} {
		if a, err := Accepted(d, offered(t, audioLines+refusal)); err != nil || a.Video.Agreed() || !a.Audio.Agreed() {
			t.Errorf("%s: %+v %v", name, a, err)
		}
	}
}

// Video comes and goes within a session, in one place (RFC 3264 section 8).
func TestReofferVideo(t *testing.T) {
	with, without := Capability{Audio: []Format{PCMU}, Video: []Format{vp8}}, Capability{Audio: []Format{PCMU}}
	first := MakeOffer(both, without)
	added := first.Reoffer(both, with)
	removed := added.Reoffer(both, without)
	again := removed.Reoffer(both, with)
	for _, c := range []struct {
		name  string
		d     Description
		port  uint16
		lines string
	}{{"added", added, 20002, "m=video 20002 RTP/AVP 114\n"}, {"removed", removed, 0, "m=video 0 RTP/AVP 114\n"}, {"again", again, 20002, "m=video 20002 RTP/AVP 114\n"}} {
		if len(c.d.Media) != 2 || c.d.Media[1].Port != c.port || !strings.Contains(written(t, c.d), c.lines) {
			t.Errorf("%s:\n%s", c.name, written(t, c.d))
		}
	}
}

// A number that meant something in the session never means something else.
func TestReofferTakesFreshNumbers(t *testing.T) {
	offer := offered(t, "m=audio 9000 RTP/AVP 101 96\na=rtpmap:101 opus/48000/2\na=rtpmap:96 telephone-event/48000\n")
	answer, err := MakeAnswer(offer, local, Capability{Audio: []Format{Opus(111), TelephoneEvent(110, 48000)}})
	if err != nil {
		t.Fatal(err)
	}
	m, _ := answer.Reoffer(local, Capability{Audio: []Format{Opus(111), TelephoneEvent(110, 48000), TelephoneEvent(101, 8000)}}).Audio()
	if m.Formats[0].Payload != 101 || m.Formats[1].Payload != 96 || m.Formats[2].Payload != 127 {
		t.Errorf("%+v", m.Formats)
	}
}

func TestAnswerOpus(t *testing.T) {
	ours := []Format{Opus(111), TelephoneEvent(110, 48000), TelephoneEvent(101, 8000), CN}
	for _, c := range []struct{ name, offer, answer string }{
		{"digits at 48 kHz", "m=audio 9000 RTP/AVP 96 0 97 98\na=rtpmap:96 opus/48000/2\na=fmtp:96 stereo=1\na=rtpmap:97 telephone-event/8000\na=rtpmap:98 telephone-event/48000\n",
			"m=audio 20000 RTP/AVP 96 98\na=rtpmap:96 opus/48000/2\na=fmtp:96 useinbandfec=1\na=rtpmap:98 telephone-event/48000\na=fmtp:98 0-16\na=sendrecv\n"},
		{"digits at 8 kHz for want of better", "m=audio 9000 RTP/AVP 96 97 13\na=rtpmap:96 OPUS/48000/2\na=rtpmap:97 telephone-event/8000\n",
			"m=audio 20000 RTP/AVP 96 97\na=rtpmap:96 opus/48000/2\na=fmtp:96 useinbandfec=1\na=rtpmap:97 telephone-event/8000\na=fmtp:97 0-16\na=sendrecv\n"},
	} {
		answer, err := MakeAnswer(offered(t, c.offer), local, Capability{Audio: ours})
		if err != nil {
			t.Fatal(err)
		}
		if got := written(t, answer); got != head+c.answer {
			t.Errorf("%s: have\n%swant\n%s", c.name, got, head+c.answer)
		}
	}
}

func TestParameters(t *testing.T) {
	f := Format{Params: " A=1; b = two ;flag;=x;c=3=4"}
	var got []string
	for n, v := range f.Parameters() {
		got = append(got, n+"="+v)
	}
	if s := strings.Join(got, "|"); s != "a=1|b=two|c=3=4" {
		t.Errorf("%s", s)
	}
	if _, ok := f.Param("flag"); ok {
		t.Error("a flag has a value")
	}
}

// A description that repeats what the peer said leaves nothing to chance.
func TestVideoIsWrittenAsRead(t *testing.T) {
	d := MakeOffer(both, Capability{Audio: []Format{PCMU}, Video: []Format{baseline, vp8}, Ptime: 20 * time.Millisecond})
	again, err := Parse(d.Bytes())
	if err != nil || written(t, again) != written(t, d) {
		t.Errorf("%v\n%s", err, written(t, again))
	}
}
