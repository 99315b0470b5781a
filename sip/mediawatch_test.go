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
	const limit = 400 * time.Millisecond
	for _, c := range []struct {
		name  string
		limit time.Duration
		sends func(t *testing.T) [][]byte
		attrs string
		ends  bool
	}{
		{"nothing at all", limit, nil, "", true},
		{"no limit", 0, nil, "", false},
		{"muted: reports only", limit, reportsOnly, "", false},
		{"silent: comfort noise that nobody agreed on", limit, noiseOnly, "", false},
		{"held: sendonly", limit, nil, "a=sendonly", false},
		{"held: inactive", limit, nil, "a=inactive", false},
		{"recvonly", limit, nil, "a=recvonly", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			phone, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = phone.Close() }()
			acc := newAcceptor()
			d := newPeer(t).caller(startAgent(t, acc, Trunk{Media: TrunkMedia{Timeout: c.limit}}))
			var attrs []string
			if c.attrs != "" {
				attrs = []string{c.attrs}
			}
			d.invite(offerSDP(1, phone.LocalAddr().(*net.UDPAddr).Port, attrs...))
			l := acc.next(t)
			if err := l.Answer(ctx, bridge.Answer{Media: pcma}); err != nil {
				t.Fatal(err)
			}
			d.learn(d.status(200, "INVITE"))
			d.ack("")
			if c.ends {
				if ev := event(t, l, bridge.Ended); ev.Cause.Code != bridge.CauseMediaLost.Code || !strings.Contains(ev.Cause.Text, "no RTP received") {
					t.Errorf("%+v", ev.Cause)
				}
				d.respond(d.request("BYE"), 200, "OK", "", "")
				closed(t, l)
				return
			}
			var packets [][]byte
			if c.sends != nil {
				packets = c.sends(t)
			}
			to := net.UDPAddrFromAddrPort(l.(*Leg).media.port.Local())
			for until := time.Now().Add(3 * limit); time.Now().Before(until); time.Sleep(limit / 8) {
				for i, b := range packets {
					at := *to
					at.Port += i // the reports go beside the media
					if _, err := phone.WriteToUDP(b, &at); err != nil {
						t.Fatal(err)
					}
				}
			}
			select {
			case ev := <-l.Events():
				t.Fatalf("%v: %v", ev.Kind, ev.Cause)
			default:
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
