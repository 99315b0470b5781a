package sip

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"riptide/bridge"
)

// TestTapSeesThroughTLS: whoever watches sees every message as it is, once, with
// both ends, also where the wire shows nothing; media by the Call-ID.
func TestTapSeesThroughTLS(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var seen []string
	media := map[string]bool{}
	ca, acc := newAuthority(t), newAcceptor()
	var ours, theirs netip.AddrPort
	a := startAgent(t, acc, Trunk{Transport: "tls"}, func(c *Config) {
		c.Listen = append(c.Listen, "tls:127.0.0.1:0")
		c.Certificate = shows(ca.issue(nil, "riptide.example", "127.0.0.1"))
		c.Tap.Message = func(m Message) {
			mu.Lock()
			defer mu.Unlock()
			if line, _, _ := strings.Cut(string(m.Bytes), "\r\n"); m.Transport == "TLS" {
				seen = append(seen, fmt.Sprint(m.Trunk, m.Sent, " ", strings.Fields(line)[:2]))
			}
			ours, theirs = m.Local, m.Remote
		}
		c.Tap.Media = func(leg string, _ bool, _, _ netip.AddrPort, _ []byte) {
			mu.Lock()
			defer mu.Unlock()
			media[leg] = true
		}
	})
	conn, err := dialTLS(t, ca, a.at(overTLS), nil, tls.VersionTLS13)
	if err != nil {
		t.Fatal(err)
	}
	p := newTCPPeer(t, conn)
	d := p.caller(a)
	d.uri = "sip:+12025550199@riptide.example"
	d.invite(offerSDP(1, 40000))
	l := acc.next(t)
	if err := l.Answer(ctx, bridge.Answer{Media: pcma}); err != nil {
		t.Fatal(err)
	}
	d.learn(d.status(200, "INVITE"))
	d.ack("")
	end(t, p, l)
	mu.Lock()
	defer mu.Unlock()
	got := strings.Join(seen, "\n")
	for _, want := range []string{"pbxfalse [INVITE ", "pbxtrue [SIP/2.0 100]", "pbxtrue [SIP/2.0 200]", "pbxfalse [ACK ", "pbxtrue [BYE ", "pbxfalse [SIP/2.0 200]"} {
		if strings.Count(got, want) != 1 {
			t.Errorf("%q is not there once:\n%s", want, got)
		}
	}
	if ours != a.at(overTLS) || theirs != addrPortOf(conn.LocalAddr()) {
		t.Errorf("between %v and %v", ours, theirs)
	}
	if len(media) > 1 || len(media) == 1 && !media[l.Info().ID] {
		t.Errorf("media of %v, the leg is %s", media, l.Info().ID)
	}
}
