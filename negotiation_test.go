package main

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"riptide/bridge"
	"riptide/bridge/format"
	"riptide/configs"
	"riptide/h3/agree"
	"riptide/sip/rtp"
	"riptide/sip/sdp"
)

// The choice of codecs, whole: what a caller can do, what the two trunks allow and
// what the called side answers make the directives of a RIPT caller and the SDP
// answer of a SIP caller. An offer is a list of codecs, best first, with "dtmf",
// "cn", "sealed" and "ptime=ms"; H264/42E01F/1 gives profile-level-id and
// packetization-mode, opus/24000 a bit rate. "-" means that there is no call.
var negotiations = []struct {
	offer, allowA, allowB, answer string
	toB                           string // what the called side is offered
	directives                    string // both, after the answer
	sdp                           string // m-lines of the answer
}{
	{"PCMU", "", "", "PCMU", "PCMU PCMA opus", "1 to 1: PCMU;", "audio 0"},
	{"PCMU", "", "", "PCMA", "PCMU PCMA opus", "1 to 1: PCMU;", "audio 0"},
	{"PCMA", "", "", "PCMU", "PCMA PCMU opus", "1 to 1: PCMA;", "audio 8"},
	{"PCMU PCMA dtmf cn", "", "", "PCMU dtmf cn", "PCMU PCMA opus", "1 to 1: PCMU; telephone-event; CN;", "audio 0 101 13"},
	{"PCMU PCMA dtmf cn", "", "", "PCMA dtmf cn", "PCMU PCMA opus", "1 to 1: PCMA; telephone-event; CN;", "audio 8 101 13"},
	{"PCMA PCMU dtmf cn", "", "", "PCMA dtmf", "PCMA PCMU opus", "1 to 1: PCMA; telephone-event; CN;", "audio 8 101 13"},
	{"PCMA PCMU dtmf", "", "", "PCMU dtmf", "PCMA PCMU opus", "1 to 1: PCMU; telephone-event;", "audio 0 101"},
	{"PCMU dtmf", "", "", "PCMU", "PCMU PCMA opus", "1 to 1: PCMU; telephone-event;", "audio 0 101"},
	{"PCMU", "", "", "PCMU dtmf cn", "PCMU PCMA opus", "1 to 1: PCMU;", "audio 0"},
	{"PCMU cn", "", "", "PCMU", "PCMU PCMA opus", "1 to 1: PCMU; CN;", "audio 0 13"},
	{"G722 PCMU dtmf", "", "", "G722 dtmf", "G722 PCMU PCMA opus", "1 to 1: G722; telephone-event;", "audio 9 101"},
	{"G722 PCMU dtmf", "", "", "PCMU dtmf", "G722 PCMU PCMA opus", "1 to 1: PCMU; telephone-event;", "audio 0 101"},
	{"G722 PCMA", "", "", "PCMU", "G722 PCMA PCMU opus", "1 to 1: PCMA;", "audio 8"},
	{"G722", "", "", "G722", "G722", "1 to 1: G722;", "audio 9"},
	{"opus PCMU dtmf", "", "", "opus dtmf", "opus PCMU PCMA", "1 to 1: opus; telephone-event;", "audio 111 110"},
	{"opus PCMU dtmf", "", "", "PCMU dtmf", "opus PCMU PCMA", "1 to 1: PCMU; telephone-event;", "audio 0 101"},
	{"opus dtmf", "", "", "PCMU dtmf", "opus PCMU PCMA", "1 to 1: opus; telephone-event;", "audio 111 110"},
	{"opus", "", "", "PCMA", "opus PCMU PCMA", "1 to 1: opus;", "audio 111"},
	{"PCMU", "", "", "opus", "PCMU PCMA opus", "1 to 1: PCMU;", "audio 0"},
	{"opus G722 PCMA PCMU dtmf cn", "", "", "G722 dtmf", "opus G722 PCMA PCMU", "1 to 1: G722; telephone-event; CN;", "audio 9 101 13"},
	{"opus G722 PCMA PCMU dtmf cn", "", "", "opus dtmf", "opus G722 PCMA PCMU", "1 to 1: opus; telephone-event; CN;", "audio 111 110"},
	{"opus/24000 PCMU", "", "", "opus", "opus PCMU PCMA", "1 to 1: opus,br=24000;", "audio 111"},
	{"opus/24000", "", "", "opus/16000", "opus PCMU PCMA", "1 to 1: opus,br=16000;", "audio 111"},
	{"opus", "", "", "opus/16000", "opus PCMU PCMA", "1 to 1: opus,br=16000;", "audio 111"},
	{"opus/24000", "", "", "PCMU", "opus PCMU PCMA", "1 to 1: opus,br=24000;", "audio 111"},
	{"PCMU ptime=30", "", "", "PCMU", "PCMU PCMA opus", "1 to 1: PCMU,ptime=30;", "audio 0"},
	{"PCMU ptime=30", "", "", "PCMU ptime=20", "PCMU PCMA opus", "1 to 1: PCMU,ptime=30;", "audio 0"},
	{"PCMU", "", "", "PCMU ptime=30", "PCMU PCMA opus", "1 to 1: PCMU,ptime=30;", "audio 0"},
	{"PCMU ptime=20", "", "", "PCMU ptime=40", "PCMU PCMA opus", "1 to 1: PCMU;", "audio 0"},
	{"opus ptime=40", "", "", "opus", "opus PCMU PCMA", "1 to 1: opus,ptime=40;", "audio 111"},
	{"PCMU PCMA", "PCMA", "", "PCMA", "PCMA PCMU opus", "1 to 1: PCMA;", "audio 8"},
	{"PCMU PCMA", "PCMA", "", "PCMU", "PCMA PCMU opus", "1 to 1: PCMA;", "audio 8"},
	{"PCMU PCMA", "PCMA PCMU", "", "PCMU", "PCMA PCMU opus", "1 to 1: PCMU;", "audio 0"},
	{"PCMU", "PCMA", "", "PCMA", "-", "-", "-"},
	{"PCMU PCMA opus", "opus PCMU", "", "opus", "opus PCMU PCMA", "1 to 1: opus;", "audio 111"},
	{"PCMU PCMA", "", "", "PCMA", "PCMU PCMA opus", "1 to 1: PCMA;", "audio 8"},
	{"PCMU PCMA", "", "PCMA", "PCMA", "PCMA", "1 to 1: PCMA;", "audio 8"},
	{"PCMU PCMA", "", "PCMA PCMU", "PCMA", "PCMA PCMU", "1 to 1: PCMA;", "audio 8"},
	{"PCMU", "", "PCMA", "PCMA", "PCMA", "1 to 1: PCMU;", "audio 0"},
	{"PCMU", "", "opus", "opus", "opus", "1 to 1: PCMU;", "audio 0"},
	{"G722", "", "opus", "opus", "-", "-", "-"},
	{"G722 PCMU", "", "G722", "G722", "G722", "1 to 1: G722;", "audio 9"},
	{"PCMU", "", "G722", "G722", "-", "-", "-"},
	{"G722", "PCMU", "", "PCMU", "-", "-", "-"},
	{"opus PCMU", "PCMU", "opus", "opus", "opus", "1 to 1: PCMU;", "audio 0"},
	{"opus PCMU", "PCMU", "PCMA", "PCMA", "PCMA", "1 to 1: PCMU;", "audio 0"},
	{"PCMU VP8", "", "", "PCMU VP8", "PCMU PCMA opus VP8", "1 to 1: PCMU; 2 to 2: VP8;", "audio 0; video 112"},
	{"PCMU VP8", "", "", "PCMU", "PCMU PCMA opus VP8", "1 to 1: PCMU;", "audio 0; no video 112"},
	{"PCMU", "", "", "PCMU VP8", "PCMU PCMA opus", "1 to 1: PCMU;", "audio 0"},
	{"PCMU H264/42E01F/1", "", "", "PCMU H264/42E01F/1", "PCMU PCMA opus H264", "1 to 1: PCMU; 2 to 2: H264,profile-level-id=4382751,packetization-mode=1;", "audio 0; video 112"},
	{"PCMU H264/42E01F/1", "", "", "PCMU H264/42E00D/1", "PCMU PCMA opus H264", "1 to 1: PCMU; 2 to 2: H264,profile-level-id=4382733,packetization-mode=1;", "audio 0; video 112"},
	{"PCMU H264/42E00D/1", "", "", "PCMU H264/42E01F/1", "PCMU PCMA opus H264", "1 to 1: PCMU; 2 to 2: H264,profile-level-id=4382733,packetization-mode=1;", "audio 0; video 112"},
	{"PCMU H264/42E01F/1", "", "", "PCMU H264/64001F/1", "PCMU PCMA opus H264", "1 to 1: PCMU;", "audio 0; no video 112"},
	{"PCMU H264/42E01F/1", "", "", "PCMU H264/42E01F/0", "PCMU PCMA opus H264", "1 to 1: PCMU;", "audio 0; no video 112"},
	{"PCMU H264/42E01F/1", "", "", "PCMU H264/4D801F/1", "PCMU PCMA opus H264", "1 to 1: PCMU; 2 to 2: H264,profile-level-id=4382751,packetization-mode=1;", "audio 0; video 112"},
	{"PCMU H264/42E01F/1 VP8", "", "", "PCMU VP8", "PCMU PCMA opus H264 VP8", "1 to 1: PCMU; 2 to 2: VP8;", "audio 0; video 113"},
	{"PCMU VP8 H264/42E01F/0", "", "", "PCMU H264/42E01F/0", "PCMU PCMA opus VP8 H264", "1 to 1: PCMU; 2 to 2: H264,profile-level-id=4382751;", "audio 0; video 113"},
	{"PCMU H264/42E01F/1 VP8", "PCMU VP8", "", "PCMU VP8", "PCMU PCMA opus VP8", "1 to 1: PCMU; 2 to 2: VP8;", "audio 0; video 113"},
	{"PCMU VP8", "PCMU", "", "PCMU", "PCMU PCMA opus", "1 to 1: PCMU;", "audio 0; no video 112"},
	{"PCMU VP8", "", "PCMU", "PCMU", "PCMU", "1 to 1: PCMU;", "audio 0; no video 112"},
	{"PCMU VP8", "", "PCMU H264", "PCMU", "PCMU", "1 to 1: PCMU;", "audio 0; no video 112"},
	{"PCMU VP8", "", "", "PCMA VP8", "PCMU PCMA opus VP8", "1 to 1: PCMU; 2 to 2: VP8;", "audio 0; video 112"},
	{"opus VP8 dtmf cn", "", "", "opus VP8 dtmf cn", "opus PCMU PCMA VP8", "1 to 1: opus; telephone-event; CN; 2 to 2: VP8;", "audio 111 110; video 112"},
	{"VP8", "", "", "PCMU", "-", "-", "-"},
	{"PCMU sealed", "", "", "PCMU sealed", "PCMU", "1 to 1: PCMU,sealed;", "-"},
	{"PCMU dtmf sealed", "", "", "PCMU dtmf sealed", "PCMU", "1 to 1: PCMU,sealed; telephone-event,sealed;", "-"},
	{"PCMU sealed", "", "", "PCMU", "PCMU", "-", "-"},
	{"PCMU", "", "", "PCMU sealed", "PCMU PCMA opus", "-", "-"},
	{"PCMU PCMA sealed", "", "", "PCMA sealed", "PCMU PCMA", "1 to 1: PCMA,sealed;", "-"},
	{"opus VP8 sealed", "", "", "opus VP8 sealed", "opus VP8", "1 to 1: opus,sealed; 2 to 2: VP8,sealed;", "-"},
	{"PCMU sealed", "", "PCMA", "PCMA sealed", "-", "-", "-"},
	{"PCMU sealed", "", "", "PCMA sealed", "PCMU", "-", "-"},
}

