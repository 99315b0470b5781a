package bridge

import (
	"testing"
	"time"
)

// livekit/sip#424: "picked up but no sound", and nobody could say why.
func TestWordsAboutMedia_livekit424(t *testing.T) {
	t.Parallel()
	const here, there = "192.0.2.1:4000", "203.0.113.9:61000"
	good := MediaStats{Carrier: "rtp", Received: 1000, Sent: 1000, Peer: here, Said: here}
	with := func(f func(*MediaStats)) MediaStats {
		m := good
		f(&m)
		return m
	}
	none := MediaStats{Carrier: "rtp", Sent: 10, Said: here}
	for _, c := range []struct {
		m    MediaStats
		want string
	}{
		{good, ""},
		{MediaStats{Carrier: "webtransport"}, ""},
		{none, "no RTP received (SDP said it would come from 192.0.2.1:4000: is a firewall between, or the address a private one?)"},
		{MediaStats{Carrier: "rtp"}, "no RTP received; no RTP sent"},
		{MediaStats{Carrier: "rtp", Sent: 1, Undecrypted: 70, Said: here}, "decrypt failed: none of 70 packets fits the key that was agreed on"},
		{MediaStats{Carrier: "rtp", Sent: 1, UnknownPayload: 70, Said: here}, "nothing understood: 70 packets, all of payload types that nobody agreed on"},
		{MediaStats{Carrier: "rtp", Sent: 1, Malformed: 7, Said: here}, "nothing understood: 7 packets, none of them RTP"},
		{MediaStats{Carrier: "rtp", Sent: 1, Foreign: 7, Said: here}, "no RTP received from the peer; 7 packets came from elsewhere"},
		{with(func(m *MediaStats) { m.Peer = there }), "received from 203.0.113.9:61000, SDP said 192.0.2.1:4000"},
		{with(func(m *MediaStats) { m.Peer = "" }), ""}, // it ended on hold
		{with(func(m *MediaStats) { m.Undecrypted = 60 }), "60 packets could not be decrypted"},
		{with(func(m *MediaStats) { m.Undecrypted = 5 }), ""},
		{with(func(m *MediaStats) { m.UnknownPayload = 200 }), "200 packets were of payload types that nobody agreed on"},
		{with(func(m *MediaStats) { m.Lost = 250 }), "20 % of what the peer sent was lost"},
		{with(func(m *MediaStats) { m.PeerLost = 100 }), "10 % of what we sent was lost, says the peer"},
		{with(func(m *MediaStats) { m.Trouble = "DTLS failed" }), "DTLS failed"},
	} {
		if got := c.m.Words(time.Minute); got != c.want {
			t.Errorf("%+v:\nhave %q\nwant %q", c.m, got, c.want)
		}
	}
	if got := none.Words(time.Second); got != "" {
		t.Errorf("of a short call: %q", got)
	}
}
