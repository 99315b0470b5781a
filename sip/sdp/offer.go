package sdp

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Local is our end of the media, as the peer shall see it.
type Local struct {
	RTP     netip.AddrPort // advertised address; its family becomes the family of the description
	RTCP    netip.AddrPort // invalid = the port after RTP's
	Session uint64         // o= session id, the same for the life of the dialog
	Version uint64         // o= version; raised by one with every description that differs
	RTCPMux bool           // offer or accept reports on the media port (RFC 5761)
}

// Errors of offer and answer. The session that was before is not touched by
// them: the caller answers 488 and goes on (RFC 3261 section 14.2).
var (
	ErrNoAudio  = errors.New("no audio over plain RTP")
	ErrNoFormat = errors.New("no audio format in common")
)

// MakeOffer offers one audio section with the formats in this order.
func MakeOffer(local Local, formats []Format, ptime time.Duration, dir Direction) Description {
	d := local.description()
	d.Media = []Media{local.audio("RTP/AVP", formats, ptime, dir, local.RTCPMux)}
	return d
}

// Reoffer is a new offer in a session that runs on d, the description of ours
// that was agreed last. It keeps the place of every section, since a section
// once there can only be switched off (RFC 3264 section 8).
func (d Description) Reoffer(local Local, formats []Format, ptime time.Duration, dir Direction) Description {
	if len(d.Media) == 0 {
		return MakeOffer(local, formats, ptime, dir)
	}
	offer := local.description()
	at := max(d.audio(), 0)
	for i, m := range d.Media {
		if i != at {
			offer.Media = append(offer.Media, m.refused())
			continue
		}
		proto := "RTP/AVP"
		if m.plain() {
			proto = m.Proto
		}
		offer.Media = append(offer.Media, local.audio(proto, numbered(formats, m.Formats), ptime, dir, local.RTCPMux))
	}
	return offer
}

// numbered gives formats the payload type numbers they had before: a number
// keeps its meaning for the life of a session (RFC 3264 section 8.3.2), and
// media under the old numbers is still on its way.
func numbered(formats, before []Format) []Format {
	out := make([]Format, len(formats))
	for i, f := range formats {
		if g, ok := find(before, f); ok {
			f.Payload = g.Payload
		}
		out[i] = f
	}
	return out
}

// MakeAnswer answers offer with those of our formats that were offered, ours
// first in the order given, under the payload type numbers of the offer. Digits
// and comfort noise are accepted at the clock of the speech format only. Every
// section but the audio is refused in its place. dir is what we want; the
// answer says what remains of it under the offer.
func MakeAnswer(offer Description, local Local, formats []Format, dir Direction) (Description, error) {
	at := offer.audio()
	if at < 0 {
		return Description{}, fmt.Errorf("answer offer with %s: %w", offer.sections(), ErrNoAudio)
	}
	audio := offer.Media[at]
	chosen := choose(audio.Formats, formats)
	if len(chosen) == 0 {
		return Description{}, fmt.Errorf("answer offer of %s, we take %s: %w", list(audio.Formats), list(formats), ErrNoFormat)
	}
	answer := local.description()
	for i, m := range offer.Media {
		if i != at {
			answer.Media = append(answer.Media, m.refused())
			continue
		}
		mux := local.RTCPMux && audio.RTCPMux
		dir = dir.And(audio.Direction.Reverse())
		answer.Media = append(answer.Media, local.audio(audio.Proto, chosen, audio.PacketTime(), dir, mux))
	}
	return answer, nil
}

// choose takes from offered what ours names: the first speech format that both
// know, then what accompanies it, then the other speech formats.
func choose(offered, ours []Format) []Format {
	var speech, with []Format
	for _, f := range ours {
		if g, ok := find(offered, f); ok && !f.accompanies() {
			speech = append(speech, g)
		}
	}
	if len(speech) == 0 {
		return nil
	}
	for _, f := range ours {
		if !f.accompanies() {
			continue
		}
		f.Clock = speech[0].Clock
		if g, ok := find(offered, f); ok {
			g.Params = f.Params
			with = append(with, g)
		}
	}
	return append(append(speech[:1:1], with...), speech[1:]...)
}

func find(in []Format, f Format) (Format, bool) {
	for _, g := range in {
		if g.Same(f) {
			return g, true
		}
	}
	return Format{}, false
}

// description is a session with no media yet.
func (l Local) description() Description {
	host := Host(l.RTP.Addr().Unmap().String())
	return Description{
		Origin: Origin{
			User:    "riptide",
			ID:      strconv.FormatUint(l.Session, 10),
			Version: strconv.FormatUint(l.Version, 10),
			Host:    host,
		},
		Connection: host,
	}
}

func (l Local) audio(proto string, formats []Format, ptime time.Duration, dir Direction, mux bool) Media {
	rtcp := l.RTCP
	if !rtcp.IsValid() {
		rtcp = netip.AddrPortFrom(l.RTP.Addr(), l.RTP.Port()+1)
	}
	return Media{
		Type:       "audio",
		Port:       l.RTP.Port(),
		Proto:      proto,
		Formats:    formats,
		Connection: Host(l.RTP.Addr().Unmap().String()),
		RTCP:       netip.AddrPortFrom(rtcp.Addr().Unmap(), rtcp.Port()),
		Ptime:      ptime,
		Direction:  dir,
		RTCPMux:    mux,
	}
}

// refused is the section with port 0. A format list must not be empty, so it
// quotes the one it refuses (RFC 3264 section 6).
func (m Media) refused() Media {
	r := Media{Type: m.Type, Proto: m.Proto, List: m.List}
	for i, f := range m.Formats {
		if i > 0 {
			r.List += " "
		}
		r.List += strconv.Itoa(int(f.Payload))
	}
	return r
}

func list(formats []Format) string {
	names := make([]string, len(formats))
	for i, f := range formats {
		names[i] = f.String()
	}
	return strings.Join(names, ", ")
}

func (d Description) sections() string {
	if len(d.Media) == 0 {
		return "no media"
	}
	names := make([]string, len(d.Media))
	for i, m := range d.Media {
		names[i] = m.Type + " " + m.Proto
		if m.Port == 0 {
			names[i] += " (port 0)"
		}
	}
	return strings.Join(names, ", ")
}
