package sdp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Local is our end of the media, as the peer shall see it.
type Local struct {
	RTP      netip.AddrPort // advertised address; its family becomes the family of the description
	RTCP     netip.AddrPort // invalid = the port after RTP's
	Video    netip.AddrPort // where we take video, with its reports on the next port; invalid = nowhere
	Session  uint64         // o= session id, the same for the life of the dialog
	Version  uint64         // o= version; raised by one with every description that differs
	RTCPMux  bool           // offer or accept reports on the media port (RFC 5761)
	Security Security
}

// Capability is what our end can do, best first.
type Capability struct {
	Audio     []Format
	Video     []Format      // empty: no video
	Ptime     time.Duration // of offers: what we would like to be sent; 0 = any
	Direction Direction
}

// Errors of offer and answer. The session that was before is not touched by
// them: the caller answers 488 and goes on (RFC 3261 section 14.2).
var (
	ErrNoAudio  = errors.New("no audio over RTP")
	ErrNoFormat = errors.New("no audio format in common")
)

// MakeOffer offers one audio section, and one of video if there is any, with
// the formats in this order. Feedback is offered under the profiles without an F,
// as video telephones do: under RTP/AVPF many would refuse the section.
func MakeOffer(local Local, c Capability) Description {
	d := local.description()
	proto := local.Security.proto()
	d.Media = []Media{local.audio(proto, c.Audio, c.Ptime, c.Direction, local.RTCPMux)}
	if len(c.Video) > 0 && local.Video.IsValid() {
		d.Media = append(d.Media, local.video(proto, c.Video, c.Direction, local.RTCPMux))
	}
	for i, m := range d.Media {
		d.Media[i] = local.Security.offer(m)
	}
	return d
}

// Reoffer is a new offer in a session that runs on d, the description of ours
// that was agreed last. It keeps the place of every section, since a section
// once there can only be switched off (RFC 3264 section 8). Video takes the
// place it had, even if it was refused there, else a new one at the end.
func (d Description) Reoffer(local Local, c Capability) Description {
	if len(d.Media) == 0 {
		return MakeOffer(local, c)
	}
	offer := local.description()
	audio, video := max(d.usable(audioType), 0), -1
	if len(c.Video) > 0 && local.Video.IsValid() {
		video = d.videoPlace()
	}
	for i, m := range d.Media {
		proto := local.Security.proto()
		if m.rtp() {
			proto = m.Proto
		}
		switch i {
		case audio:
			offer.Media = append(offer.Media, local.Security.offer(local.audio(proto, numbered(c.Audio, m.Formats), c.Ptime, c.Direction, local.RTCPMux)))
		case video:
			offer.Media = append(offer.Media, local.Security.offer(local.video(proto, numbered(c.Video, m.Formats), c.Direction, local.RTCPMux)))
		default:
			offer.Media = append(offer.Media, m.refused())
		}
	}
	if video == len(d.Media) {
		offer.Media = append(offer.Media, local.Security.offer(local.video(local.Security.proto(), c.Video, c.Direction, local.RTCPMux)))
	}
	return offer
}

// videoPlace is where an offer's video goes: where it is, where it was refused,
// or behind everything.
func (d Description) videoPlace() int {
	if i := d.usable(videoType); i >= 0 {
		return i
	}
	for i, m := range d.Media {
		if strings.EqualFold(m.Type, videoType) {
			return i
		}
	}
	return len(d.Media)
}

// numbered gives formats the payload type numbers they had before: a number
// keeps its meaning for the life of a session (RFC 3264 section 8.3.2), and
// media under the old numbers is still on its way. A format that is new takes
// a number that nothing else has or had.
func numbered(formats, before []Format) []Format {
	out := slices.Clone(formats)
	taken := map[uint8]bool{}
	for _, f := range before {
		taken[f.Payload] = true
	}
	var fresh []*Format
	for i := range out {
		if g, ok := find(before, out[i]); ok {
			out[i].Payload = g.Payload
		} else {
			fresh = append(fresh, &out[i])
		}
	}
	for _, f := range fresh {
		for n := uint8(127); taken[f.Payload] && n >= 96; n-- {
			f.Payload = n
		}
		taken[f.Payload] = true
	}
	return out
}

