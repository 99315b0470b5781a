package transcode

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// letters is a codec whose samples are the bytes of its payloads. What it makes
// up is "~", and "+" where it has the payload behind the gap.
type letters struct{}

func (letters) Decode(dst []int16, payload []byte) ([]int16, error) {
	if string(payload) == "broken" {
		return dst, errors.New("broken")
	}
	for _, b := range payload {
		dst = append(dst, int16(b))
	}
	return dst, nil
}

func (letters) Conceal(dst []int16, n int, next []byte) []int16 {
	for i := range n {
		if i == n-1 && next != nil {
			dst = append(dst, '+')
		} else {
			dst = append(dst, '~')
		}
	}
	return dst
}

func (letters) Encode(dst []byte, samples []int16) ([]byte, error) {
	for _, s := range samples {
		dst = append(dst, byte(s))
	}
	return dst, nil
}

// said writes what comes out: number, time and text of each packet, "!" for the
// marker.
func said(c *Converter, in ...Packet) string {
	var out []string
	for _, p := range in {
		c.Take(p, func(p Packet) {
			mark := map[bool]string{true: "!"}[p.Marker]
			text := string(p.Payload)
			if p.Kind != Speech {
				text = fmt.Sprintf("%d:%x", p.Kind, p.Payload)
			}
			out = append(out, fmt.Sprintf("%s%d@%d %s", mark, p.Seq, p.Time, strings.ReplaceAll(text, "\x00", "0")))
		})
	}
	return strings.Join(out, ", ")
}

func speech(seq, time uint64, text string) Packet {
	return Packet{Seq: seq, Time: time, Payload: []byte(text)}
}

func TestConverter(t *testing.T) {
	digit := Packet{Kind: Aside, Seq: 11, Time: 104, Tag: 3, Payload: []byte{1}}
	quiet := Packet{Kind: Quiet, Seq: 11, Time: 104, Payload: []byte{127}}
	cases := []struct {
		name string
		o    Options
		in   []Packet
		out  string
	}{
		{"cut shorter", Options{Frame: 2}, []Packet{speech(10, 100, "abcd"), speech(11, 104, "efgh")},
			"!1@100 ab, 2@102 cd, 3@104 ef, 4@106 gh"},
		{"joined longer", Options{Frame: 6}, []Packet{speech(10, 100, "abcd"), speech(11, 104, "efgh"), speech(12, 108, "ijkl")},
			"!1@100 abcdef, 2@106 ghijkl"},
		{"numbers go on from where they were", Options{Frame: 4, Seq: 77}, []Packet{speech(10, 100, "abcd")}, "!78@100 abcd"},
		{"overtaken", Options{Frame: 4}, []Packet{speech(10, 100, "abcd"), speech(12, 108, "ijkl"), speech(11, 104, "efgh"), speech(13, 112, "mnop")},
			"!1@100 abcd, 2@104 efgh, 3@108 ijkl, 4@112 mnop"},
		{"overtaken twice, and a duplicate", Options{Frame: 4}, []Packet{speech(10, 100, "abcd"), speech(13, 112, "mnop"), speech(13, 112, "mnop"), speech(12, 108, "ijkl"), speech(11, 104, "efgh"), speech(11, 104, "efgh")},
			"!1@100 abcd, 2@104 efgh, 3@108 ijkl, 4@112 mnop"},
		{"lost, and left to the listener", Options{Frame: 4}, []Packet{speech(10, 100, "abcd"), speech(12, 108, "ijkl"), speech(13, 112, "mnop"), speech(14, 116, "qrst")},
			"!1@100 abcd, 3@108 ijkl, 4@112 mnop, 5@116 qrst"},
		{"lost, and made up", Options{Frame: 4, Conceals: true}, []Packet{speech(10, 100, "abcd"), speech(13, 112, "mnop"), speech(14, 116, "qrst"), speech(15, 120, "uvwx")},
			"!1@100 abcd, 2@104 ~~~~, 3@108 ~~~+, 4@112 mnop, 5@116 qrst, 6@120 uvwx"},
		{"lost for so long that it is silence", Options{Frame: 4, Conceals: true}, []Packet{speech(10, 100, "abcd"), speech(13, 104+maxConceal+4, "mnop"), speech(14, 112+maxConceal, "qrst"), speech(15, 116+maxConceal, "uvwx")},
			fmt.Sprintf("!1@100 abcd, %d@%d mnop, %d@%d qrst, %d@%d uvwx", 2+maxStep, 108+maxConceal, 3+maxStep, 112+maxConceal, 4+maxStep, 116+maxConceal)},
		{"what is lost cuts a packet short", Options{Frame: 8}, []Packet{speech(10, 100, "dddd"), speech(12, 108, "ijkl"), speech(13, 112, "mnop"), speech(14, 116, "qrst")},
			"!1@100 ddddK2\x190, 2@108 ijklmnop"},
		{"silence, then speech", Options{Frame: 4}, []Packet{speech(10, 100, "abcd"), speech(11, 900, "efgh"), speech(12, 904, "ijkl")},
			"!1@100 abcd, !2@900 efgh, 3@904 ijkl"},
		{"digits in their place", Options{Frame: 4}, []Packet{speech(10, 100, "abcd"), digit, speech(12, 108, "efgh")},
			"!1@100 abcd, 2@104 2:01, !3@108 efgh"},
		{"another stream", Options{Frame: 4}, []Packet{speech(10, 100, "abcd"), speech(900, 5, "efgh"), speech(901, 9, "ijkl")},
			"!1@100 abcd, !2@5 efgh, 3@9 ijkl"},
		{"another stream, which began earlier", Options{Frame: 4}, []Packet{speech(900, 100, "abcd"), speech(10, 5, "efgh")},
			"!1@100 abcd, !2@5 efgh"},
		{"broken", Options{Frame: 4}, []Packet{speech(10, 100, "abcd"), speech(11, 104, "broken"), speech(12, 108, "ijkl")},
			"!1@100 abcd, !2@108 ijkl"},
		{"comfort noise handed on", Options{Frame: 4, Quiet: true}, []Packet{speech(10, 100, "abcd"), quiet, speech(12, 999, "efgh")},
			"!1@100 abcd, 2@104 1:7f, !3@999 efgh"},
		{"comfort noise made heard", Options{Frame: 4}, []Packet{speech(10, 100, "abcd"), quiet, speech(12, 999, "efgh")},
			"!1@100 abcd, !2@104 0000, !3@999 efgh"},
		{"a sender that falls silent", Options{Frame: 4, Quiet: true, Conceals: true}, []Packet{
			speech(10, 100, "abcd"), speech(11, 104, "\x00"), speech(12, 105, "\x00"), speech(13, 104+quietEvery, "\x00"), speech(14, 9999, "efgh"),
		}, fmt.Sprintf("!1@100 abcd, 2@104 1:6a, 3@%d 1:6a, !4@9999 efgh", 104+quietEvery)},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.o.Decoder, c.o.Encoder = letters{}, letters{}
			conv := NewConverter(c.o)
			if got := said(conv, c.in...); got != c.out {
				t.Errorf("have %q\nwant %q", got, c.out)
			}
		})
	}
}

