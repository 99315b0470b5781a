package bridge

import (
	"slices"
)

// Format is a codec with the parameters that both ends must know.
type Format struct {
	Codec  Codec   `json:"codec"`
	Params []Param `json:"params,omitempty"`
}

// Param is one parameter of a format, by its name in the RIPT registry: lower
// case, such as "profile-level-id", whose hexadecimal value is a number here.
// Most are maxima: "br" bit/s, "ch" channels, "max-width" pixels.
type Param struct {
	Name  string `json:"name"`
	Value int64  `json:"value"`
}

// Names of parameters that are more than a maximum.
const (
	ParamProfileLevelID    = "profile-level-id"   // of H264: three bytes (RFC 6184 section 8.1)
	ParamPacketizationMode = "packetization-mode" // of H264: 0, 1 or 2
	ParamPtime             = "ptime"              // of speech: ms per packet
	ParamChannels          = "ch"                 // of speech: 1 if not said
	ParamBitRate           = "br"                 // bit/s
)

// maxima are the parameters of the registry whose lower value holds. Sizes of
// pictures go by two families of names, and by those of the payload formats
// (RFC 6184 section 8.1, RFC 7741 section 6.1).
var maxima = map[string]bool{
	ParamBitRate: true, ParamChannels: true, ParamPtime: true, "ss": true,
	"max-res": true, "max-width": true, "max-height": true, "max-fps": true,
	"max-fs": true, "max-fr": true, "max-mbps": true, "max-br": true,
}

// defaults are the values of parameters that are not there. What has no default
// is not limited.
var defaults = map[string]int64{ParamChannels: 1, ParamPacketizationMode: 0}

// Param is the value of a parameter; ok says whether it is there, or has a
// default.
func (f Format) Param(name string) (value int64, ok bool) {
	for _, p := range f.Params {
		if p.Name == name {
			return p.Value, true
		}
	}
	value, ok = defaults[name]
	return value, ok
}

// Common is what two ends that advertise f and g can exchange: the same codec
// within the limits of both. Parameters nobody knows are left out, and so are
// those that come out at their default. Not ok: the formats do not fit.
func (f Format) Common(g Format) (common Format, ok bool) {
	if f.Codec != g.Codec {
		return Format{}, false
	}
	out := Format{Codec: f.Codec}
	if f.Codec == H264 {
		level, fits := commonProfile(f, g)
		if !fits {
			return Format{}, false
		}
		out.set(ParamProfileLevelID, level)
		mode, _ := f.Param(ParamPacketizationMode)
		out.set(ParamPacketizationMode, mode)
	}
	for _, p := range append(slices.Clone(f.Params), g.Params...) {
		if !maxima[p.Name] || out.has(p.Name) || beyondLevel(f.Codec, p.Name) && !(f.has(p.Name) && g.has(p.Name)) {
			continue
		}
		out.set(p.Name, lower(f, g, p.Name))
	}
	return out, true
}

// lower is the lower of the values that limit a parameter.
func lower(f, g Format, name string) int64 {
	a, hasA := f.Param(name)
	b, hasB := g.Param(name)
	if !hasA || hasB && b < a {
		return b
	}
	return a
}

// beyondLevel tells the parameters of H.264 that widen a level: who does not
// name one is limited by the level (RFC 6184 section 8.1).
func beyondLevel(c Codec, name string) bool {
	return c == H264 && (name == "max-fs" || name == "max-mbps" || name == "max-br")
}

func (f Format) has(name string) bool {
	return slices.ContainsFunc(f.Params, func(p Param) bool { return p.Name == name })
}

// set adds a parameter, unless its value is what its absence means.
func (f *Format) set(name string, value int64) {
	if def, ok := defaults[name]; !ok || def != value {
		f.Params = append(f.Params, Param{name, value})
	}
}

// inferredProfile is what an H.264 format without profile-level-id means:
// Baseline at level 1 (RFC 6184 section 8.1).
const inferredProfile = 0x42000A

// commonProfile is the profile-level-id of what two ends can exchange. Profile
// and packetization mode must be the same, of levels the lower holds (RFC 6184
// section 8.2.2): a bridge sends the same pictures on to both.
func commonProfile(f, g Format) (profileLevelID int64, ok bool) {
	modeF, _ := f.Param(ParamPacketizationMode)
	modeG, _ := g.Param(ParamPacketizationMode)
	a, b := f.profileLevelID(), g.profileLevelID()
	profileA, profileB := h264Profile(a), h264Profile(b)
	if modeF != modeG || profileA == "" || profileA != profileB {
		return 0, false
	}
	if h264Level(b) < h264Level(a) {
		return b, true
	}
	return a, true
}

func (f Format) profileLevelID() int64 {
	if v, ok := f.Param(ParamProfileLevelID); ok {
		return v
	}
	return inferredProfile
}

// h264Profiles is RFC 6184 table 5: which profile_idc and profile-iop mean the
// same sub-profile. mask says which bits of profile-iop count.
var h264Profiles = []struct {
	idc, mask, iop uint8
	name           string
}{
	{0x42, 0x4F, 0x40, "constrained baseline"},
	{0x4D, 0x8F, 0x80, "constrained baseline"},
	{0x58, 0xCF, 0xC0, "constrained baseline"},
	{0x42, 0x4F, 0x00, "baseline"},
	{0x58, 0xCF, 0x80, "baseline"},
	{0x4D, 0xAF, 0x00, "main"},
	{0x58, 0xCF, 0x00, "extended"},
	{0x64, 0xFF, 0x00, "high"},
	{0x64, 0xFF, 0x0C, "constrained high"}, // not in the table, but in use everywhere
	{0x6E, 0xFF, 0x00, "high 10"},
	{0x7A, 0xFF, 0x00, "high 4:2:2"},
	{0xF4, 0xFF, 0x00, "high 4:4:4 predictive"},
	{0x6E, 0xFF, 0x10, "high 10 intra"},
	{0x7A, 0xFF, 0x10, "high 4:2:2 intra"},
	{0xF4, 0xFF, 0x10, "high 4:4:4 intra"},
	{0x2C, 0xFF, 0x10, "CAVLC 4:4:4 intra"},
}

// h264Profile names the sub-profile of a profile-level-id, "" if there is none.
func h264Profile(id int64) string {
	if id < 0 || id > 0xFFFFFF {
		return ""
	}
	idc, iop := uint8(id>>16), uint8(id>>8)
	for _, p := range h264Profiles {
		if p.idc == idc && iop&p.mask == p.iop {
			return p.name
		}
	}
	return ""
}

// h264Level orders levels. 1b stands between 1 and 1.1: level_idc 9, or 11 with
// constraint_set3_flag in the profiles that have it (H.264 section A.3.1).
func h264Level(id int64) int {
	level := int(id & 0xFF)
	switch idc := id >> 16; {
	case level == 9,
		level == 11 && id&0x1000 != 0 && (idc == 0x42 || idc == 0x4D || idc == 0x58):
		return 10*2 + 1
	}
	return level * 2
}