// convertible are what this table takes for granted that we convert.
var convertible = []bridge.Codec{bridge.PCMU, bridge.PCMA, bridge.Opus}

func readCodec(t *testing.T, word string) bridge.Format {
	t.Helper()
	parts := strings.Split(word, "/")
	c, ok := bridge.CodecNamed(parts[0])
	if !ok {
		t.Fatalf("%q is no codec", word)
	}
	f := bridge.Format{Codec: c}
	switch {
	case c == bridge.H264 && len(parts) == 3:
		var id, mode int64
		if _, err := fmt.Sscanf(parts[1]+" "+parts[2], "%x %d", &id, &mode); err != nil {
			t.Fatal(err)
		}
		f.Params = []bridge.Param{{Name: format.ProfileLevelID, Value: id}, {Name: format.PacketizationMode, Value: mode}}
	case len(parts) == 2:
		var rate int64
		if _, err := fmt.Sscan(parts[1], &rate); err != nil {
			t.Fatal(err)
		}
		f.Params = []bridge.Param{{Name: format.BitRate, Value: rate}}
	}
	return f
}

func readOffer(t *testing.T, s string) (o bridge.MediaOffer) {
	t.Helper()
	for _, w := range strings.Fields(s) {
		ms, isPtime := strings.CutPrefix(w, "ptime=")
		switch {
		case w == "dtmf":
			o.Digits = true
		case w == "cn":
			o.ComfortNoise = true
		case w == "sealed":
			o.Sealed = true
		case isPtime:
			d, err := time.ParseDuration(ms + "ms")
			if err != nil {
				t.Fatal(err)
			}
			o.Ptime = d
		default:
			f := readCodec(t, w)
			if f.Codec.Kind() == bridge.Video {
				o.Video = append(o.Video, f)
				continue
			}
			o.Speech = append(o.Speech, f.Codec)
			if len(f.Params) > 0 {
				o.Limits = append(o.Limits, f)
			}
		}
	}
	return o
}

