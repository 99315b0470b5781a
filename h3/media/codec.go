package media

import (
	"fmt"

	"riptide/bridge"
	"riptide/h3/advert"
)

// codecNames are the codecs of this release in advertisements.
var codecNames = map[bridge.Codec]string{
	bridge.PCMU: advert.PCMU, bridge.PCMA: advert.PCMA,
	bridge.ComfortNoise: advert.ComfortNoise, bridge.TelephoneEvent: advert.TelephoneEvent,
}

func codecOf(name string) (bridge.Codec, bool) {
	for c, n := range codecNames {
		if n == name {
			return c, true
		}
	}
	return 0, false
}

// AdvertOf is the advertisement of a handler that can do what o says: one
// audio sink and one audio source.
func AdvertOf(o bridge.MediaOffer) advert.Advert {
	var codecs []advert.Codec
	add := func(c bridge.Codec) {
		if name, ok := codecNames[c]; ok {
			codecs = append(codecs, advert.Codec{Name: name})
		}
	}
	for _, c := range o.Speech {
		add(c)
	}
	if o.Digits {
		add(bridge.TelephoneEvent)
	}
	if o.ComfortNoise {
		add(bridge.ComfortNoise)
	}
	return advert.Advert{{ID: 1, In: true, Codecs: codecs}, {ID: 1, Codecs: codecs}}
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
			c, known := codecOf(codec.Name)
			switch {
			case !known || !offers(a, codec.Name):
			case c == bridge.TelephoneEvent:
				o.Digits = true
			case c == bridge.ComfortNoise:
				o.ComfortNoise = true
			default:
				o.Speech = append(o.Speech, c)
			}
		}
	}
	return o
}

func offers(a advert.Advert, name string) bool {
	for _, l := range a {
		for _, c := range l.Codecs {
			if !l.In && c.Name == name {
				return true
			}
		}
	}
	return false
}

// Directed turns a call's directives, that for us and that for the peer, into
// the configuration of its Port and the plan of its leg.
func Directed(send, receive advert.Directive) (Config, bridge.MediaPlan, error) {
	var c Config
	plan := bridge.MediaPlan{Ptime: bridge.DefaultPtime}
	out, codecs, ok := audio(send)
	if !ok {
		return Config{}, plan, fmt.Errorf("directive %q has no stream of a codec we know", send)
	}
	c.Send, plan.Speech = out, codecs[0]
	for _, codec := range codecs {
		plan.Digits = plan.Digits || codec == bridge.TelephoneEvent
		plan.ComfortNoise = plan.ComfortNoise || codec == bridge.ComfortNoise
	}
	if c.Receive, c.Accept, ok = audio(receive); !ok {
		return Config{}, plan, fmt.Errorf("directive %q has no stream of a codec we know", receive)
	}
	return c, plan, nil
}

// audio is the first stream that begins with a speech codec of ours, and all
// of its codecs that are.
func audio(d advert.Directive) (Stream, []bridge.Codec, bool) {
	for _, s := range d {
		var speech, others []bridge.Codec
		for _, codec := range s.Codecs {
			if c, ok := codecOf(codec.Name); ok && c.Speech() {
				speech = append(speech, c)
			} else if ok {
				others = append(others, c)
			}
		}
		if len(speech) > 0 {
			return Stream{s.Source, s.Sink}, append(speech, others...), true
		}
	}
	return Stream{}, nil, false
}
