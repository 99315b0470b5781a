package chunk

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the vectors anew")

const vectorsFile = "../../testdata/chunk/vectors.json"

// vector is one entry of the vectors file: a chunk, and what it holds.
type vector struct {
	Name  string `json:"name"`
	Hex   string `json:"hex"`
	Chunk *Chunk `json:"chunk,omitempty"`
	Ack   *Ack   `json:"ack,omitempty"`
	AAD   string `json:"aad,omitempty"`   // of a sealed chunk: the associated data, hex
	Error string `json:"error,omitempty"` // why it is to be rejected
}

func audio() Chunk {
	return Chunk{
		Seq: FullNumber(1), Timestamp: FullNumber(1600000000123), PayloadType: 0,
		Source: 1, Sink: 1, Clock: FullNumber(160), Media: []byte{0xff, 0x7f, 0x00},
	}
}

func with(f func(*Chunk)) *Chunk {
	c := audio()
	f(&c)
	return &c
}

func goodVectors() []vector {
	ack := Ack{Direction: ServerToClient, Source: 1, Sink: 1, Delay: 1500, Ranges: []Range{{10, 12}, {5, 8}, {3, 3}}}
	return []vector{
		{Name: "PCMU, all numbers full", Chunk: with(func(c *Chunk) {})},
		{Name: "PCMU, numbers truncated", Chunk: with(func(c *Chunk) {
			c.Seq, c.Timestamp, c.Clock = Truncated(0x12345, 2), Truncated(1600000000143, 2), Truncated(320, 4)
		})},
		{Name: "one-byte sequence number", Chunk: with(func(c *Chunk) { c.Seq = Truncated(0x1ff, 1) })},
		{Name: "greatest sequence number", Chunk: with(func(c *Chunk) { c.Seq = FullNumber(MaxNumber) })},
		{Name: "PCMA with marker, source 2 to sink 255", Chunk: with(func(c *Chunk) { c.PayloadType, c.Marker, c.Source, c.Sink = 8, true, 2, 255 })},
		{Name: "comfort noise", Chunk: with(func(c *Chunk) { c.PayloadType, c.Media = 13, []byte{0x3f} })},
		{Name: "telephone-event 5, end", Chunk: with(func(c *Chunk) { c.PayloadType, c.Media = 129, []byte{5, 0x8a, 0x03, 0x20} })},
		{Name: "keep-alive: empty media", Chunk: with(func(c *Chunk) { c.Media = []byte{} })},
		{Name: "no media clock", Chunk: with(func(c *Chunk) { c.Clock = Number{} })},
		{Name: "H264 with every optional field", Chunk: with(func(c *Chunk) {
			c.PayloadType, c.Media = 144, bytes.Repeat([]byte{7}, 100)
			c.Video = layers(1 << TagAudioLevel)
		})},
		{Name: "sealed audio, numbers truncated", Chunk: with(func(c *Chunk) {
			c.Seq, c.Timestamp, c.Clock = Truncated(0x12345, 2), Truncated(1600000000143, 2), Truncated(320, 4)
			seal(c, 0)
		})},
		{Name: "sealed video with every optional field", Chunk: with(func(c *Chunk) {
			c.PayloadType, c.Marker, c.Source, c.Sink = 146, true, 2, 2
			c.Video = layers(1 << TagAudioLevel)
			seal(c, MaxNumber)
		}), AAD: "0108000000000000000102080000017487" + "6e807b" + "030240920804800040000901010a01020d08ffffffffffffffff0e0800000000000000a00f0101"},
		{Name: "sealed, one byte", Chunk: with(func(c *Chunk) { seal(c, 7); c.Sealed = c.Sealed[:1] })},
		{Name: "acknowledgement of 3, 5 to 8 and 10 to 12", Chunk: &Chunk{Control: true, Ack: ack.Append(nil)}, Ack: &ack},
		{Name: "request for a keyframe of source 2 to sink 2", Chunk: &Chunk{Control: true, ControlType: ControlKeyframe, Body: Keyframe{2, 2}.Append(nil)}},
		{Name: "request for a keyframe of source 255 to sink 64", Chunk: &Chunk{Control: true, ControlType: ControlKeyframe, Body: Keyframe{255, 64}.Append(nil)}},
		{Name: "hello of 8 bytes", Chunk: &Chunk{Control: true, ControlType: ControlHello, Body: []byte("12345678")}},
		{Name: "echo of 32 bytes", Chunk: &Chunk{Control: true, ControlType: ControlEcho, Body: bytes.Repeat([]byte{0xab}, MaxHello)}},
		{Name: "another control type", Chunk: &Chunk{Control: true, ControlType: 7}},
		{Name: "another control type with a body of its own", Chunk: &Chunk{Control: true, ControlType: 64, Body: []byte{}}},
	}
}

