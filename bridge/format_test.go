package bridge_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"riptide/bridge"
	"riptide/bridge/format"
)

// formatOf reads "H264 profile-level-id=4366366 packetization-mode=1".
func formatOf(t testing.TB, s string) bridge.Format {
	t.Helper()
	words := strings.Fields(s)
	c, ok := bridge.CodecNamed(words[0])
	if !ok {
		t.Fatalf("format %q: no such codec", s)
	}
	f := bridge.Format{Codec: c}
	for _, w := range words[1:] {
		var p bridge.Param
		name, value, _ := strings.Cut(w, "=")
		p.Name = name
		if _, err := fmt.Sscan(value, &p.Value); err != nil {
			t.Fatalf("format %q: %v", s, err)
		}
		f.Params = append(f.Params, p)
	}
	return f
}

func TestFormatCommon(t *testing.T) {
	for _, c := range []struct{ name, a, b, want string }{
		{"no parameters", "VP8", "VP8", "VP8"},
		{"other codecs", "VP8", "H264", ""},
		{"lower maximum", "VP8 max-width=1280", "VP8 max-width=640", "VP8 max-width=640"},
		{"only one limits", "VP8 max-width=1280", "VP8", "VP8 max-width=1280"},
		{"the other limits", "VP8", "VP8 max-fps=30", "VP8 max-fps=30"},
		{"both families", "VP8 max-res=1920 max-width=1280", "VP8 max-height=720", "VP8 max-res=1920 max-width=1280 max-height=720"},
		{"unknown parameter", "VP8 sparkle=9 max-fr=30", "VP8 sparkle=9", "VP8 max-fr=30"},
		{"negative maximum", "VP8 br=-5", "VP8 br=7", "VP8 br=-5"},
		{"channels default", "opus ch=2", "opus", "opus"},
		{"channels both", "opus ch=2", "opus ch=2", "opus ch=2"},
		{"channels at default", "opus ch=1", "opus ch=2", "opus"},
		{"bit rate and sample size", "opus br=64000 ss=16", "opus br=24000", "opus br=24000 ss=16"},
		{"packet time", "PCMU ptime=40", "PCMU ptime=20", "PCMU ptime=20"},

		{"same profile and level", "H264 profile-level-id=4366366 packetization-mode=1", "H264 profile-level-id=4366366 packetization-mode=1", "H264 profile-level-id=4366366 packetization-mode=1"},
		// 42E01F against 42E00D: the lower level (RFC 6184 section 8.2.2).
		{"lower level", "H264 profile-level-id=4382751", "H264 profile-level-id=4382733", "H264 profile-level-id=4382733"},
		{"lower level, other way", "H264 profile-level-id=4382733", "H264 profile-level-id=4382751", "H264 profile-level-id=4382733"},
		{"packetization modes differ", "H264 profile-level-id=4382733 packetization-mode=1", "H264 profile-level-id=4382733", ""},
		{"mode zero is the default", "H264 profile-level-id=4382733 packetization-mode=0", "H264 profile-level-id=4382733", "H264 profile-level-id=4382733"},
		{"profiles differ", "H264 profile-level-id=6553631", "H264 profile-level-id=4382751", ""},             // 64001F, 42E01F
		{"baseline is not constrained", "H264 profile-level-id=4325407", "H264 profile-level-id=4382751", ""}, // 42001F, 42E01F
		// 42E01F and 4D801F are both constrained baseline (RFC 6184 table 5).
		{"one profile, two spellings", "H264 profile-level-id=4382751", "H264 profile-level-id=5079071", "H264 profile-level-id=4382751"},
		{"nothing said is baseline level 1", "H264", "H264 profile-level-id=4325407", "H264"},
		{"nothing said, both", "H264", "H264", "H264"},
		// 42E00B is level 1.1, 42F00B is level 1b, 42E00A is level 1.
		{"level 1b below 1.1", "H264 profile-level-id=4382731", "H264 profile-level-id=4386827", "H264 profile-level-id=4386827"},
		{"level 1b above 1", "H264 profile-level-id=4386827", "H264 profile-level-id=4382730", "H264 profile-level-id=4382730"},
		{"no such profile", "H264 profile-level-id=1", "H264 profile-level-id=1", ""},
		{"not three bytes", "H264 profile-level-id=-1", "H264 profile-level-id=-1", ""},
		{"too large", "H264 profile-level-id=9223372036854775807", "H264 profile-level-id=9223372036854775807", ""},
		{"beyond the level, one side", "H264 profile-level-id=4382751 max-fs=8160", "H264 profile-level-id=4382751", "H264 profile-level-id=4382751"},
		{"beyond the level, both", "H264 profile-level-id=4382751 max-fs=8160", "H264 profile-level-id=4382751 max-fs=3600", "H264 profile-level-id=4382751 max-fs=3600"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := formatOf(t, c.a).Common(formatOf(t, c.b))
			switch {
			case c.want == "" && ok:
				t.Errorf("%s with %s: %v, want no match", c.a, c.b, got)
			case c.want == "":
			case !ok:
				t.Errorf("%s with %s: no match, want %s", c.a, c.b, c.want)
			default:
				if want := formatOf(t, c.want); got.Codec != want.Codec || !slices.Equal(got.Params, want.Params) {
					t.Errorf("%s with %s: %v, want %v", c.a, c.b, got, want)
				}
			}
		})
	}
}

// What two formats have in common is acceptable to both: asking again changes
// nothing.
func FuzzFormatCommon(f *testing.F) {
	f.Add(int64(4382751), int64(1), int64(640), int64(4382733), int64(1), int64(1280))
	f.Add(int64(4386827), int64(0), int64(-1), int64(4382730), int64(0), int64(0))
	f.Fuzz(func(t *testing.T, pa, ma, wa, pb, mb, wb int64) {
		make := func(p, m, w int64) bridge.Format {
			return bridge.Format{Codec: bridge.H264, Params: []bridge.Param{
				{Name: format.ProfileLevelID, Value: p}, {Name: format.PacketizationMode, Value: m}, {Name: "max-width", Value: w},
			}}
		}
		a, b := make(pa, ma, wa), make(pb, mb, wb)
		ab, ok := a.Common(b)
		ba, ok2 := b.Common(a)
		if ok != ok2 {
			t.Fatalf("%v and %v fit one way only", a, b)
		}
		if !ok {
			return
		}
		for _, with := range []bridge.Format{a, b, ba, ab} {
			again, ok := ab.Common(with)
			if !ok {
				t.Fatalf("%v does not fit %v", ab, with)
			}
			if w, _ := again.Param("max-width"); w != min(wa, wb) {
				t.Fatalf("max-width %d, want at most %d and %d", w, wa, wb)
			}
		}
	})
}

func TestCodecNames(t *testing.T) {
	for _, c := range bridge.Codecs() {
		for _, name := range []string{c.String(), strings.ToUpper(c.String()), strings.ToLower(c.String())} {
			if got, ok := bridge.CodecNamed(name); !ok || got != c {
				t.Errorf("CodecNamed(%q) = %v, %v, want %v", name, got, ok, c)
			}
		}
	}
	if c, ok := bridge.CodecNamed("G729"); ok {
		t.Errorf("G729 is %v", c)
	}
}