func readPlan(t *testing.T, s string) bridge.MediaPlan {
	t.Helper()
	o := readOffer(t, s)
	p := bridge.MediaPlan{Speech: o.Speech[0], Limits: o.Limit(o.Speech[0]).Params, Digits: o.Digits, ComfortNoise: o.ComfortNoise, Ptime: o.Ptime, Sealed: o.Sealed}
	if len(o.Video) > 0 {
		p.Video = &o.Video[0]
	}
	return p
}

func readPolicy(t *testing.T, s string) (out []bridge.Codec) {
	t.Helper()
	for _, w := range strings.Fields(s) {
		out = append(out, readCodec(t, w).Codec)
	}
	return out
}

func showOffer(o bridge.MediaOffer) string {
	var out []string
	for _, c := range o.Speech {
		out = append(out, c.String())
	}
	for _, v := range o.Video {
		out = append(out, v.Codec.String())
	}
	return strings.Join(out, " ")
}

// mLines are the media lines of a description, without addresses.
func mLines(d sdp.Description) string {
	var out []string
	for line := range strings.Lines(string(d.Bytes())) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "m="); ok {
			words := strings.Fields(rest)
			if words[1] == "0" {
				words[0] = "no " + words[0]
			}
			out = append(out, words[0]+" "+strings.Join(words[3:], " "))
		}
	}
	return strings.Join(out, "; ")
}

