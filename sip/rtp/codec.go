package rtp

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"riptide/bridge"
	"riptide/bridge/format"
	"riptide/sip/sdp"
)

// Payload type numbers under which we offer what has none of its own. Peers that
// fix a number for digits fix that one.
const (
	eventPayload     = 101
	wideEventPayload = 110 // beside Opus
	opusPayload      = 111
	videoPayload     = 112 // and those after it
)

// maxVideoFormats bounds what one offer holds of video; there are no more
// numbers either.
const maxVideoFormats = 16

const videoClock = 90000

// formats are the codecs of which the name says all.
var formats = map[bridge.Codec]sdp.Format{
	bridge.PCMU:           sdp.PCMU,
	bridge.PCMA:           sdp.PCMA,
	bridge.G722:           sdp.G722,
	bridge.Opus:           sdp.Opus(opusPayload),
	bridge.ComfortNoise:   sdp.CN,
	bridge.TelephoneEvent: sdp.TelephoneEvent(eventPayload, bridge.TelephoneEvent.ClockRate()),
}

// wideEvents are digits at the clock of Opus. At the seam they are at 8000 Hz, as
// all are.
var wideEvents = sdp.TelephoneEvent(wideEventPayload, bridge.Opus.ClockRate())

// CodecOf is the bridge's codec for a format of SDP. ok is false for formats we
// cannot carry.
func CodecOf(f sdp.Format) (c bridge.Codec, ok bool) {
	for c, g := range formats {
		if g.Same(f) {
			return c, true
		}
	}
	if wideEvents.Same(f) {
		return bridge.TelephoneEvent, true
	}
	for c := range videoParams {
		if strings.EqualFold(f.Name, c.String()) && f.Clock == videoClock {
			return c, true
		}
	}
	return 0, false
}

// CapabilityOf is what a side of the call can do, as SDP has it.
func CapabilityOf(o bridge.MediaOffer) sdp.Capability {
	c := sdp.Capability{Ptime: o.Ptime}
	for _, codec := range o.Speech {
		if f, ok := formats[codec]; ok && codec.Speech() {
			if codec == bridge.Opus {
				f.Params = opusParams(f.Params, o.Limit(codec))
			}
			c.Audio = append(c.Audio, f)
		}
	}
	if o.Digits {
		// Who looks no further than the first takes that of the best speech.
		c.Audio = append(c.Audio, formats[bridge.TelephoneEvent])
		switch slices.Index(o.Speech, bridge.Opus) {
		case -1:
		case 0:
			c.Audio = slices.Insert(c.Audio, len(c.Audio)-1, wideEvents)
		default:
			c.Audio = append(c.Audio, wideEvents)
		}
	}
	if o.ComfortNoise {
		c.Audio = append(c.Audio, formats[bridge.ComfortNoise])
	}
	for _, v := range o.Video {
		if _, ok := videoParams[v.Codec]; ok && len(c.Video) < maxVideoFormats {
			c.Video = append(c.Video, videoFormat(v, videoPayload+uint8(len(c.Video))))
		}
	}
	return c
}

// AnswerOf is what an offer is answered with on a plan: this and nothing else,
// the video under the number that its like has in the offer. If the offer has
// nothing like it, there is none.
func AnswerOf(offer sdp.Description, p bridge.MediaPlan) sdp.Capability {
	c := CapabilityOf(p.Offer())
	video, _ := offer.Video()
	c.Video = nil
	for _, f := range video.Formats {
		v, ok := videoOf(f)
		if !ok || p.Video == nil {
			continue
		}
		if _, fits := v.Common(*p.Video); fits {
			c.Video = []sdp.Format{videoFormat(*p.Video, f.Payload)}
			break
		}
	}
	return c
}

// OfferOf is what the sender of a description can do, as far as we can. ok is
// false if it has no audio section that we could use.
func OfferOf(d sdp.Description) (o bridge.MediaOffer, ok bool) {
	audio, ok := d.Audio()
	if !ok {
		return bridge.MediaOffer{}, false
	}
	o = speechOf(audio.Formats)
	o.Ptime = audio.PacketTime()
	if video, ok := d.Video(); ok {
		for _, f := range video.Formats {
			if v, ok := videoOf(f); ok && len(o.Video) < maxVideoFormats {
				o.Video = append(o.Video, v)
			}
		}
	}
	return o, true
}

