package sip

import (
	"crypto/rand"
	"fmt"

	"riptide/bridge"
	"riptide/sip/rtp"
	"riptide/sip/sdp"
)

// SRTP says how the media of a trunk's calls is protected.
type SRTP string

// The policies. The default is SRTPOptional.
const (
	SRTPOff      SRTP = "off"      // not at all: a peer that insists on it is refused
	SRTPOptional SRTP = "optional" // where the peer has it (RFC 8643)
	SRTPRequired SRTP = "required" // calls without it are refused, both ways
	SRTPDTLS     SRTP = "dtls"     // the same, with keys by DTLS (RFC 5763) only
)

func (p SRTP) check() (SRTP, error) {
	switch p {
	case "":
		return SRTPOptional, nil
	case SRTPOff, SRTPOptional, SRTPRequired, SRTPDTLS:
		return p, nil
	}
	return "", fmt.Errorf("srtp %q is not known, use off, optional, required or dtls", p)
}

// security is the protection of one leg's media: the policy, and our keys.
type security struct {
	policy       SRTP
	travel       bool // keys may stand in the session descriptions of this leg
	audio, video []sdp.Crypto
	certificate  sdp.Fingerprint
}

// securityOver is the protection of a leg whose signalling goes over a
// transport. Keys that anybody can read protect nothing (RFC 4568 section
// 8.1), so over anything but TLS there are none, unless the trunk says so.
func (t *trunk) securityOver(over transport) security {
	return security{policy: t.Media.SRTP, travel: over.secure() || t.Media.KeysInClear, certificate: someCertificate}
}

// someCertificate stands for ours as long as only its being there counts.
var someCertificate = sdp.Fingerprint{Hash: "sha-256"}

// accepts is what we take of an offer. Before there are keys it tells the
// suites.
func (s *security) accepts() sdp.Security {
	if s.policy == SRTPOff {
		return sdp.Security{}
	}
	sec := sdp.Security{Required: s.required(), Fingerprint: s.certificate}
	if s.travel && s.policy != SRTPDTLS {
		sec.Cryptos, sec.Video = s.keys()
	}
	return sec
}

// offers is what we offer in a session that has agreed on a (nil: on nothing
// yet). What is in force stays; what was not taken is not pressed again.
func (s *security) offers(a *sdp.Agreed) sdp.Security {
	sec := s.accepts()
	switch {
	case a == nil && len(sec.Cryptos) > 0, a != nil && a.Audio.Protection.Keying == sdp.SDES:
		sec.Fingerprint = sdp.Fingerprint{}
	case a == nil && !sec.Required, a != nil && a.Audio.Protection.Keying == sdp.Clear:
		// Telephones that know DTLS offer it; others may stumble over it.
		return sdp.Security{Required: sec.Required}
	default:
		sec.Cryptos, sec.Video = nil, nil
	}
	return sec
}

func (s *security) required() bool { return s.policy == SRTPRequired || s.policy == SRTPDTLS }

// suffices judges what an answer left of our offer. One under RTP/AVP, as the
// peer's own was, can be answered without protection; video that is goes.
func (s *security) suffices(a *sdp.Agreed) bool {
	if !s.required() {
		return true
	}
	if a.Video.Protection.Keying == sdp.Clear {
		a.Video = sdp.Stream{}
	}
	return a.Audio.Protection.Keying != sdp.Clear
}

// keys are our keys, or the suites while there are none.
func (s *security) keys() (audio, video []sdp.Crypto) {
	if s.audio == nil {
		return bareSuites, bareSuites
	}
	return s.audio, s.video
}

// bareSuites are the suites without keys.
var bareSuites = func() (out []sdp.Crypto) {
	for i, suite := range sdp.Suites() {
		out = append(out, sdp.Crypto{Tag: uint32(i + 1), Suite: suite.Name})
	}
	return out
}()

// renew makes new keys. They are for the life of the session (the same keys
// again leave the roll-over counters as they are), unless somebody else may be
// at the other end.
func (s *security) renew() {
	if s.policy == SRTPOff || !s.travel {
		return // nobody will see them
	}
	s.audio, s.video = newKeys(), newKeys()
}

func newKeys() []sdp.Crypto {
	out := make([]sdp.Crypto, len(bareSuites))
	for i, c := range bareSuites {
		suite, _ := sdp.SuiteNamed(c.Suite)
		c.Key = make(sdp.Secret, suite.Key+suite.Salt)
		_, _ = rand.Read(c.Key) // never fails (crypto/rand)
		out[i] = c
	}
	return out
}

// canTalk refuses an offer that has nothing for us, before anybody is rung.
func (s *security) canTalk(d sdp.Description) (bridge.MediaOffer, error) {
	sec := s.accepts()
	o, ok := rtp.OfferOf(d.Acceptable(sec))
	if why := d.Insecure(sec); !ok && why != "" {
		return bridge.MediaOffer{}, bridge.CauseMediaIncompatible.With("%s%s", why, s.hint())
	}
	if !ok {
		return bridge.MediaOffer{}, bridge.CauseMediaIncompatible.With("the offer has no audio over RTP that we could use")
	}
	if len(o.Speech) == 0 {
		m, _ := d.Acceptable(sec).Audio()
		return bridge.MediaOffer{}, bridge.CauseMediaIncompatible.With("no speech codec in common: offered %v, we have opus, G722, PCMU and PCMA", m.Formats)
	}
	return o, nil
}

// hint is which key of the trunk would mend it.
func (s *security) hint() string {
	switch {
	case s.policy == SRTPOff:
		return " (sip.srtp is off)"
	case s.required() && (s.travel || s.policy == SRTPDTLS):
		return fmt.Sprintf(" (sip.srtp is %s)", s.policy)
	case !s.travel:
		return " (keys are taken over TLS only: use sip.transport tls, or sip.srtp-keys clear)"
	}
	return ""
}

// rekeyed tells that the peer protects what it sends under another key than
// before: perhaps it is another one, who knows nothing of the roll-over counter
// of what we send.
func (s *session) rekeyed(a sdp.Agreed) bool {
	if s.agreed == nil {
		return false
	}
	changed := func(before, now sdp.Protection) bool {
		return before.Keying == sdp.SDES && now.Keying == sdp.SDES && !before.Theirs.Equal(now.Theirs)
	}
	return changed(s.agreed.Audio.Protection, a.Audio.Protection) || changed(s.agreed.Video.Protection, a.Video.Protection)
}

// warnOfKeys says at the start which calls can be heard by whoever can read
// their signalling, though they look protected.
func (a *Agent) warnOfKeys() {
	for _, t := range a.trunks {
		if t.Media.KeysInClear && !t.over.secure() && t.Media.SRTP != SRTPOff && t.Media.SRTP != SRTPDTLS {
			a.cfg.Logger.Warn("keys of SRTP travel readable: whoever sees the signalling can hear the calls (use sip.transport tls, or sip.srtp dtls)",
				"trunk", t.Name, "transport", t.over)
		}
	}
}