// MakeAnswer answers offer with those of our formats that were offered, ours
// first in the order given, under the payload type numbers of the offer. Of
// video formats only one is taken: the first of ours whose payload type number
// is that of the same format in the offer. (What its parameters mean, and which
// of several offered ones fits, is not for this package to know.) Comfort noise is accepted at the clock of the
// speech format only, digits at that or at 8000 Hz. Every section but those two
// is refused in its place. c.Direction is what we want; the answer says what
// remains of it under the offer.
func MakeAnswer(offer Description, local Local, c Capability) (Description, error) {
	all := offer
	offer = offer.Acceptable(local.Security)
	at := offer.usable(audioType)
	if why := all.Insecure(local.Security); at < 0 && why != "" {
		return Description{}, fmt.Errorf("%s: %w", why, ErrNoKey)
	}
	if at < 0 {
		return Description{}, fmt.Errorf("answer offer with %s: %w", offer.sections(), ErrNoAudio)
	}
	audio := offer.Media[at]
	chosen := choose(audio.Formats, c.Audio)
	if len(chosen) == 0 {
		return Description{}, fmt.Errorf("answer offer of %s, we take %s: %w", list(audio.Formats), list(c.Audio), ErrNoFormat)
	}
	video, picture := offer.videoAnswer(local, c)
	answer := local.description()
	for i, m := range offer.Media {
		dir := c.Direction.And(m.Direction.Reverse())
		switch i {
		case at:
			answer.Media = append(answer.Media, local.Security.answer(local.audio(m.Proto, chosen, m.PacketTime(), dir, local.RTCPMux && m.RTCPMux), m))
		case video:
			answer.Media = append(answer.Media, local.Security.answer(local.video(m.Proto, []Format{picture}, dir, local.RTCPMux && m.RTCPMux), m))
		default:
			answer.Media = append(answer.Media, m.refused())
		}
	}
	return answer, nil
}

// videoAnswer finds the section of an offer in which we take video, and how; -1
// if there is none.
func (d Description) videoAnswer(local Local, c Capability) (at int, f Format) {
	at = d.usable(videoType)
	if at < 0 || !local.Video.IsValid() {
		return -1, Format{}
	}
	for _, f := range c.Video {
		if g := findPayload(d.Media[at].Formats, f.Payload); g != nil && g.Same(f) {
			return at, f.under(*g)
		}
	}
	return -1, Format{}
}

// choose takes from offered what ours names: the first speech format that both
// know, then what accompanies it, then the other speech formats.
func choose(offered, ours []Format) []Format {
	var speech, with []Format
	for _, f := range ours {
		if g, ok := find(offered, f); ok && !f.accompanies() {
			speech = append(speech, f.under(g))
		}
	}
	if len(speech) == 0 {
		return nil
	}
	for _, f := range ours {
		if g, ok := companion(offered, f, speech[0].Clock); ok && !slices.ContainsFunc(with, g.Same) {
			with = append(with, f.under(g))
		}
	}
	return append(append(speech[:1:1], with...), speech[1:]...)
}

// companion finds in offered what accompanies speech as f does, at the clock of
// the speech. Digits are taken at 8000 Hz too where nothing better is offered:
// many declare them so beside Opus.
func companion(offered []Format, f Format, clock int) (Format, bool) {
	if !f.accompanies() {
		return Format{}, false
	}
	f.Clock = clock
	g, ok := find(offered, f)
	if !ok && f.IsTelephoneEvent() {
		f.Clock = eventClock
		g, ok = find(offered, f)
	}
	return g, ok
}

// find is the format in a list that is the same as f, under the same number if
// there are several: those of one name differ in their parameters.
func find(in []Format, f Format) (Format, bool) {
	if g := findPayload(in, f.Payload); g != nil && g.Same(f) {
		return *g, true
	}
	for _, g := range in {
		if g.Same(f) {
			return g, true
		}
	}
	return Format{}, false
}

// under is our format f in the answer to the offered format g: its payload type
// number and clock, and the feedback that both know.
func (f Format) under(g Format) Format {
	f.Payload, f.Clock = g.Payload, g.Clock
	f.Feedback &= g.Feedback
	return f
}

// description is a session with no media yet.
func (l Local) description() Description {
	host := Host(l.RTP.Addr().Unmap().String())
	return Description{
		Origin: Origin{
			User:    "-", // RFC 8866 section 5.2: nobody in particular
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
		Type:       audioType,
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

func (l Local) video(proto string, formats []Format, dir Direction, mux bool) Media {
	addr := l.Video.Addr().Unmap()
	return Media{
		Type:       videoType,
		Port:       l.Video.Port(),
		Proto:      proto,
		Formats:    formats,
		Connection: Host(addr.String()),
		RTCP:       netip.AddrPortFrom(addr, l.Video.Port()+1),
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
