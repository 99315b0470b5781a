package format

// inferredProfile is what an H.264 format without profile-level-id means:
// Baseline at level 1 (RFC 6184 section 8.1).
const inferredProfile = 0x42000A

// beyondLevel are the parameters of H.264 that widen a level: who does not name
// one is limited by the level (RFC 6184 section 8.1).
var beyondLevel = map[string]bool{"max-fs": true, "max-mbps": true, "max-br": true}

// commonProfile is the profile-level-id of what two ends can exchange. Profile
// and packetization mode must be the same, of levels the lower holds (RFC 6184
// section 8.2.2): a bridge sends the same pictures on to both.
func commonProfile(a, b []Param) (profileLevelID int64, ok bool) {
	modeA, _ := Value(a, PacketizationMode)
	modeB, _ := Value(b, PacketizationMode)
	x, _ := Value(a, ProfileLevelID)
	y, _ := Value(b, ProfileLevelID)
	name := h264Profile(x)
	if modeA != modeB || name == "" || name != h264Profile(y) {
		return 0, false
	}
	if h264Level(y) < h264Level(x) {
		return y, true
	}
	return x, true
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
