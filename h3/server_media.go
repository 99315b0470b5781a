package h3

import (
	"riptide/bridge"
	"riptide/h3/advert"
	"riptide/h3/media"
)

// codecNames are our codecs as advertisements write them.
var codecNames = map[bridge.Codec]string{
	bridge.PCMU: advert.PCMU, bridge.PCMA: advert.PCMA,
	bridge.TelephoneEvent: advert.TelephoneEvent, bridge.ComfortNoise: advert.ComfortNoise,
}

// serverAdvert is what our end of a call can do: one source, one sink, and all
// that is mandatory but Opus (core draft, "Handler Description").
func serverAdvert() advert.Advert {
	var codecs []advert.Codec
	for _, c := range []bridge.Codec{bridge.PCMU, bridge.PCMA, bridge.TelephoneEvent, bridge.ComfortNoise} {
		codecs = append(codecs, advert.Codec{Name: codecNames[c]})
	}
	return advert.Advert{{ID: 1, In: true, Codecs: codecs}, {ID: 1, Codecs: codecs}}
}

// offerOf is what the bridge may plan for a caller: what the directives say,
// which were made from its handler. A codec counts only where it may flow in
// every direction that there is.
func offerOf(directives ...advert.Directive) bridge.MediaOffer {
	var offer bridge.MediaOffer
	for _, c := range []bridge.Codec{bridge.PCMU, bridge.PCMA} {
		if inAll(directives, codecNames[c]) {
			offer.Speech = append(offer.Speech, c)
		}
	}
	offer.Digits = inAll(directives, advert.TelephoneEvent)
	offer.ComfortNoise = inAll(directives, advert.ComfortNoise)
	return offer
}

func inAll(directives []advert.Directive, name string) bool {
	for _, d := range directives {
		if len(d) > 0 && !streamHas(d[0], name) {
			return false
		}
	}
	return true
}

// newPort makes the media end of a call from its directives.
func (s *Server) newPort(toServer, toClient advert.Directive, onPanic func()) *media.Port {
	cfg := media.ConfigOf(toClient, toServer)
	cfg.Server, cfg.Panic = true, onPanic
	return media.NewPort(cfg)
}

func streamHas(s advert.Stream, name string) bool {
	for _, c := range s.Codecs {
		if advert.Name(c.Name) == name {
			return true
		}
	}
	return false
}
