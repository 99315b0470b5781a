// Package format is what is known about media formats without knowing what
// carries them: their names, their parameters, and what two ends have in common.
// SDP, advertisements and plans all rest on it.
//
// It imports nothing of ours, and everything in it is pure.
package format

import (
	"slices"
	"strings"
)

// Names of the formats in the RIPT registry, as they are written. Names ignore
// case (RFC 4855 section 3).
const (
	PCMU           = "PCMU"
	PCMA           = "PCMA"
	G722           = "G722"
	Opus           = "opus"
	L16            = "L16"
	ComfortNoise   = "CN"
	TelephoneEvent = "telephone-event"
	H264           = "H264"
	VP8            = "VP8"
	VP9            = "VP9"
	AV1            = "AV1"
)

var names = []string{PCMU, PCMA, G722, Opus, L16, ComfortNoise, TelephoneEvent, H264, VP8, VP9, AV1}

// Canonical is the registered spelling of a name; one that is not registered is
// given in lower case.
func Canonical(name string) string {
	for _, n := range names {
		if strings.EqualFold(n, name) {
			return n
		}
	}
	return strings.ToLower(name)
}

// Aside tells formats that accompany a conversation and carry none.
func Aside(name string) bool {
	return strings.EqualFold(name, TelephoneEvent) || strings.EqualFold(name, ComfortNoise)
}

// Param is one parameter of a format, by its name in the RIPT registry: lower
// case, such as "profile-level-id", whose hexadecimal value is a number here.
// Most are maxima: "br" bit/s, "ch" channels, "max-width" pixels.
type Param struct {
	Name  string `json:"name"`
	Value int64  `json:"value"`
}

// Names of parameters.
const (
	ProfileLevelID    = "profile-level-id"   // of H264: three bytes (RFC 6184 section 8.1)
	PacketizationMode = "packetization-mode" // of H264: 0, 1 or 2
	Ptime             = "ptime"              // of speech: ms per packet
	Channels          = "ch"                 // of speech: 1 if not said
	BitRate           = "br"                 // bit/s
	SampleSize        = "ss"                 // of speech: bits, at least 8
)

// maxima are the parameters of the registry whose lower value holds. Sizes of
// pictures go by two families of names, and by those of the payload formats
// (RFC 6184 section 8.1, RFC 7741 section 6.1).
var maxima = map[string]bool{
	BitRate: true, Channels: true, Ptime: true, SampleSize: true,
	"max-res": true, "max-width": true, "max-height": true, "max-fps": true,
	"max-fs": true, "max-fr": true, "max-mbps": true, "max-br": true,
}

// defaults are the values of parameters that are not there. What has no default
// is not limited.
var defaults = map[string]int64{Channels: 1, PacketizationMode: 0, ProfileLevelID: inferredProfile}

// Value is the value of a parameter; ok says whether it is there, or has a
// default.
func Value(params []Param, name string) (value int64, ok bool) {
	for _, p := range params {
		if p.Name == name {
			return p.Value, true
		}
	}
	value, ok = defaults[name]
	return value, ok
}

// Common is what two ends that advertise the format with a and with b can
// exchange: at most what either of them can. Parameters nobody knows are left
// out, and so are those that come out at their default. Not ok: the two do not
// fit.
func Common(name string, a, b []Param) (common []Param, ok bool) {
	isH264 := strings.EqualFold(name, H264)
	var out []Param
	if isH264 {
		level, fits := commonProfile(a, b)
		if !fits {
			return nil, false
		}
		mode, _ := Value(a, PacketizationMode)
		out = set(set(out, ProfileLevelID, level), PacketizationMode, mode)
	}
	done := map[string]bool{}
	for _, p := range append(slices.Clone(a), b...) {
		if !maxima[p.Name] || done[p.Name] || isH264 && beyondLevel[p.Name] && !(has(a, p.Name) && has(b, p.Name)) {
			continue
		}
		done[p.Name] = true
		out = set(out, p.Name, lower(a, b, p.Name))
	}
	return out, true
}

// Equal tells whether both say the same, in whatever order.
func Equal(a, b []Param) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(p Param) bool { return !slices.Contains(b, p) })
}

// lower is the lower of the values that limit a parameter.
func lower(a, b []Param, name string) int64 {
	x, hasX := Value(a, name)
	y, hasY := Value(b, name)
	if !hasX || hasY && y < x {
		return y
	}
	return x
}

func has(params []Param, name string) bool {
	return slices.ContainsFunc(params, func(p Param) bool { return p.Name == name })
}

// set adds a parameter, unless its value is what its absence means.
func set(params []Param, name string, value int64) []Param {
	if def, ok := defaults[name]; ok && def == value {
		return params
	}
	return append(params, Param{name, value})
}
