package rtp

import (
	"riptide/bridge"
	"riptide/sip/sdp"
)

// eventPayload is the payload type number under which we offer digits. Peers
// that fix a number fix this one.
const eventPayload = 101

var formats = map[bridge.Codec]sdp.Format{
	bridge.PCMU:           sdp.PCMU,
	bridge.PCMA:           sdp.PCMA,
	bridge.ComfortNoise:   sdp.CN,
	bridge.TelephoneEvent: sdp.TelephoneEvent(eventPayload, bridge.TelephoneEvent.ClockRate()),
}

// CodecOf is the bridge's codec for a format of SDP. ok is false for formats we
// cannot carry.
func CodecOf(f sdp.Format) (c bridge.Codec, ok bool) {
	for c, g := range formats {
		if g.Same(f) {
			return c, true
		}
	}
	return 0, false
}

// FormatsOf is a capability as SDP formats: speech in order, digits, comfort
// noise.
func FormatsOf(o bridge.MediaOffer) []sdp.Format {
	var out []sdp.Format
	for _, c := range o.Speech {
		if f, ok := formats[c]; ok {
			out = append(out, f)
		}
	}
	if o.Digits {
		out = append(out, formats[bridge.TelephoneEvent])
	}
	if o.ComfortNoise {
		out = append(out, formats[bridge.ComfortNoise])
	}
	return out
}

// FormatsOfPlan is a plan as SDP formats.
func FormatsOfPlan(p bridge.MediaPlan) []sdp.Format {
	return FormatsOf(bridge.MediaOffer{Speech: []bridge.Codec{p.Speech}, Digits: p.Digits, ComfortNoise: p.ComfortNoise})
}

// OfferOf is what the owner of an audio section can do, as far as we can.
func OfferOf(m sdp.Media) bridge.MediaOffer {
	o := bridge.MediaOffer{Ptime: m.PacketTime()}
	for _, f := range m.Formats {
		switch c, ok := CodecOf(f); {
		case !ok:
		case c == bridge.TelephoneEvent:
			o.Digits = true
		case c == bridge.ComfortNoise:
			o.ComfortNoise = true
		default:
			o.Speech = append(o.Speech, c)
		}
	}
	return o
}

// PlanOf is the plan that an exchange came to. ok is false if it holds no
// speech codec of ours.
func PlanOf(a sdp.Agreed) (p bridge.MediaPlan, ok bool) {
	o := OfferOf(sdp.Media{Formats: a.Send})
	if len(o.Speech) == 0 {
		return bridge.MediaPlan{}, false
	}
	p = bridge.MediaPlan{Speech: o.Speech[0], Digits: o.Digits, ComfortNoise: o.ComfortNoise, Ptime: a.Ptime}
	if p.Ptime == 0 {
		p.Ptime = bridge.DefaultPtime
	}
	return p, true
}
