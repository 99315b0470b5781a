package bridge

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"riptide/bridge/format"
)

// Codec names a media format by its number in the RIPT payload type registry
// (docs/spec/baseline.md): 0–127 are the static numbers of RFC 3551, those
// above are ours. Edges translate to and from dynamic RTP payload types.
type Codec uint8

// The codecs of this release.
const (
	PCMU           Codec = 0
	PCMA           Codec = 8
	G722           Codec = 9
	ComfortNoise   Codec = 13
	Opus           Codec = 128
	TelephoneEvent Codec = 129
	H264           Codec = 144
	VP8            Codec = 146
)

// Kind tells the streams of a call apart: there is one of each kind in each
// direction.
type Kind uint8

// The kinds of media.
const (
	Audio Kind = iota
	Video
)

func (k Kind) String() string {
	if k == Video {
		return "video"
	}
	return "audio"
}

type codecTraits struct {
	name  string // as SDP (RFC 4855) and advertisements write it
	kind  Kind
	clock int // Hz
}

var codecs = map[Codec]codecTraits{
	PCMU:           {name: format.PCMU, clock: 8000},
	PCMA:           {name: format.PCMA, clock: 8000},
	G722:           {name: format.G722, clock: 8000}, // sic (RFC 3551 section 4.5.2)
	ComfortNoise:   {name: format.ComfortNoise, clock: 8000},
	Opus:           {name: format.Opus, clock: 48000},
	TelephoneEvent: {name: format.TelephoneEvent, clock: 8000},
	H264:           {name: format.H264, kind: Video, clock: 90000},
	VP8:            {name: format.VP8, kind: Video, clock: 90000},
}

// Codecs are all codecs of this release, by their numbers.
func Codecs() []Codec {
	return slices.Sorted(maps.Keys(codecs))
}

// CodecNamed finds a codec by the name that SDP and advertisements write, in
// which case does not matter (RFC 4855 section 3).
func CodecNamed(name string) (c Codec, ok bool) {
	for c, t := range codecs {
		if strings.EqualFold(t.name, name) {
			return c, true
		}
	}
	return 0, false
}

func (c Codec) String() string {
	if t, ok := codecs[c]; ok {
		return t.name
	}
	return fmt.Sprintf("codec-%d", uint8(c))
}

// Kind is what the codec is for. Codecs nobody knows are audio.
func (c Codec) Kind() Kind { return codecs[c].kind }

// ClockRate is the media clock in Hz.
func (c Codec) ClockRate() int {
	if t, ok := codecs[c]; ok {
		return t.clock
	}
	return 8000
}

// Speech tells codecs that carry the conversation from those that accompany
// one (comfort noise, telephone events), and from video.
func (c Codec) Speech() bool {
	t, ok := codecs[c]
	return ok && t.kind == Audio && !format.Aside(t.name)
}

// Aside tells codecs that accompany a conversation: digits and comfort noise.
func (c Codec) Aside() bool { return format.Aside(codecs[c].name) }

// Converts tells whether package transcode has the codec. The others pass
// through, or not at all.
func (c Codec) Converts() bool { return c == PCMU || c == PCMA || c == Opus }
