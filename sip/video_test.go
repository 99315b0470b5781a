package sip

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"riptide/bridge"
	"riptide/sip/rtp"
	"riptide/sip/sdp"
)

const vp8Lines = "m=video 40002 RTP/AVP 97\r\na=rtpmap:97 VP8/90000\r\na=fmtp:97 max-fr=30\r\na=rtcp-fb:97 nack pli"

var (
	vp8       = bridge.Format{Codec: bridge.VP8, Params: []bridge.Param{{Name: "max-fr", Value: 30}}}
	withVideo = bridge.MediaPlan{Speech: bridge.PCMA, Digits: true, Ptime: pcma.Ptime, Video: &vp8}
)

var videoLine = regexp.MustCompile(`m=video (\d+) RTP/AVP (\d+)`)

// videoPort is the port of the video section, -1 if there is none.
func videoPort(body []byte) int {
	m := videoLine.FindSubmatch(body)
	if m == nil {
		return -1
	}
	n, _ := strconv.Atoi(string(m[1]))
	return n
}

// videoCall is a call from a peer with video.
func videoCall(t *testing.T, plan bridge.MediaPlan) (*Agent, *dlg, bridge.Leg, []byte) {
	t.Helper()
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	d := newPeer(t).caller(a)
	d.invite(offerSDP(1, 40000, vp8Lines))
	l := acc.next(t)
	if v := l.Info().Media.Video; len(v) != 1 || v[0].Codec != bridge.VP8 || len(v[0].Params) != 1 || v[0].Params[0].Value != 30 {
		t.Fatalf("offered %+v", l.Info().Media)
	}
	if err := l.Answer(ctx, bridge.Answer{Media: plan}); err != nil {
		t.Fatal(err)
	}
	res := d.status(200, "INVITE")
	d.learn(res)
	d.ack("")
	return a, d, l, res.Body()
}

func TestVideoIsAnswered(t *testing.T) {
	t.Parallel()
	a, d, l, body := videoCall(t, withVideo)
	port := videoPort(body)
	if port <= 0 || port%2 != 0 || !strings.Contains(string(body), "a=rtpmap:97 VP8/90000\r\na=fmtp:97 max-fr=30\r\na=rtcp-fb:97 nack pli\r\na=sendrecv") {
		t.Errorf("%s", body)
	}
	if n := a.cfg.Media.InUse(); n != 2 {
		t.Errorf("%d pairs of ports", n)
	}
	if state := string(l.Record().State); !strings.Contains(state, `"video":{"ssrc":`) {
		t.Errorf("record: %s", state)
	}
	// The same offer again is a refresh.
	d.do("INVITE", offerSDP(1, 40000, vp8Lines))
	if again := d.answer(200, "INVITE").Body(); string(again) != string(body) {
		t.Errorf("a refresh changed the answer:\n%s\n%s", body, again)
	}
	d.ack("")
	hangUp(t, d, l)
}

func TestVideoIsRefusedWithoutAPlanForIt(t *testing.T) {
	t.Parallel()
	a, d, l, body := videoCall(t, pcma)
	if videoPort(body) != 0 || !strings.Contains(string(body), "m=audio") {
		t.Errorf("%s", body)
	}
	if n := a.cfg.Media.InUse(); n != 1 {
		t.Errorf("%d pairs of ports", n)
	}
	hangUp(t, d, l)
}

// A call goes without its video when there are no ports for it.
func TestNoPortsForVideo(t *testing.T) {
	t.Parallel()
	kernel, err := rtp.NewPool(loopback, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	probe, err := kernel.Open(rtp.Options{})
	if err != nil {
		t.Fatal(err)
	}
	base := probe.Local().Port()
	probe.Close()
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{}, func(c *Config) {
		pool, err := rtp.NewPool(loopback, base, base+1)
		if err != nil {
			t.Fatal(err)
		}
		c.Media = pool
	})
	d := newPeer(t).caller(a)
	d.invite(offerSDP(1, 40000, vp8Lines))
	l := acc.next(t)
	if err := l.Progress(ctx, bridge.Progress{Early: &withVideo}); err != nil {
		t.Fatal(err)
	}
	early := d.status(183, "INVITE").Body()
	if err := l.Answer(ctx, bridge.Answer{Media: withVideo}); err != nil {
		t.Fatal(err)
	}
	res := d.status(200, "INVITE")
	if videoPort(res.Body()) != 0 || string(early) != string(res.Body()) {
		t.Errorf("%s\n%s", early, res.Body())
	}
	d.learn(res)
	d.ack("")
	if p := l.Record().Plan; p.Video != nil {
		t.Errorf("plan %+v", p)
	}
	hangUp(t, d, l)
}