// negotiated runs one row.
func negotiated(t *testing.T, offer, allowA, allowB, answer string) (toB, directives, description string) {
	n := bridge.Negotiation{
		Caller: readOffer(t, offer), CallerCodecs: readPolicy(t, allowA), CalledCodecs: readPolicy(t, allowB), Convert: convertible,
	}
	a, err := bridge.Negotiate(n)
	if err != nil {
		return "-", "-", "-"
	}
	toB = showOffer(a.Offer)
	plan := readPlan(t, answer)
	n.Called = &plan
	if a, err = bridge.Negotiate(n); err != nil {
		return toB, "-", "-"
	}
	d, err := agree.Decide(agree.Advert(n.Caller), agree.Advert(a.Plan.Offer()), nil)
	if err != nil {
		t.Fatalf("directives for %+v: %v", a.Plan, err)
	}
	directives = strings.ReplaceAll(d.ToServer.String(), "\n", " ")
	if down := strings.ReplaceAll(d.ToClient.String(), "\n", " "); down != directives {
		t.Errorf("the server directive is %q, the client's %q", down, directives)
	}
	back, err := d.Plan(false)
	if err != nil || back.Speech != a.Plan.Speech || (back.Video == nil) != (a.Plan.Video == nil) {
		t.Errorf("directives %q read as %+v (%v), made of %+v", directives, back, err, a.Plan)
	}
	if n.Caller.Sealed {
		return toB, directives, "-" // RTP has no such thing
	}
	local := sdp.Local{RTP: netip.MustParseAddrPort("192.0.2.1:40000"), Video: netip.MustParseAddrPort("192.0.2.1:40002"), Session: 1, Version: 1}
	theirs := sdp.MakeOffer(local, rtp.CapabilityOf(n.Caller))
	ours, err := sdp.MakeAnswer(theirs, local, rtp.AnswerOf(theirs, a.Plan))
	if err != nil {
		t.Fatalf("SDP answer for %+v: %v", a.Plan, err)
	}
	return toB, directives, mLines(ours)
}

func TestNegotiations(t *testing.T) {
	if len(negotiations) < 60 {
		t.Errorf("%d rows", len(negotiations))
	}
	for _, c := range negotiations {
		t.Run(fmt.Sprintf("%s|%s|%s|%s", c.offer, c.allowA, c.allowB, c.answer), func(t *testing.T) {
			toB, directives, description := negotiated(t, c.offer, c.allowA, c.allowB, c.answer)
			if toB != c.toB || directives != c.directives || description != c.sdp {
				t.Errorf("\n got %q, %q, %q\nwant %q, %q, %q", toB, directives, description, c.toB, c.directives, c.sdp)
			}
		})
	}
}

// Every codec that can be configured is one that we have, and the reverse.
func TestConfigurableCodecs(t *testing.T) {
	for _, c := range bridge.Codecs() {
		var name configs.Codec
		if err := name.UnmarshalText([]byte(strings.ToUpper(c.String()))); (err == nil) == c.Aside() {
			t.Errorf("%v: %v", c, err)
		}
	}
}
