package sip

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"riptide/bridge"
)

// livekit/sip#812: a call ended because nobody spoke. Here only one ends whose
// peer sends nothing whatever though it should, and only where the trunk says so.
func TestMediaTimeout_livekit812(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	d := newPeer(t).caller(startAgent(t, acc, Trunk{Media: TrunkMedia{Timeout: 300 * time.Millisecond}}))
	l := establish(t, acc, d)
	if ev := event(t, l, bridge.Ended); ev.Cause.Code != bridge.CauseMediaLost.Code || !strings.Contains(ev.Cause.Text, "no RTP received") {
		t.Errorf("%+v", ev.Cause)
	}
	d.respond(d.request("BYE"), 200, "OK", "", "")
	closed(t, l)
}

// Who is there although nobody hears it.
func TestSilenceThatIsNoLoss_livekit812(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		sends  func(t *testing.T) [][]byte
		attrs  []string
		silent bool
	}{
		{"nothing at all", nil, nil, true},
		{"muted: reports only", reportsOnly, nil, false},
		{"silent: comfort noise that nobody agreed on", noiseOnly, nil, false},
		{"held: sendonly", nil, []string{"a=sendonly"}, false},
		{"held: inactive", nil, []string{"a=inactive"}, false},
		{"recvonly", nil, []string{"a=recvonly"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			phone, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = phone.Close() }()
			acc := newAcceptor()
			d := newPeer(t).caller(startAgent(t, acc, Trunk{Media: TrunkMedia{Timeout: time.Hour}}))
			d.invite(offerSDP(1, phone.LocalAddr().(*net.UDPAddr).Port, c.attrs...))
			l := acc.next(t)
			if err := l.Answer(ctx, bridge.Answer{Media: pcma}); err != nil {
				t.Fatal(err)
			}
			d.learn(d.status(200, "INVITE"))
			d.ack("")
			leg := l.(*Leg)
			later := time.Now().Add(2 * time.Hour)
			if c.sends != nil {
				to := net.UDPAddrFromAddrPort(leg.media.port.Local())
				for i, b := range c.sends(t) {
					at := *to
					at.Port += i // the reports go beside the media
					if _, err := phone.WriteToUDP(b, &at); err != nil {
						t.Fatal(err)
					}
				}
				for leg.media.port.LastHeard().IsZero() {
					time.Sleep(time.Millisecond)
				}
				later = leg.media.port.LastHeard().Add(time.Minute)
			}
			var silent time.Duration
			if err := leg.box.do(ctx, func() { silent = leg.mediaSilent(later) }); err != nil {
				t.Fatal(err)
			}
			if (silent >= time.Hour) != c.silent {
				t.Errorf("silent for %v", silent)
			}
			hangUp(t, d, l)
		})
	}
}

func reportsOnly(t *testing.T) [][]byte {
	b, err := rtcp.Marshal([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: 7}, rtcp.NewCNAMESourceDescription(7, "phone")})
	if err != nil {
		t.Fatal(err)
	}
	return [][]byte{nil, b}
}

func noiseOnly(t *testing.T) [][]byte {
	b, err := (&rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 13, SSRC: 7}, Payload: []byte{60}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return [][]byte{b}
}
