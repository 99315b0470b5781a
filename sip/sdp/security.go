package sdp

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Security is how our end protects its media. The zero value: not at all.
type Security struct {
	Required    bool        // unprotected media is not acceptable
	Cryptos     []Crypto    // SDES: our keys, one for each suite, the best first; empty = none
	Video       []Crypto    // the same for video, since no two streams share a key
	Fingerprint Fingerprint // DTLS: of our certificate; zero = none
	Passive     bool        // we wait for the peer in the DTLS association that there is
}

// Keying is how the two ends of a stream come to their keys.
type Keying uint8

// The ways.
const (
	Clear   Keying = iota // there are none: media is not protected
	SDES                  // in the session descriptions (RFC 4568)
	DTLS                  // by a handshake on the way of the media (RFC 5763)
	Pending               // not known yet: our offer has no answer
)

// Protection is what was agreed on for the protection of one stream.
type Protection struct {
	Keying Keying
	Ours   Crypto // of SDES: for what we send
	Theirs Crypto // of SDES: for what they send

	Fingerprint Fingerprint // of DTLS: of the peer's certificate
	Active      bool        // of DTLS: we begin
}

// Same tells whether both use the same keys, or come to them in the same way.
func (p Protection) Same(o Protection) bool {
	return p.Keying == o.Keying && p.Ours.Equal(o.Ours) && p.Theirs.Equal(o.Theirs) && p.Fingerprint == o.Fingerprint && p.Active == o.Active
}

// ErrNoKey says that there is no way to a key for the media, or that there has to
// be one.
var ErrNoKey = errors.New("no protection of media in common")

// Profiles of sections over RTP.
const (
	avp     = "RTP/AVP"
	avpf    = "RTP/AVPF"
	savp    = "RTP/SAVP"
	savpf   = "RTP/SAVPF"
	tlsavp  = "UDP/TLS/RTP/SAVP"
	tlsavpf = "UDP/TLS/RTP/SAVPF"
)

// overRTP tells the profiles that we read.
func overRTP(proto string) bool {
	switch proto {
	case avp, avpf, savp, savpf, tlsavp, tlsavpf:
		return true
	}
	return false
}

// secure tells the profiles under which nothing goes unprotected.
func (m Media) secure() bool { return m.Proto != avp && m.Proto != avpf }

// overTLS tells the profiles that leave the keys to DTLS.
func (m Media) overTLS() bool { return strings.HasPrefix(m.Proto, "UDP/TLS/") }

// proto is the profile of what we offer: SRTP may be missing under RTP/AVP only,
// where the keys are an offer that can be ignored (RFC 8643 section 3.1).
func (s Security) proto() string {
	switch {
	case !s.Required || len(s.Cryptos) == 0 && s.Fingerprint.IsZero():
		return avp
	case len(s.Cryptos) > 0:
		return savp
	}
	return tlsavp
}

// keys are our keys for the media of a section.
func (s Security) keys(m Media) []Crypto {
	if m.Type == videoType {
		return s.Video
	}
	return s.Cryptos
}

// offer adds to a section of ours what protects it.
func (s Security) offer(m Media) Media {
	if !m.overTLS() {
		m.Crypto = s.keys(m)
	}
	if len(m.Crypto) == 0 && !s.Fingerprint.IsZero() {
		m.Fingerprint, m.Setup = s.Fingerprint, SetupActpass
	}
	return m
}

// keying is how we would protect an offered section, and of SDES with which of
// the keys offered. ok is false if there is no way that suits us.
func (s Security) keying(m Media) (k Keying, theirs, ours Crypto, ok bool) {
	if !m.overTLS() {
		keys := s.keys(m)
		for _, c := range m.Crypto { // their order (RFC 4568 section 5.1.2)
			if i := slices.IndexFunc(keys, c.sameSuite); i >= 0 {
				own := keys[i]
				own.Tag, own.Suite = c.Tag, c.Suite
				return SDES, c, own, true
			}
		}
	}
	if !m.Fingerprint.IsZero() && !s.Fingerprint.IsZero() {
		return DTLS, Crypto{}, Crypto{}, true
	}
	return Clear, Crypto{}, Crypto{}, !m.secure() && !s.Required
}

