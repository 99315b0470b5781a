package sip

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"riptide/bridge"
)

// secureSDP is a description of a PBX with SRTP, under a key that the byte names.
func secureSDP(version int, profile string, key byte) string {
	return strings.Replace(offerSDP(version, 40000, cryptoLine(3, key)), "RTP/AVP", profile, 1)
}

var dtlsSDP = strings.Replace(offerSDP(1, 40000, "a=setup:actpass",
	"a=fingerprint:sha-256 8C:71:B3:8D:A5:38:FD:8F:A4:2E:A2:65:6C:86:52:BC:E0:6E:94:F2:9F:7C:4D:B5:DF:AF:AA:6F:44:90:8D:F4"), "RTP/AVP", "UDP/TLS/RTP/SAVP", 1)

func cryptoLine(tag int, key byte) string {
	return fmt.Sprintf("a=crypto:%d AES_CM_128_HMAC_SHA1_80 inline:%s", tag, base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune(key)), 30))))
}

// cryptoOf is the line with a key in a description.
func cryptoOf(body []byte) string {
	for line := range strings.SplitSeq(string(body), "\r\n") {
		if strings.HasPrefix(line, "a=crypto:") {
			return line
		}
	}
	return ""
}

func secureTrunk(p SRTP, clear bool) Trunk {
	return Trunk{Media: TrunkMedia{SRTP: p, KeysInClear: clear}}
}

func TestOfferedProtectionByPolicy(t *testing.T) {
	t.Parallel()
	plain, secret, either := offerSDP(1, 40000), secureSDP(1, "RTP/SAVP", 'a'), secureSDP(1, "RTP/AVP", 'a')
	for _, c := range []struct {
		name  string
		trunk Trunk
		offer string
		want  string // profile of the answer, with its key's tag; or words of the Warning
	}{
		{"off, plain", secureTrunk(SRTPOff, true), plain, "RTP/AVP"},
		{"off, both", secureTrunk(SRTPOff, true), either, "RTP/AVP"},
		{"off, secret", secureTrunk(SRTPOff, true), secret, "sip.srtp is off"},
		{"optional, plain", secureTrunk(SRTPOptional, true), plain, "RTP/AVP"},
		{"optional, both", secureTrunk(SRTPOptional, true), either, "RTP/AVP a=crypto:3"},
		{"optional, secret", secureTrunk(SRTPOptional, true), secret, "RTP/SAVP a=crypto:3"},
		{"the default takes no keys in the clear", Trunk{}, secret, "keys are taken over TLS only"},
		{"the default, both", Trunk{}, either, "RTP/AVP"},
		{"required, plain", secureTrunk(SRTPRequired, true), plain, "sip.srtp is required"},
		{"required, both", secureTrunk(SRTPRequired, true), either, "RTP/AVP a=crypto:3"},
		{"optional, DTLS", Trunk{}, dtlsSDP, "UDP/TLS/RTP/SAVP a=setup:active"},
		{"off, DTLS", secureTrunk(SRTPOff, false), dtlsSDP, "sip.srtp is off"},
		{"dtls, DTLS", secureTrunk(SRTPDTLS, false), dtlsSDP, "UDP/TLS/RTP/SAVP a=setup:active"},
		{"dtls, keys", secureTrunk(SRTPDTLS, true), secret, "sip.srtp is dtls"},
		{"required without a way for keys, DTLS", secureTrunk(SRTPRequired, false), dtlsSDP, "UDP/TLS/RTP/SAVP a=setup:active"},
		{"required, secret", secureTrunk(SRTPRequired, true), secret, "RTP/SAVP a=crypto:3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			acc := newAcceptor()
			d := newPeer(t).caller(startAgent(t, acc, c.trunk))
			d.invite(c.offer)
			if !strings.Contains(c.want, "RTP/") {
				res := d.status(488, "INVITE")
				if w := headerValues(res, "Warning"); len(w) != 1 || !strings.Contains(w[0], c.want) {
					t.Errorf("Warning %q, want %q", w, c.want)
				}
				d.ackRefusal(res)
				return
			}
			l := acc.next(t)
			if err := l.Answer(ctx, bridge.Answer{Media: pcma}); err != nil {
				t.Fatal(err)
			}
			res := d.status(200, "INVITE")
			d.learn(res)
			d.ack("")
			profile, line, _ := strings.Cut(c.want, " ")
			body := string(res.Body())
			if !strings.Contains(body, " "+profile+" ") || !strings.Contains(body, line) {
				t.Errorf("want %s:\n%s", c.want, body)
			}
			if protected := strings.Contains(body, "a=crypto:") || strings.Contains(body, "a=fingerprint:"); protected != (line != "") {
				t.Errorf("protected: %v\n%s", protected, body)
			}
			hangUp(t, d, l)
		})
	}
}