func speechOf(formats []sdp.Format) (o bridge.MediaOffer) {
	for _, f := range formats {
		switch c, ok := CodecOf(f); {
		case !ok:
		case c == bridge.TelephoneEvent:
			o.Digits = true
		case c == bridge.ComfortNoise:
			o.ComfortNoise = true
		case c.Speech():
			o.Speech = append(o.Speech, c)
			if l := opusLimits(f); c == bridge.Opus && len(l) > 0 {
				o.Limits = append(o.Limits, bridge.Format{Codec: c, Params: l})
			}
		}
	}
	return o
}

// PlanOf is the plan that an exchange came to. ok is false if it holds no
// speech codec of ours.
func PlanOf(a sdp.Agreed) (p bridge.MediaPlan, ok bool) {
	o := speechOf(a.Audio.Send)
	if len(o.Speech) == 0 {
		return bridge.MediaPlan{}, false
	}
	p = bridge.MediaPlan{
		Speech: o.Speech[0], Limits: o.Limit(o.Speech[0]).Params, Digits: o.Digits, ComfortNoise: o.ComfortNoise, Ptime: a.Audio.Ptime,
	}
	if p.Ptime == 0 {
		p.Ptime = bridge.DefaultPtime
	}
	if a.Video.Agreed() {
		if v, ok := videoOf(a.Video.Send[0]); ok {
			p.Video = &v
		}
	}
	return p, true
}

// number is how a parameter's value is written: its base, and how many digits it
// has at least.
type number struct{ base, digits int }

// videoParams are the parameters of video formats that cross the bridge. They are
// numbers; what is none (parameter sets out of band) is sent in band as well.
var videoParams = map[bridge.Codec]map[string]number{
	bridge.H264: { // RFC 6184 section 8.1
		format.ProfileLevelID: {16, 6}, format.PacketizationMode: {10, 1},
		"max-mbps": {10, 1}, "max-fs": {10, 1}, "max-br": {10, 1},
	},
	bridge.VP8: {"max-fr": {10, 1}, "max-fs": {10, 1}}, // RFC 7741 section 6.1
}

// videoOf is a video format as the bridge has it.
func videoOf(f sdp.Format) (v bridge.Format, ok bool) {
	c, ok := CodecOf(f)
	known, video := videoParams[c]
	if !ok || !video {
		return bridge.Format{}, false
	}
	v.Codec = c
	for name, text := range f.Parameters() {
		if n, ok := known[name]; ok {
			if value, err := strconv.ParseUint(text, n.base, 32); err == nil {
				v.Params = append(v.Params, bridge.Param{Name: name, Value: int64(value)})
			}
		}
	}
	return v, true
}

// videoFormat is the same the other way round. We understand every request for a
// keyframe.
func videoFormat(v bridge.Format, payload uint8) sdp.Format {
	f := sdp.Format{Payload: payload, Name: v.Codec.String(), Clock: videoClock, Channels: 1, Feedback: sdp.PLI | sdp.FIR}
	var params []string
	for _, p := range v.Params {
		n, ok := videoParams[v.Codec][p.Name]
		if !ok || p.Value < 0 || p.Value > 1<<32-1 || n.base == 16 && p.Value > 0xffffff {
			continue
		}
		text := strconv.FormatInt(p.Value, n.base)
		params = append(params, fmt.Sprintf("%s=%0*s", p.Name, n.digits, text))
	}
	f.Params = strings.Join(params, ";")
	return f
}

// Parameters of Opus that limit what its owner wants to be sent (RFC 7587
// section 6.1).
const (
	opusRate   = "maxaveragebitrate"
	opusStereo = "stereo"
)

// opusLimits is what a format of Opus limits, in the bridge's words.
func opusLimits(f sdp.Format) (limits []bridge.Param) {
	for name, text := range f.Parameters() {
		value, err := strconv.ParseUint(text, 10, 31)
		switch {
		case err != nil:
		case name == opusRate && value > 0:
			limits = append(limits, bridge.Param{Name: format.BitRate, Value: int64(value)})
		case name == opusStereo && value == 1:
			limits = append(limits, bridge.Param{Name: format.Channels, Value: 2})
		}
	}
	return limits
}

// opusParams adds the limits to what we say of Opus anyway.
func opusParams(params string, limits bridge.Format) string {
	if rate, ok := limits.Param(format.BitRate); ok && rate > 0 {
		params += fmt.Sprintf(";%s=%d", opusRate, rate)
	}
	if channels, _ := limits.Param(format.Channels); channels > 1 {
		params += ";" + opusStereo + "=1"
	}
	return params
}
