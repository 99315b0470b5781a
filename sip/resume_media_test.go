package sip

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pion/rtp"

	"riptide/bridge"
	media "riptide/sip/rtp"
	"riptide/sip/sdp"
)

// Digits go on: events in the media, and INFO.
func TestResumedCallHasDigits(t *testing.T) {
	t.Parallel()
	c, port := mediaSocket(t)
	a, tr, d, l, body := callFor(t, "uac", port)
	_, _, legs := reborn(t, a, tr, l.Record())
	e := &ear{}
	legs[0].Media().Join(e)
	pk := rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 101, SequenceNumber: 1, SSRC: 5, Marker: true}, Payload: []byte{5, 0x8a, 3, 32}}
	b, err := pk.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.WriteToUDPAddrPort(b, mediaOf(t, body)); err != nil {
		t.Fatal(err)
	}
	if f := e.wait(t, 1)[0]; f.Codec != bridge.TelephoneEvent || f.Payload[0] != 5 {
		t.Errorf("%+v", f)
	}
	legs[0].Media().Push(&bridge.Frame{Codec: bridge.TelephoneEvent, Marker: true, Seq: 1, Timestamp: 160, Payload: []byte{7, 0x8a, 3, 32}})
	if got := heard(t, c); got.PayloadType != 101 || got.Payload[0] != 7 {
		t.Errorf("%v", got)
	}
	hangUp(t, d, legs[0])
}

// protectedEar is a peer's media end with SRTP.
func protectedEar(t *testing.T) *media.Port {
	t.Helper()
	pool, err := media.NewPool(loopback, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	port, err := pool.Open(media.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { port.Close() })
	return port
}

// Keys of SDES are in the record: both ends open what the other sends, and a
// refresh after the crash keeps the keys.
func TestResumedCallIsProtected(t *testing.T) {
	t.Parallel()
	peerEnd := protectedEar(t)
	p := newPeer(t)
	tr := secureTrunk(SRTPRequired, true)
	tr.Peer = p.addr().String()
	acc := newAcceptor()
	a := startAgent(t, acc, tr)
	d := p.caller(a)
	offer := strings.Replace(secureSDP(1, "RTP/SAVP", 'a'), "m=audio 40000", fmt.Sprintf("m=audio %d", peerEnd.Local().Port()), 1)
	d.invite(offer)
	l := acc.next(t)
	answer(t, l)
	res := d.status(200, "INVITE")
	d.learn(res)
	d.ack("")
	confirmedNow(t, l)
	configure := func(answer []byte) {
		t.Helper()
		theirs, err1 := sdp.Parse([]byte(offer))
		ours, err2 := sdp.Parse(answer)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		agreed, err := sdp.Accepted(theirs, ours)
		if err != nil {
			t.Fatal(err)
		}
		peerEnd.Configure(agreed)
	}
	configure(res.Body())
	talk := func(l bridge.Leg, from uint64) {
		t.Helper()
		here, there := &ear{}, &ear{}
		l.Media().Join(here)
		peerEnd.Join(there)
		for i := range uint64(20) {
			f := bridge.Frame{Codec: bridge.PCMA, Seq: from + i, Timestamp: (from + i) * 160, Payload: make([]byte, 160)}
			l.Media().Push(&f)
			peerEnd.Push(&f)
		}
		here.wait(t, 20)
		there.wait(t, 20)
		if st := peerEnd.Stats(); st.Undecrypted != 0 {
			t.Errorf("%+v", st)
		}
	}
	talk(l, 1)
	_, _, legs := reborn(t, a, tr, l.Record())
	talk(legs[0], 100)
	d.do("INVITE", offer)
	again := d.answer(200, "INVITE")
	d.ack("")
	if string(again.Body()) != string(res.Body()) {
		t.Errorf("%s\nis followed by\n%s", res.Body(), again.Body())
	}
	configure(again.Body())
	talk(legs[0], 200)
	hangUp(t, d, legs[0])
}