// sipwise/rtpengine#1443 and pjsip/pjproject#2682: our key stays while the
// peer's does, and with it the roll-over counter; a peer with a new key, which may
// be somebody else, gets one that begins anew.
func TestKeysAcrossReinvites_rtpengine1443(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	d := newPeer(t).caller(startAgent(t, acc, secureTrunk(SRTPRequired, true)))
	d.invite(secureSDP(1, "RTP/SAVP", 'a'))
	l := acc.next(t)
	if err := l.Answer(ctx, bridge.Answer{Media: pcma}); err != nil {
		t.Fatal(err)
	}
	res := d.status(200, "INVITE")
	d.learn(res)
	d.ack("")
	first := cryptoOf(res.Body())
	again := func(body string, changes bool) string {
		t.Helper()
		d.do("INVITE", body)
		if changes {
			event(t, l, bridge.MediaChanged)
		}
		res := d.answer(200, "INVITE")
		d.ack("")
		return cryptoOf(res.Body())
	}
	if got := again(secureSDP(1, "RTP/SAVP", 'a'), false); got != first {
		t.Errorf("a refresh changed our key from %s to %s", first, got)
	}
	if got := again(strings.Replace(secureSDP(2, "RTP/SAVP", 'a'), "audio 40000", "audio 40010", 1), true); got != first {
		t.Errorf("another address changed our key from %s to %s", first, got)
	}
	second := again(secureSDP(3, "RTP/SAVP", 'b'), true)
	if second == first || second == "" {
		t.Errorf("the peer has a new key, ours is still %s", second)
	}
	d.do("INVITE", "") // who is asked to answer may know nothing of the call
	offer := d.answer(200, "INVITE")
	if third := cryptoOf(offer.Body()); third == "" || strings.Contains(string(offer.Body()), strings.Fields(second)[2]) {
		t.Errorf("the key in our late offer is the old one, %s", third)
	}
	d.ack(strings.Replace(secureSDP(4, "RTP/SAVP", 'c'), "crypto:3", "crypto:5", 1))
	event(t, l, bridge.MediaChanged)
	d.do("INVITE", offerSDP(5, 40000)) // would go on in the clear
	if res := d.answer(488, "INVITE"); len(headerValues(res, "Warning")) != 1 {
		t.Errorf("%s", res)
	}
	d.send(d.make("ACK", d.seq, lastBranch(d), ""))
	hangUp(t, d, l)
}

