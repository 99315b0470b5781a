package bridgetest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"path/filepath"
	"slices"
	"testing"
)

func wav(t testing.TB, samples []int16, rate int) []byte {
	var b bytes.Buffer
	if err := WriteWAV(&b, samples, rate); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWAVRoundTrip(t *testing.T) {
	want := []int16{0, 1, -1, 32767, -32768}
	path := filepath.Join(t.TempDir(), "x.wav")
	if err := SaveWAV(path, want, 8000); err != nil {
		t.Fatal(err)
	}
	got, rate, err := LoadWAV(path)
	if err != nil || rate != 8000 || !slices.Equal(got, want) {
		t.Fatalf("got %v at %d, %v", got, rate, err)
	}
}

func TestReadWAV(t *testing.T) {
	good := wav(t, []int16{1, 2, 3}, 16000)
	with := func(f func(b []byte) []byte) []byte { return f(slices.Clone(good)) }
	le := binary.LittleEndian
	chunk := func(id string, size int) []byte {
		b := append([]byte(id), le.AppendUint32(nil, uint32(size))...)
		return slices.Concat(good[:12], b, make([]byte, size+size%2), good[12:])
	}
	many := func(n int) []byte {
		return slices.Concat(good[:12], bytes.Repeat([]byte("LIST\x00\x00\x00\x00"), n), good[12:])
	}
	long := func(n int) []byte { return wav(t, make([]int16, n), 8000) }
	for _, c := range []struct {
		name    string
		in      []byte
		samples int
		ok      bool
	}{
		{"good", good, 3, true},
		{"a chunk before", chunk("LIST", 7), 3, true},
		{"a chunk at the limit", chunk("LIST", maxWAVChunk), 3, true},
		{"a chunk past the limit", chunk("LIST", maxWAVChunk+1), 0, false},
		{"length not written", with(func(b []byte) []byte { le.PutUint32(b[40:], 0); return b }), 3, true},
		{"length unknown", with(func(b []byte) []byte { le.PutUint32(b[40:], 0xffffffff); return b }), 3, true},
		{"stereo", with(func(b []byte) []byte { b[22] = 2; return b }), 1, true},
		{"quadrophonic", with(func(b []byte) []byte { b[22] = 4; return b }), 0, false},
		{"8 bit", with(func(b []byte) []byte { b[34] = 8; return b }), 0, false},
		{"float", with(func(b []byte) []byte { b[20] = 3; return b }), 0, false},
		{"slow", with(func(b []byte) []byte { le.PutUint32(b[24:], 7999); return b }), 0, false},
		{"fast", with(func(b []byte) []byte { le.PutUint32(b[24:], 48001); return b }), 0, false},
		{"not RIFF", with(func(b []byte) []byte { b[0] = 'X'; return b }), 0, false},
		{"data first", slices.Concat(good[:12], good[36:]), 0, false},
		{"15 chunks before", many(14), 3, true},
		{"16 chunks before", many(15), 0, false},
		{"at the limit", long(MaxWAVSamples), MaxWAVSamples, true},
		{"past the limit", long(MaxWAVSamples + 1), 0, false},
	} {
		got, _, err := ReadWAV(bytes.NewReader(c.in))
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrWAV) || len(got) != c.samples {
			t.Errorf("%s: %d samples, %v", c.name, len(got), err)
		}
	}
	for n := range good {
		if _, _, err := ReadWAV(bytes.NewReader(good[:n])); err == nil {
			t.Errorf("the first %d of %d bytes are taken", n, len(good))
		}
	}
}

func FuzzReadWAV(f *testing.F) {
	f.Add(wav(f, []int16{1, 2, 3}, 8000))
	f.Add([]byte("RIFF\x00\x00\x00\x00WAVELIST\x02\x00\x00\x00ab"))
	f.Fuzz(func(t *testing.T, in []byte) {
		samples, rate, err := ReadWAV(bytes.NewReader(in))
		if err != nil {
			return
		}
		again, rate2, err := ReadWAV(bytes.NewReader(wav(t, samples, rate)))
		if err != nil || rate2 != rate || !slices.Equal(again, samples) {
			t.Fatalf("%d samples at %d become %d at %d, %v", len(samples), rate, len(again), rate2, err)
		}
	})
}
