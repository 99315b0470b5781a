package media

import (
	"encoding/hex"
	"strings"
	"testing"

	"riptide/bridge"
)

var intraCases = []struct {
	name  string
	codec bridge.Codec
	hex   string
	want  bool
}{
	{"H264 nothing", bridge.H264, "", false},
	{"H264 IDR slice", bridge.H264, "65 88 84", true},
	{"H264 sequence parameters", bridge.H264, "67 42 c0 1f", true},
	{"H264 picture parameters", bridge.H264, "68 ce", true},
	{"H264 other slice", bridge.H264, "41 9a", false},
	{"H264 SEI", bridge.H264, "06 05", false},
	{"H264 STAP-A of parameters", bridge.H264, "78 0002 67 42 0001 68", true},
	{"H264 STAP-A of SEI and IDR", bridge.H264, "78 0002 06 05 0002 65 88", true},
	{"H264 STAP-A of slices", bridge.H264, "78 0002 41 9a 0002 41 9a", false},
	{"H264 STAP-A, cut", bridge.H264, "78 0009 67 42", false},
	{"H264 STAP-A, empty unit", bridge.H264, "78 0000 67", false},
	{"H264 STAP-A, nothing in it", bridge.H264, "78", false},
	{"H264 FU-A, start of IDR", bridge.H264, "7c 85 88", true},
	{"H264 FU-A, middle of IDR", bridge.H264, "7c 05 88", false},
	{"H264 FU-A, end of IDR", bridge.H264, "7c 45 88", false},
	{"H264 FU-A, start of a slice", bridge.H264, "5c 81 9a", false},
	{"H264 FU-A, cut", bridge.H264, "7c", false},
	{"VP8 nothing", bridge.VP8, "", false},
	{"VP8 key frame", bridge.VP8, "10 10 02 00 9d 01 2a", true},
	{"VP8 inter frame", bridge.VP8, "10 11 02 00", false},
	{"VP8 key frame, later part of the partition", bridge.VP8, "00 10 02 00", false},
	{"VP8 key frame, second partition", bridge.VP8, "11 10 02 00", false},
	{"VP8 key frame, 7-bit picture id", bridge.VP8, "90 80 11 10", true},
	{"VP8 inter frame, 7-bit picture id", bridge.VP8, "90 80 10 11", false},
	{"VP8 key frame, 15-bit picture id", bridge.VP8, "90 80 91 11 10", true},
	{"VP8 key frame, everything", bridge.VP8, "90 f0 91 11 05 e1 10", true},
	{"VP8 inter frame, everything", bridge.VP8, "90 f0 91 11 05 e0 11", false},
	{"VP8 key frame, layer without picture id", bridge.VP8, "90 20 40 10", true},
	{"VP8 cut behind the extension", bridge.VP8, "90", false},
	{"VP8 cut before the picture id", bridge.VP8, "90 80", false},
	{"VP8 cut behind the picture id", bridge.VP8, "90 80 11", false},
	{"speech", bridge.PCMU, "65 65 65", false},
}

func TestIntra(t *testing.T) {
	for _, tc := range intraCases {
		b, err := hex.DecodeString(strings.ReplaceAll(tc.hex, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if got := intra(tc.codec, b); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

func FuzzIntra(f *testing.F) {
	for _, tc := range intraCases {
		b, err := hex.DecodeString(strings.ReplaceAll(tc.hex, " ", ""))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(tc.codec), b)
	}
	f.Fuzz(func(t *testing.T, codec uint8, b []byte) {
		before := string(b)
		intra(bridge.Codec(codec), b)
		if string(b) != before {
			t.Fatal("a packet was changed")
		}
	})
}