func TestOfferByPolicy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		trunk   TrunkMedia
		profile string
		lines   int
		answer  string
		fails   bool
	}{
		{"default", TrunkMedia{}, "RTP/AVP", 0, offerSDP(1, 41000), false},
		{"optional, not taken", TrunkMedia{KeysInClear: true}, "RTP/AVP", 6, offerSDP(1, 41000), false},
		{"optional, taken", TrunkMedia{KeysInClear: true}, "RTP/AVP", 6, strings.Replace(secureSDP(1, "RTP/AVP", 'a'), "crypto:3", "crypto:5", 1), false},
		{"required", TrunkMedia{SRTP: SRTPRequired, KeysInClear: true}, "RTP/SAVP", 6, strings.Replace(secureSDP(1, "RTP/SAVP", 'a'), "crypto:3", "crypto:5", 1), false},
		{"dtls", TrunkMedia{SRTP: SRTPDTLS}, "UDP/TLS/RTP/SAVP", 0, strings.Replace(dtlsSDP, "actpass", "active", 1), false},
		{"required without a way for keys", TrunkMedia{SRTP: SRTPRequired}, "UDP/TLS/RTP/SAVP", 0, strings.Replace(dtlsSDP, "actpass", "passive", 1), false},
		{"required, not taken", TrunkMedia{SRTP: SRTPRequired, KeysInClear: true}, "RTP/SAVP", 6, offerSDP(1, 41000), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, p, l, inv := dialled(t, func(tr *Trunk) { tr.Media = c.trunk })
			if n := strings.Count(string(inv.Body()), "a=crypto:"); n != c.lines || !strings.Contains(string(inv.Body()), " "+c.profile+" ") {
				t.Errorf("%d keys, want %d and %s:\n%s", n, c.lines, c.profile, inv.Body())
			}
			p.respond(inv, 200, "OK", "a", c.answer)
			p.request("ACK")
			if c.fails {
				if ev := event(t, l, bridge.Ended); ev.Cause.Code != bridge.CauseMediaIncompatible.Code {
					t.Errorf("%+v", ev.Cause)
				}
			} else {
				event(t, l, bridge.Answered)
				if err := l.End(ctx, bridge.CauseNormal); err != nil {
					t.Fatal(err)
				}
			}
			p.respond(p.request("BYE"), 200, "OK", "a", "")
			closed(t, l)
		})
	}
}

// Where protection is required, a peer that had it at first cannot talk its way
// out of it in answering an offer of ours.
func TestRequiredProtectionIsNotAnsweredAway(t *testing.T) {
	t.Parallel()
	secret := secureSDP(1, "RTP/AVP", 'a')
	for name, body := range map[string]string{"RTP/AVP with keys": secret, "RTP/AVP with a fingerprint": strings.Replace(dtlsSDP, "UDP/TLS/RTP/SAVP", "RTP/AVP", 1)} {
		t.Run("late offer after "+name, func(t *testing.T) {
			t.Parallel()
			d, l := protectedCall(t, body)
			d.do("INVITE", "")
			d.answer(200, "INVITE")
			d.ack(offerSDP(2, 40000))
			endsUnprotected(t, d, l)
		})
		t.Run("offer of ours after "+name, func(t *testing.T) {
			t.Parallel()
			d, l := protectedCall(t, body)
			if err := l.(bridge.Adapter).Adapt(ctx, bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMU}}); err != nil {
				t.Fatal(err)
			}
			d.respond(d.request("INVITE"), 200, "OK", "", muLaw(2))
			endsUnprotected(t, d, l)
		})
	}
}

// protectedCall is a call over a trunk that requires protection.
func protectedCall(t *testing.T, body string) (*dlg, bridge.Leg) {
	t.Helper()
	acc := newAcceptor()
	d := newPeer(t).caller(startAgent(t, acc, secureTrunk(SRTPRequired, true)))
	d.invite(body)
	l := acc.next(t)
	answer(t, l)
	d.learn(d.status(200, "INVITE"))
	d.ack("")
	return d, l
}

func endsUnprotected(t *testing.T, d *dlg, l bridge.Leg) {
	t.Helper()
	if ev := event(t, l, bridge.Ended); ev.Cause.Code != bridge.CauseMediaIncompatible.Code || !strings.Contains(ev.Cause.Text, "sip.srtp is required") {
		t.Errorf("ended by %+v", ev.Cause)
	}
	d.respond(d.request("BYE"), 200, "OK", "", "")
	closed(t, l)
}