// layers are those of a video chunk, and what else has says.
func layers(has uint32) Video {
	return Video{has | 1<<TagReferenceFrame | 1<<TagSpatialLayer | 1<<TagTemporalLayer, 16384, 1, 2, uint8(has>>TagAudioLevel) * 127}
}

// seal puts what stands for an auth tag and a ciphertext in the place of media.
func seal(c *Chunk, key uint64) {
	c.Media, c.KeyID, c.Sealed = nil, key, []byte("auth tag and ciphertext")
}

// badVectors are made by hand: nothing of ours writes them.
func badVectors() []vector {
	const (
		head = "0101 01 " // seq 1, one byte
		ts   = "0201 01 " // timestamp
		pt   = "0301 00 "
		ss   = "0601 01 0701 01 "
		env  = head + ts + pt + ss // 15 bytes
		pkg  = "0401 ff"
	)
	return []vector{
		{Name: "nothing", Hex: "", Error: "ends within a field"},
		{Name: "version 2", Hex: "02 0f " + env + pkg, Error: "unknown version"},
		{Name: "envelope beyond the end", Hex: "01 20 " + env + pkg, Error: "ends within"},
		{Name: "envelope of 513 bytes", Hex: "01 4201 " + strings.Repeat("00", 600), Error: "envelope longer"},
		{Name: "tag twice", Hex: "01 12 " + head + head + ts + pt + ss + pkg, Error: "one twice"},
		{Name: "tags out of order", Hex: "01 0f " + ts + head + pt + ss + pkg, Error: "out of order"},
		{Name: "tag 0", Hex: "01 12 000100" + env + pkg, Error: "unknown core tag"},
		{Name: "reserved tag 16", Hex: "01 12 " + env + "100100" + pkg, Error: "unknown core tag"},
		{Name: "unknown core tag 31", Hex: "01 12 " + env + "1f0100" + pkg, Error: "unknown core tag"},
		{Name: "unknown core tag in the package", Hex: "01 0f " + env + pkg + "1f0100", Error: "unknown core tag"},
		{Name: "media in the envelope", Hex: "01 12 " + head + ts + pt + "0401ff" + ss + pkg, Error: "wrong part"},
		{Name: "source in the package", Hex: "01 0f " + env + pkg + "060101", Error: "wrong part"},
		{Name: "no sequence number", Hex: "01 0c " + ts + pt + ss + pkg, Error: "missing"},
		{Name: "no timestamp", Hex: "01 0c " + head + pt + ss + pkg, Error: "missing"},
		{Name: "no payload type", Hex: "01 0c " + head + ts + ss + pkg, Error: "missing"},
		{Name: "no source", Hex: "01 0c " + head + ts + pt + "070101" + pkg, Error: "missing"},
		{Name: "no media", Hex: "01 0f " + env, Error: "missing"},
		{Name: "sequence number of 3 bytes", Hex: "01 11 0103010101" + ts + pt + ss + pkg, Error: "wrong length"},
		{Name: "sequence number over 62 bits", Hex: "01 16 01084000000000000000" + ts + pt + ss + pkg, Error: "out of range"},
		{Name: "source 0", Hex: "01 0f " + head + ts + pt + "060100 070101" + pkg, Error: "out of range"},
		{Name: "source of 2 bytes", Hex: "01 10 " + head + ts + pt + "06020001 070101" + pkg, Error: "wrong length"},
		{Name: "marker 2", Hex: "01 12 " + env + "0f0102" + pkg, Error: "out of range"},
		{Name: "payload type longer than its varint", Hex: "01 10 " + head + ts + "03020000" + ss + pkg, Error: "wrong length"},
		{Name: "acknowledgement without a body", Hex: "01 03 050101 0c0100", Error: "missing"},
		{Name: "control with media", Hex: "01 03 050101 0401ff 0c0100 1100", Error: "missing"},
		{Name: "acknowledgement with a control body", Hex: "01 03 050101 0c0100 1100 1200", Error: "missing"},
		{Name: "request for a keyframe without a body", Hex: "01 03 050101 0c0101", Error: "missing"},
		{Name: "request for a keyframe with an acknowledgement", Hex: "01 03 050101 0c0101 1100 12020101", Error: "missing"},
		{Name: "request for a keyframe of nothing", Hex: "01 03 050101 0c0101 1200", Error: "ends within"},
		{Name: "request for a keyframe of source 0", Hex: "01 03 050101 0c0101 12020001", Error: "out of range"},
		{Name: "request for a keyframe to sink 256", Hex: "01 03 050101 0c0101 1203014100", Error: "out of range"},
		{Name: "request for a keyframe, and a byte more", Hex: "01 03 050101 0c0101 1203010101", Error: "wrong length"},
		{Name: "hello without a body", Hex: "01 03 050101 0c0102", Error: "missing"},
		{Name: "hello of 7 bytes", Hex: "01 03 050101 0c0102 1207" + strings.Repeat("aa", MinHello-1), Error: "not of its type"},
		{Name: "hello of 33 bytes", Hex: "01 03 050101 0c0102 1221" + strings.Repeat("aa", MaxHello+1), Error: "not of its type"},
		{Name: "echo of 33 bytes", Hex: "01 03 050101 0c0103 1221" + strings.Repeat("aa", MaxHello+1), Error: "not of its type"},
		{Name: "control body in the envelope", Hex: "01 12 " + env + "120101" + pkg, Error: "wrong part"},
		{Name: "media with a control body", Hex: "01 0f " + env + pkg + "120101", Error: "missing"},
		{Name: "unknown core tag 19", Hex: "01 12 " + env + "130100" + pkg, Error: "unknown core tag"},
		{Name: "sealed control", Hex: "01 06 050101 0d0107 0c0100 1100", Error: "sealed"},
		{Name: "sealed nothing", Hex: "01 12 " + env + "0d0107", Error: "missing"},
		{Name: "key id longer than its varint", Hex: "01 13 " + env + "0d020707" + pkg, Error: "wrong length"},
		{Name: "33 tags", Hex: "01 407e " + env + grease(28) + pkg, Error: "more tags"},
	}
}