func TestConverterCountsWhatItDrops(t *testing.T) {
	c := NewConverter(Options{Decoder: letters{}, Encoder: letters{}, Frame: 4})
	long := speech(12, 8, strings.Repeat("x", maxPayload+1))
	said(c, speech(10, 0, "abcd"), speech(9, 0, "late"), speech(10, 0, "abcd"), long, speech(11, 4, "broken"))
	if late, broken := c.Dropped(); late != 2 || broken != 2 {
		t.Errorf("late %d, broken %d", late, broken)
	}
}

// Opus to G.711 with every tenth packet lost and every seventh overtaken: the
// listener hears speech without a hole.
func TestOpusToG711(t *testing.T) {
	enc, dec := opusPair(t)
	c := NewConverter(Options{Decoder: dec, Encoder: MuLaw.NewEncoder(), Frame: 160, Conceals: true})
	var v voice
	var in []Packet
	for i := range uint64(200) {
		payload, err := enc.Encode(nil, v.Append(nil, 160))
		if err != nil {
			t.Fatal(err)
		}
		if i%10 != 9 {
			in = append(in, Packet{Seq: 5 + i, Time: 1000 + 160*i, Payload: payload})
		}
	}
	for i := 7; i < len(in); i += 7 {
		in[i], in[i-1] = in[i-1], in[i]
	}
	var heard []int16
	var seq uint64
	for _, p := range in {
		c.Take(p, func(p Packet) {
			if p.Seq != seq+1 || p.Time != 1000+160*seq || len(p.Payload) != 160 {
				t.Fatalf("packet %d at %d after %d: %d bytes", p.Seq, p.Time, seq, len(p.Payload))
			}
			seq = p.Seq
			heard = MuLaw.Decode(heard, p.Payload)
		})
	}
	if seq != 199 {
		t.Errorf("%d packets", seq)
	}
	mean := LevelDBm0(heard)
	for at := 1600; at+160 <= len(heard); at += 160 {
		if l := LevelDBm0(heard[at : at+160]); l < mean-20 {
			t.Errorf("%.1f dBm0 at %d ms, %.1f in all", l, at/8, mean)
		}
	}
}

// FuzzConverter: packets in any order, of any time and content, neither panic nor
// make more of themselves than they are.
func FuzzConverter(f *testing.F) {
	f.Add([]byte{0, 1, 0, 4, 1, 2, 3, 4, 1, 1, 1, 1, 9})
	f.Add([]byte{2, 3, 0, 1, 64, 0, 7, 8, 2, 1, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		c := NewConverter(Options{Decoder: letters{}, Encoder: letters{}, Frame: 8, Conceals: len(b)%2 == 0, Quiet: len(b)%3 == 0})
		var seq, time, last, bytes uint64
		given := 0
		for n := 0; len(b) >= 4; n++ {
			seq += uint64(int8(b[1]))
			time += uint64(int64(int8(b[2])) * 7)
			size := min(int(b[3]), len(b)-4)
			p := Packet{Kind: Kind(b[0] % 3), Seq: seq, Time: time, Payload: b[4 : 4+size]}
			b = b[4+size:]
			bytes += uint64(size) + maxConceal + 16
			c.Take(p, func(p Packet) {
				if p.Seq <= last {
					t.Fatalf("number %d after %d", p.Seq, last)
				}
				last = p.Seq
				given += len(p.Payload)
			})
		}
		if uint64(given) > bytes {
			t.Fatalf("%d bytes came out of %d", given, bytes)
		}
	})
}

func TestConverterAllocatesNothing(t *testing.T) {
	c := NewConverter(Options{Decoder: ALaw.NewDecoder(), Encoder: MuLaw.NewEncoder(), Frame: 240, Quiet: true})
	p := Packet{Payload: make([]byte, 160)}
	give := func(Packet) {}
	if n := testing.AllocsPerRun(500, func() {
		p.Seq++
		p.Time += 160
		if p.Seq%10 != 0 { // some are lost
			c.Take(p, give)
		}
	}); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}
