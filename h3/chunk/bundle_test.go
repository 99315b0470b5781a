package chunk

import (
	"bytes"
	"errors"
	"testing"
)

func TestBundle(t *testing.T) {
	t.Parallel()
	var datagram []byte
	tags := []uint64{0, 1, 63, 64, MaxNumber}
	for i, tag := range tags {
		before := len(datagram)
		one := bytes.Repeat([]byte{byte(i)}, 1+50*i)
		datagram = AppendBundled(datagram, tag, one)
		if got := len(datagram) - before; got != BundledSize(tag, len(one)) {
			t.Errorf("tag %d: %d bytes, announced %d", tag, got, BundledSize(tag, len(one)))
		}
	}
	rest := datagram
	for i, want := range tags {
		tag, one, after, err := NextBundled(rest)
		if err != nil || tag != want || len(one) != 1+50*i || one[0] != byte(i) {
			t.Fatalf("chunk %d: tag %d, %d bytes, %v", i, tag, len(one), err)
		}
		rest = after
	}
	if _, one, _, err := NextBundled(rest); one != nil || err != nil {
		t.Errorf("at the end: %x, %v", one, err)
	}
	// Every prefix that ends within a chunk fails, and none is taken for whole.
	first := BundledSize(0, 1)
	for n := 1; n < first; n++ {
		if _, _, _, err := NextBundled(datagram[:n]); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestNeed(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		in   []byte
		need int
		ok   bool
	}{
		"nothing yet":    {nil, 1, true},
		"half a length":  {[]byte{0x40}, 2, true},
		"a short chunk":  {[]byte{3}, 4, true},
		"the longest":    {appendVarint(nil, MaxChunk), 4 + MaxChunk, true},
		"one byte more":  {appendVarint(nil, MaxChunk+1), 0, false},
		"of no bytes":    {[]byte{0}, 0, false},
		"far too long":   {appendVarint(nil, MaxNumber), 0, false},
		"quarter length": {[]byte{0xc0, 0, 0}, 8, true},
	} {
		if n, err := Need(tc.in); n != tc.need || (err == nil) != tc.ok {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
}

func TestIsControl(t *testing.T) {
	t.Parallel()
	hello := Chunk{Control: true, ControlType: ControlHello, Body: make([]byte, MinHello)}
	media := Chunk{Seq: FullNumber(1), Timestamp: FullNumber(1), Source: 1, Sink: 1, Media: []byte{1}}
	if b := hello.Append(nil); !IsControl(b) {
		t.Errorf("%x is control", b)
	}
	if b := media.Append(nil); IsControl(b) {
		t.Errorf("%x is media", b)
	}
	for _, b := range [][]byte{nil, {1}, {1, 3}, {2, 3, 5}, {1, 0x40}, {1, 0x40, 3}} {
		if IsControl(b) {
			t.Errorf("%x is nothing at all", b)
		}
	}
}

func FuzzNextBundled(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1, 1, 1})
	f.Add(AppendBundled(AppendBundled(nil, 7, []byte{1, 2}), 64, make([]byte, 100)))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		rest := b
		for len(rest) > 0 {
			tag, one, after, err := NextBundled(rest)
			if err != nil {
				return
			}
			if len(one) == 0 || len(after) >= len(rest) {
				t.Fatalf("no progress at %x", rest)
			}
			again, _, _, err := NextBundled(AppendBundled(nil, tag, one))
			if err != nil || again != tag {
				t.Fatalf("tag %d came back as %d, %v", tag, again, err)
			}
			rest = after
		}
	})
}
