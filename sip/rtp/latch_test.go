package rtp

import (
	"net/netip"
	"testing"
	"time"
)

var (
	said  = netip.MustParseAddrPort("10.0.0.1:4000") // what the SDP says
	nat   = netip.MustParseAddrPort("203.0.113.9:61000")
	spoof = netip.MustParseAddrPort("198.51.100.66:7")
	start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
)

// burst is n packets from one source, step apart.
type burst struct {
	from    netip.AddrPort
	ssrc    uint32
	n       int
	step    time.Duration
	reopen  netip.AddrPort // a re-INVITE comes before the burst, with this address
	admits  int            // how many of them are let in
	target  netip.AddrPort // where we send afterwards
	latched bool
}

func TestLatch(t *testing.T) {
	t.Parallel()
	const ms20 = 20 * time.Millisecond
	none := netip.AddrPort{}
	cases := []struct {
		name   string
		sdp    netip.AddrPort
		bursts []burst
	}{
		{"the SDP tells the truth", said, []burst{
			{said, 1, 4, ms20, none, 4, said, false},
			{said, 1, 1, ms20, none, 1, said, true},
			{spoof, 1, 100, ms20, none, 0, said, true},
		}},
		{"symmetric NAT: the SDP lies, nothing is lost", said, []burst{
			{nat, 1, 4, ms20, none, 4, said, false},
			{nat, 1, 1, ms20, none, 1, nat, true},
			{spoof, 2, 100, ms20, none, 0, nat, true},
		}},
		{"no address in the SDP", none, []burst{
			{nat, 1, 5, ms20, none, 5, nat, true},
		}},
		{"a spoofer during the first packets", said, []burst{
			{said, 1, 1, ms20, none, 1, said, false},
			{spoof, 9, 20, 0, none, 0, said, false},
			{said, 1, 4, ms20, none, 4, said, true},
		}},
		{"a spoofer before the peer speaks loses to the SDP's address", said, []burst{
			{spoof, 9, 50, ms20, none, 50, spoof, true},
			{said, 1, 4, ms20, none, 0, spoof, true},
			{said, 1, 1, ms20, none, 1, said, true},
			{spoof, 9, 50, ms20, none, 0, said, true},
		}},
		{"a second stranger does not disturb the first", said, []burst{
			{nat, 1, 3, ms20, none, 3, said, false},
			{spoof, 9, 10, 0, none, 0, said, false},
			{nat, 1, 2, ms20, none, 2, nat, true},
		}},
		{"a candidate that falls silent makes room", said, []burst{
			{spoof, 9, 2, ms20, none, 2, said, false},
			{nat, 1, 1, 2 * time.Second, none, 1, said, false},
			{nat, 1, 4, ms20, none, 4, nat, true},
		}},
		{"a row under changing SSRCs is no row", said, []burst{
			{nat, 1, 4, ms20, none, 4, said, false},
			{nat, 2, 4, ms20, none, 4, said, false},
			{nat, 2, 1, ms20, none, 1, nat, true},
		}},
		{"re-INVITE moves the media", said, []burst{
			{said, 1, 10, ms20, none, 10, said, true},
			{said, 1, 10, ms20, nat, 10, nat, false}, // still on their way
			{nat, 2, 5, ms20, none, 5, nat, true},
			{said, 1, 60, ms20, none, 0, nat, true},
		}},
		{"re-INVITE moves the media of a peer behind NAT", said, []burst{
			{said, 1, 10, ms20, none, 10, said, true},
			{said, 1, 10, ms20, spoof, 10, spoof, false},
			{nat, 2, 5, ms20, none, 5, nat, true},
		}},
		{"re-INVITE changes the SDP but not where media comes from", said, []burst{
			{nat, 1, 10, ms20, none, 10, nat, true},
			{nat, 1, 49, ms20, spoof, 49, spoof, false},
			{nat, 1, 1, ms20, none, 1, nat, true},
		}},
		{"a refresh learns again but keeps sending to the same place", said, []burst{
			{nat, 1, 10, ms20, none, 10, nat, true},
			{spoof, 9, 4, 0, said, 4, nat, false},
			{nat, 1, 1, ms20, none, 1, nat, true},
			{spoof, 9, 50, 0, none, 0, nat, true},
		}},
		{"NAT forgets its mapping: same SSRC after a silence", said, []burst{
			{said, 1, 10, ms20, none, 10, said, true},
			{nat, 1, 10, ms20, none, 0, said, true},
			{nat, 1, 1, 2 * time.Second, none, 0, said, true},
			{nat, 1, 4, ms20, none, 1, nat, true},
		}},
		{"silence is no invitation to another SSRC", said, []burst{
			{said, 1, 10, ms20, none, 10, said, true},
			{spoof, 9, 100, time.Second, none, 0, said, true},
		}},
		{"the peer restarts under a new SSRC", said, []burst{
			{said, 1, 10, ms20, none, 10, said, true},
			{said, 7, 10, ms20, none, 10, said, true},
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			now := start
			var l latch
			l.reopen(c.sdp)
			for i, b := range c.bursts {
				if b.reopen.IsValid() {
					l.reopen(b.reopen)
				}
				admits := 0
				for range b.n {
					now = now.Add(b.step)
					if l.admit(b.from, b.ssrc, now) {
						admits++
					}
				}
				if admits != b.admits || l.target() != b.target || l.locked.IsValid() != b.latched {
					t.Errorf("burst %d: %d let in, sending to %v, latched %v; want %d, %v, %v",
						i, admits, l.target(), l.locked.IsValid(), b.admits, b.target, b.latched)
				}
			}
		})
	}
}
