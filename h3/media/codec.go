package media

import (
	"fmt"
	"slices"

	"riptide/bridge"
	"riptide/h3/advert"
)

// The ids of sources and sinks in our advertisements: one of each per kind.
const (
	audioID = 1
	videoID = 2
)

// flagSealed on a codec says that the ends of the call encrypt between
// themselves.
const flagSealed = "sealed"

// AdvertOf is the advertisement of a handler that can do what o says: a sink and
// a source of audio, and the same of video if there is any.
func AdvertOf(o bridge.MediaOffer) advert.Advert {
	var audio, video []advert.Codec
	for _, c := range o.Speech {
		audio = append(audio, codecOf(o.Limit(c), o.Sealed))
	}
	if o.Digits {
		audio = append(audio, codecOf(bridge.Format{Codec: bridge.TelephoneEvent}, o.Sealed))
	}
	if o.ComfortNoise {
		audio = append(audio, codecOf(bridge.Format{Codec: bridge.ComfortNoise}, o.Sealed))
	}
	for _, f := range o.Video {
		video = append(video, codecOf(f, o.Sealed))
	}
	a := advert.Advert{{ID: audioID, In: true, Codecs: audio}, {ID: audioID, Codecs: audio}}
	if len(video) > 0 {
		a = append(a, advert.Line{ID: videoID, In: true, Codecs: video}, advert.Line{ID: videoID, Codecs: video})
	}
	return a
}

func codecOf(f bridge.Format, sealed bool) advert.Codec {
	c := advert.Codec{Name: f.Codec.String()}
	for _, p := range f.Params {
		c.Params = append(c.Params, advert.Param{Name: p.Name, Value: p.Value, HasValue: true})
	}
	if sealed {
		c.Params = append(c.Params, advert.Param{Name: flagSealed})
	}
	return c
}

// formatOf is a codec of ours as an advertisement or directive has it.
func formatOf(c advert.Codec) (f bridge.Format, sealed, known bool) {
	f.Codec, known = bridge.CodecNamed(c.Name)
	for _, p := range c.Params {
		switch {
		case p.HasValue:
			f.Params = append(f.Params, bridge.Param{Name: p.Name, Value: p.Value})
		case p.Name == flagSealed:
			sealed = true
		}
	}
	return f, sealed, known
}

// OfferOf is what a handler can both send and receive of what we know, in the
// order of its sinks: what it wants to hear comes first.
func OfferOf(a advert.Advert) bridge.MediaOffer {
	var o bridge.MediaOffer
	for _, in := range a {
		if !in.In {
			continue
		}
		for _, codec := range in.Codecs {
			f, sealed, known := formatOf(codec)
			if !known || !offers(a, codec.Name) {
				continue
			}
			o.Sealed = o.Sealed || sealed
			switch c := f.Codec; {
			case c == bridge.TelephoneEvent:
				o.Digits = true
			case c == bridge.ComfortNoise:
				o.ComfortNoise = true
			case c.Kind() == bridge.Video:
				o.Video = append(o.Video, f)
			default:
				o.Speech = append(o.Speech, c)
				if len(f.Params) > 0 {
					o.Limits = append(o.Limits, f)
				}
			}
		}
	}
	return o
}

func offers(a advert.Advert, name string) bool {
	for _, l := range a {
		for _, c := range l.Codecs {
			if !l.In && advert.Name(c.Name) == advert.Name(name) {
				return true
			}
		}
	}
	return false
}

// ConfigOf turns a call's directives, that for us and that for the peer, into the
// configuration of its Port. What they do not say is left out.
func ConfigOf(send, receive advert.Directive) Config {
	var c Config
	for kind, st := range map[bridge.Kind]*Streams{bridge.Audio: &c.Audio, bridge.Video: &c.Video} {
		out, sends := streamOf(send, kind)
		in, receives := streamOf(receive, kind)
		if kind == bridge.Video && !(sends && receives) {
			continue // half of it is none
		}
		*st = Streams{Send: out.stream, Receive: in.stream, Accept: in.codecs(), Sealed: out.sealed || in.sealed}
	}
	return c
}

// Directed turns directives into the configuration of a Port and the plan of its
// leg. There must be speech in both.
func Directed(send, receive advert.Directive) (Config, bridge.MediaPlan, error) {
	plan := bridge.MediaPlan{Ptime: bridge.DefaultPtime}
	for _, d := range []advert.Directive{send, receive} {
		if _, ok := streamOf(d, bridge.Audio); !ok {
			return Config{}, plan, fmt.Errorf("directive %q has no stream of a speech codec we know", d)
		}
	}
	c := ConfigOf(send, receive)
	out, _ := streamOf(send, bridge.Audio)
	plan.Speech, plan.Limits, plan.Sealed = out.formats[0].Codec, out.formats[0].Params, c.Audio.Sealed
	plan.Digits = out.has(bridge.TelephoneEvent)
	plan.ComfortNoise = out.has(bridge.ComfortNoise)
	if c.Video.Sealed != c.Audio.Sealed {
		c.Video = Streams{} // one of them would be dropped
	}
	if c.Video.Send != (Stream{}) {
		out, _ = streamOf(send, bridge.Video)
		plan.Video = &out.formats[0]
	}
	return c, plan, nil
}

// directed is a stream of a directive.
type directed struct {
	stream  Stream
	formats []bridge.Format // of ours; the first carries the conversation, or the picture
	sealed  bool
}

func (d directed) has(c bridge.Codec) bool { return slices.Contains(d.codecs(), c) }

func (d directed) codecs() []bridge.Codec {
	var out []bridge.Codec
	for _, f := range d.formats {
		out = append(out, f.Codec)
	}
	return out
}

// streamOf is the first stream of a kind in a directive, with all of its codecs
// that are ours.
func streamOf(d advert.Directive, kind bridge.Kind) (directed, bool) {
	for _, s := range d {
		found := directed{stream: Stream{s.Source, s.Sink}}
		var aside []bridge.Format
		for _, codec := range s.Codecs {
			f, sealed, known := formatOf(codec)
			switch {
			case !known || f.Codec.Kind() != kind:
				continue
			case f.Codec.Aside():
				aside = append(aside, f)
			default:
				found.formats = append(found.formats, f)
			}
			found.sealed = found.sealed || sealed
		}
		if len(found.formats) > 0 {
			found.formats = append(found.formats, aside...)
			return found, true
		}
	}
	return directed{}, false
}
