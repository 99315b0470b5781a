package agree

import (
	"slices"
	"time"

	"riptide/bridge"
	"riptide/bridge/format"
	"riptide/h3/advert"
)

// Our sources and sinks.
const (
	audioID = 1
	videoID = 2
)

// Advert is the advertisement of a handler that can do what o says, in its
// order.
func Advert(o bridge.MediaOffer) advert.Advert {
	var audio, video []advert.Codec
	for _, c := range o.Speech {
		if c.Speech() {
			audio = append(audio, codecOf(speechFormat(o, c), o.Sealed))
		}
	}
	if o.Digits {
		audio = append(audio, codecOf(bridge.Format{Codec: bridge.TelephoneEvent}, o.Sealed))
	}
	if o.ComfortNoise {
		audio = append(audio, codecOf(bridge.Format{Codec: bridge.ComfortNoise}, o.Sealed))
	}
	for _, f := range o.Video {
		if f.Codec.Kind() == bridge.Video {
			video = append(video, codecOf(f, o.Sealed))
		}
	}
	return ends(audio, video)
}

// Server is what our end of a call can do for a client that advertises client:
// everything that crosses a bridge, clear or sealed, as far as codecs allow
// (empty: all). What passes through is limited by the far side, which is not
// known yet, so we set no limits of our own, and take every profile of H.264.
func Server(client advert.Advert, codecs []bridge.Codec) advert.Advert {
	allowed := func(c bridge.Codec) bool { return len(codecs) == 0 || slices.Contains(codecs, c) }
	var audio, video []advert.Codec
	for _, c := range bridge.Codecs() {
		if c.Kind() == bridge.Audio && (c.Aside() || allowed(c)) {
			f := bridge.Format{Codec: c}
			if c == bridge.Opus {
				f.Params = []bridge.Param{{Name: format.Channels, Value: opusChannels}}
			}
			audio = append(audio, codecOf(f, false), codecOf(f, true))
		}
	}
	for _, l := range client {
		for _, c := range l.Codecs {
			if b, ok := bridge.CodecNamed(c.Name); ok && b.Kind() == bridge.Video && allowed(b) {
				video = append(video, c)
			}
		}
	}
	return ends(audio, video)
}

// SealedOnly is what of an advertisement is sealed end to end.
func SealedOnly(a advert.Advert) advert.Advert {
	var out advert.Advert
	for _, l := range a {
		l.Codecs = slices.DeleteFunc(slices.Clone(l.Codecs), func(c advert.Codec) bool { return !c.Sealed() })
		if len(l.Codecs) > 0 {
			out = append(out, l)
		}
	}
	return out
}

// opusChannels is how many channels Opus has at most (RFC 7587 section 7).
const opusChannels = 2

// ends gives each kind of media that there is a sink and a source.
func ends(audio, video []advert.Codec) advert.Advert {
	var out advert.Advert
	if len(audio) > 0 {
		out = append(out, advert.Line{ID: audioID, In: true, Codecs: audio}, advert.Line{ID: audioID, Codecs: audio})
	}
	if len(video) > 0 {
		out = append(out, advert.Line{ID: videoID, In: true, Codecs: video}, advert.Line{ID: videoID, Codecs: video})
	}
	return out
}

// Ordered is a client's advertisement under our policy: of the codecs that it
// names, those of codecs only, and in their order. Empty: as it came.
func Ordered(client advert.Advert, codecs []bridge.Codec) advert.Advert {
	if len(codecs) == 0 {
		return client
	}
	rank := func(c advert.Codec) int {
		b, ok := bridge.CodecNamed(c.Name)
		if !ok {
			return -1
		}
		if b.Aside() {
			return len(codecs)
		}
		return slices.Index(codecs, b)
	}
	var out advert.Advert
	for _, l := range client {
		l.Codecs = slices.DeleteFunc(slices.Clone(l.Codecs), func(c advert.Codec) bool { return rank(c) < 0 })
		slices.SortStableFunc(l.Codecs, func(a, b advert.Codec) int { return rank(a) - rank(b) })
		if len(l.Codecs) > 0 {
			out = append(out, l)
		}
	}
	return out
}