// answer adds to a section of ours what the answer to m protects it with.
func (s Security) answer(ours, m Media) Media {
	k, _, key, _ := s.keying(m)
	switch k {
	case SDES:
		ours.Crypto = []Crypto{key}
	case DTLS:
		ours.Fingerprint, ours.Setup = s.Fingerprint, m.Setup.answer(s.Passive)
	}
	return ours
}

// Acceptable is the description without the sections whose protection does not
// suit us: they stand there as if they were of a kind that we do not know. Of
// two sections of a type the protected one is kept, as peers mean it that offer
// the same media twice.
func (d Description) Acceptable(s Security) Description {
	out := d
	out.Media = slices.Clone(d.Media)
	for i, m := range d.Media {
		if m.rtp() && m.Port != 0 && !s.suits(m) {
			out.Media[i] = m.aside()
		}
	}
	for _, kind := range []string{audioType, videoType} {
		best := -1
		for i, m := range out.Media {
			if k, _, _, _ := s.keying(m); m.live(kind) && (best < 0 || k != Clear && !protects(s, out.Media[best])) {
				best = i
			}
		}
		for i, m := range out.Media {
			if i < best && m.live(kind) {
				out.Media[i] = m.aside()
			}
		}
	}
	return out
}

func (s Security) suits(m Media) bool {
	_, _, _, ok := s.keying(m)
	return ok
}

func protects(s Security, m Media) bool {
	k, _, _, _ := s.keying(m)
	return k != Clear
}

// aside is the section as one that nobody reads the formats of.
func (m Media) aside() Media {
	r := m.refused()
	r.Port, r.Connection = m.Port, m.Connection
	return r
}

// Insecure says why nothing is left of a description that had audio over RTP:
// "" if that is not so.
func (d Description) Insecure(s Security) string {
	for _, m := range d.Media {
		if !m.live(audioType) || s.suits(m) {
			continue
		}
		switch {
		case !m.secure():
			return "the offer has no SRTP, which this trunk requires"
		case m.overTLS() || len(m.Crypto) == 0:
			return fmt.Sprintf("the offer wants %s, for which it or this trunk has no keys", m.Proto)
		case len(s.Cryptos) == 0:
			return fmt.Sprintf("the offer wants %s with keys in the session description, which this trunk does not take here", m.Proto)
		default:
			return "the offer has no crypto suite in common with us"
		}
	}
	return ""
}

// Keyless is the description without the keys in it, for records.
func (d Description) Keyless() Description {
	d.Media = slices.Clone(d.Media)
	for i := range d.Media {
		d.Media[i].Crypto = nil
	}
	return d
}

// protect finds what two sections came to. answer is one of both.
func protect(ours, theirs, answer Media, answered bool) (Protection, error) {
	mine, peers := ours.Crypto, theirs.Crypto
	switch {
	case len(answer.Crypto) > 0 && (answered || len(mine) > 0 || answer.secure()):
		chosen := answer.Crypto[0]
		if answered { // the answer is ours: theirs is the offered one with its tag
			for _, c := range peers {
				if c.Tag == chosen.Tag && c.sameSuite(chosen) {
					return Protection{Keying: SDES, Ours: chosen, Theirs: c}, nil
				}
			}
			return Protection{}, fmt.Errorf("our answer takes key %d, which was not offered: %w", chosen.Tag, ErrNoKey)
		}
		return accepted(mine, chosen)
	case !ours.Fingerprint.IsZero() && !theirs.Fingerprint.IsZero():
		p := Protection{Keying: DTLS, Fingerprint: theirs.Fingerprint, Active: ours.Setup == SetupActive}
		if !answered {
			p.Active = theirs.Setup == SetupPassive
		}
		return p, nil
	case ours.secure() || theirs.secure():
		return Protection{}, fmt.Errorf("the peer has %s without a key that we could use: %w", theirs.Proto, ErrNoKey)
	}
	return Protection{}, nil
}

// accepted finds which of our keys an answer took: that with its tag, or, since
// some peers count for themselves, the one of its suite.
func accepted(ours []Crypto, theirs Crypto) (Protection, error) {
	found := -1
	for i, c := range ours {
		if c.sameSuite(theirs) && (found < 0 || c.Tag == theirs.Tag) {
			found = i
		}
	}
	if found < 0 {
		return Protection{}, fmt.Errorf("the peer took key %d for %s, which we did not offer: %w", theirs.Tag, theirs.Suite, ErrNoKey)
	}
	return Protection{Keying: SDES, Ours: ours[found], Theirs: theirs}, nil
}