// Video is switched off and on again while the call runs, and an audio call that
// is offered video stays one.
func TestReinviteWithVideo(t *testing.T) {
	t.Parallel()
	a, d, l, body := videoCall(t, withVideo)
	first := videoPort(body)
	off := strings.Replace(vp8Lines, "40002", "0", 1)
	for _, step := range []struct {
		lines string
		video bool
	}{{off, false}, {vp8Lines, true}, {off, false}} {
		d.do("INVITE", offerSDP(d.seq, 40000, step.lines))
		ev := event(t, l, bridge.MediaChanged)
		res := d.answer(200, "INVITE")
		d.ack("")
		if (ev.Plan.Video != nil) != step.video || ev.Held || ev.Plan.Speech != bridge.PCMA {
			t.Errorf("%+v, want video %v", ev.Plan, step.video)
		}
		if port := videoPort(res.Body()); (port > 0) != step.video || step.video && port == first {
			t.Errorf("video %v on %d:\n%s", step.video, port, res.Body())
		}
		if n, want := a.cfg.Media.InUse(), map[bool]int{true: 2, false: 1}[step.video]; n != want {
			t.Errorf("%d pairs of ports, want %d", n, want)
		}
	}
	hangUp(t, d, l)

	_, d, l = running(t)
	d.do("INVITE", offerSDP(2, 40000, vp8Lines))
	ev := event(t, l, bridge.MediaChanged)
	if res := d.answer(200, "INVITE"); videoPort(res.Body()) != 0 || ev.Plan.Video != nil {
		t.Errorf("%+v\n%s", ev.Plan, res.Body())
	}
	d.ack("")
	hangUp(t, d, l)
}

// A re-INVITE without SDP is answered with an offer that keeps the video.
func TestLateReinviteKeepsVideo(t *testing.T) {
	t.Parallel()
	_, d, l, body := videoCall(t, withVideo)
	d.do("INVITE", "")
	again := d.answer(200, "INVITE").Body()
	if videoPort(again) != videoPort(body) || !strings.Contains(string(again), "RTP/AVP 97") {
		t.Errorf("%s", again)
	}
	d.ack(offerSDP(9, 40000, vp8Lines))
	if ev := event(t, l, bridge.MediaChanged); ev.Plan.Video == nil {
		t.Errorf("%+v", ev.Plan)
	}
	hangUp(t, d, l)
}

func TestVideoIsOffered(t *testing.T) {
	t.Parallel()
	h264 := bridge.Format{Codec: bridge.H264, Params: []bridge.Param{{Name: "profile-level-id", Value: 0x42e01f}, {Name: "packetization-mode", Value: 1}}}
	for name, c := range map[string]struct {
		answer string
		video  bool
	}{
		"taken":   {"m=video 41002 RTP/AVP 112\r\na=rtpmap:112 H264/90000\r\na=fmtp:112 profile-level-id=42e01f;packetization-mode=1", true},
		"refused": {"m=video 0 RTP/AVP 112", false},
		"absent":  {"a=sendrecv", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t)
			a := startAgent(t, newAcceptor(), Trunk{Peer: p.addr().String()})
			p.to = a.Addr()
			in := intent
			in.Media.Video = []bridge.Format{h264, vp8}
			l, err := a.Dial(ctx, in)
			if err != nil {
				t.Fatal(err)
			}
			inv := p.request("INVITE")
			offer, err := sdp.Parse(inv.Body())
			if err != nil {
				t.Fatal(err)
			}
			v, ok := offer.Video()
			if !ok || len(v.Formats) != 2 || v.Formats[0].Params != "profile-level-id=42e01f;packetization-mode=1" || v.Formats[0].Feedback != sdp.PLI|sdp.FIR {
				t.Errorf("%s", inv.Body())
			}
			p.respond(inv, 200, "OK", "a", offerSDP(1, 41000, c.answer))
			ev := event(t, l, bridge.Answered)
			if (ev.Plan.Video != nil) != c.video || c.video && ev.Plan.Video.Codec != bridge.H264 {
				t.Errorf("%+v", ev.Plan)
			}
			p.request("ACK")
			if n, want := a.cfg.Media.InUse(), map[bool]int{true: 2, false: 1}[c.video]; n != want {
				t.Errorf("%d pairs of ports, want %d", n, want)
			}
			hangUp(t, answeredBy(p, a, inv, "a"), l)
		})
	}
}

// Opus first, with digits at both clocks and the limits of the other side.
func TestOpusIsOffered(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	a := startAgent(t, newAcceptor(), Trunk{Peer: p.addr().String()})
	p.to = a.Addr()
	in := intent
	in.Media.Speech = []bridge.Codec{bridge.Opus, bridge.G722, bridge.PCMU}
	in.Media.Limits = []bridge.Format{{Codec: bridge.Opus, Params: []bridge.Param{{Name: "br", Value: 40000}, {Name: "ch", Value: 2}}}}
	l, err := a.Dial(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	inv := p.request("INVITE")
	for _, want := range []string{
		"RTP/AVP 111 9 0 110 101 13\r\n", "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1;maxaveragebitrate=40000;stereo=1\r\n",
		"a=rtpmap:9 G722/8000\r\n", "a=rtpmap:110 telephone-event/48000\r\n", "a=rtpmap:101 telephone-event/8000\r\n",
	} {
		if !strings.Contains(string(inv.Body()), want) {
			t.Errorf("no %q in\n%s", want, inv.Body())
		}
	}
	answer := "v=0\r\no=a 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 41000 RTP/AVP 96 97\r\n" +
		"a=rtpmap:96 opus/48000/2\r\na=fmtp:96 maxaveragebitrate=24000\r\na=rtpmap:97 telephone-event/48000\r\n"
	p.respond(inv, 200, "OK", "a", answer)
	ev := event(t, l, bridge.Answered)
	if ev.Plan.Speech != bridge.Opus || !ev.Plan.Digits || len(ev.Plan.Limits) != 1 || ev.Plan.Limits[0].Value != 24000 {
		t.Errorf("%+v", ev.Plan)
	}
	p.request("ACK")
	hangUp(t, answeredBy(p, a, inv, "a"), l)
}