// Only is a client's advertisement without the codecs that are not among those
// given. Empty: as it came.
func Only(client advert.Advert, codecs []bridge.Codec) advert.Advert {
	if len(codecs) == 0 {
		return client
	}
	var out advert.Advert
	for _, l := range client {
		l.Codecs = slices.DeleteFunc(slices.Clone(l.Codecs), func(c advert.Codec) bool {
			b, ok := bridge.CodecNamed(c.Name)
			return !ok || !b.Aside() && !slices.Contains(codecs, b)
		})
		if len(l.Codecs) > 0 {
			out = append(out, l)
		}
	}
	return out
}

// Offer is what a handler can both send and receive of what we know, sealed or
// clear, in its order. Of a handler that has only sinks, or only sources, those
// count.
func Offer(a advert.Advert, sealed bool) bridge.MediaOffer {
	o := bridge.MediaOffer{Sealed: sealed}
	var in, out []advert.Codec
	for _, l := range a {
		if l.In {
			in = append(in, l.Codecs...)
		} else {
			out = append(out, l.Codecs...)
		}
	}
	if len(out) == 0 {
		out = in
	}
	for _, c := range out {
		if len(in) > 0 {
			var ok bool
			if c, ok = advert.Match(c, in); !ok {
				continue
			}
		}
		f, ok := formatOf(c)
		if ok && c.Sealed() == sealed {
			add(&o, f)
		}
	}
	return o
}

// add adds a format to an offer, once.
func add(o *bridge.MediaOffer, f bridge.Format) {
	switch {
	case f.Codec == bridge.TelephoneEvent:
		o.Digits = true
	case f.Codec == bridge.ComfortNoise:
		o.ComfortNoise = true
	case f.Codec.Kind() == bridge.Video:
		if !slices.ContainsFunc(o.Video, func(g bridge.Format) bool { return g.Codec == f.Codec && slices.Equal(g.Params, f.Params) }) {
			o.Video = append(o.Video, f)
		}
	case !slices.Contains(o.Speech, f.Codec):
		o.Speech = append(o.Speech, f.Codec)
		limits, ptime := split(f.Params)
		if len(limits) > 0 {
			o.Limits = append(o.Limits, bridge.Format{Codec: f.Codec, Params: limits})
		}
		if o.Ptime == 0 {
			o.Ptime = ptime
		}
	}
}

// maxPtime is the longest packet time anybody uses.
const maxPtime = 200 * time.Millisecond

// split takes the packet time out of the parameters of speech.
func split(params []bridge.Param) (limits []bridge.Param, ptime time.Duration) {
	for _, p := range params {
		if p.Name != format.Ptime {
			limits = append(limits, p)
		} else if ms := p.Value; ms > 0 && ms <= maxPtime.Milliseconds() {
			ptime = time.Duration(ms) * time.Millisecond
		}
	}
	return limits, ptime
}

// speechFormat is a speech codec of an offer with all its parameters.
func speechFormat(o bridge.MediaOffer, c bridge.Codec) bridge.Format {
	f := o.Limit(c)
	if ms := o.Ptime.Milliseconds(); ms > 0 && o.Ptime != bridge.DefaultPtime {
		f.Params = append(slices.Clone(f.Params), bridge.Param{Name: format.Ptime, Value: ms})
	}
	return f
}

func codecOf(f bridge.Format, sealed bool) advert.Codec {
	c := advert.Codec{Name: f.Codec.String()}
	for _, p := range f.Params {
		c.Params = append(c.Params, advert.Param{Name: p.Name, Value: p.Value, HasValue: true})
	}
	if sealed {
		c.Params = append(c.Params, advert.Param{Name: advert.Sealed})
	}
	return c
}

func formatOf(c advert.Codec) (bridge.Format, bool) {
	codec, ok := bridge.CodecNamed(c.Name)
	return bridge.Format{Codec: codec, Params: c.Values()}, ok
}