// grease is n extension tags, as hex.
func grease(n int) string {
	var b []byte
	for i := range n {
		b = append(appendVarint(b, uint64(33+31*i)), 1, 0)
	}
	return hex.EncodeToString(b)
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectors(t *testing.T) {
	var want []vector
	for _, v := range goodVectors() {
		v.Hex = hex.EncodeToString(v.Chunk.Append(nil))
		if v.Chunk.Sealed != nil && v.AAD == "" {
			v.AAD = hex.EncodeToString(v.Chunk.AppendAuthenticated(nil))
		}
		want = append(want, v)
	}
	for _, v := range badVectors() {
		v.Hex = hex.EncodeToString(unhex(t, v.Hex))
		want = append(want, v)
	}
	data, err := json.MarshalIndent(want, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(vectorsFile, append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bytes.TrimSpace(stored), data) {
		t.Error("what this code writes is not what the vectors say; if the format was meant to change, run with -update")
	}
	var vectors []vector
	if err := json.Unmarshal(stored, &vectors); err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) { v.check(t) })
	}
}

func (v vector) check(t *testing.T) {
	b := unhex(t, v.Hex)
	got, err := Parse(b)
	if v.Error != "" {
		if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), v.Error) {
			t.Fatalf("got %+v, %v; want an error with %q", got, err, v.Error)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, *v.Chunk) {
		t.Errorf("got %+v, want %+v", got, *v.Chunk)
	}
	if n := got.Size(); n != len(b) {
		t.Errorf("Size() = %d, want %d", n, len(b))
	}
	if again := got.Append(nil); !bytes.Equal(again, b) {
		t.Errorf("written again: %x", again)
	}
	if v.Ack != nil {
		if ack, err := ParseAck(got.Ack, nil); err != nil || !reflect.DeepEqual(ack, *v.Ack) {
			t.Errorf("acknowledgement %+v, %v", ack, err)
		}
	}
	if v.AAD != "" {
		if aad := hex.EncodeToString(got.AppendAuthenticated(nil)); aad != v.AAD {
			t.Errorf("associated data %s, want %s", aad, v.AAD)
		}
	}
	for n := range b {
		if got, err := Parse(b[:n]); err == nil && got.ControlType <= ControlEcho && got.Sealed == nil {
			t.Errorf("the first %d bytes of %d were accepted", n, len(b))
		}
	}
}
