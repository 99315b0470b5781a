package chunk

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"
)

func FuzzParse(f *testing.F) {
	for _, v := range goodVectors() {
		f.Add(v.Chunk.Append(nil))
	}
	for _, v := range badVectors() {
		b, err := hex.DecodeString(strings.ReplaceAll(v.Hex, " ", ""))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse(b)
		if err != nil {
			return
		}
		wire := c.Append(nil)
		if len(wire) != c.Size() {
			t.Fatalf("%d bytes, Size says %d", len(wire), c.Size())
		}
		if c.Control && c.ControlType == ControlAck {
			_, _ = ParseAck(c.Ack, nil)
		}
		again, err := Parse(wire)
		if err != nil {
			t.Fatalf("%x written as %x: %v", b, wire, err)
		}
		if !bytes.Equal(again.Append(nil), wire) {
			t.Fatalf("%x came back as %+v", b, again)
		}
		if c.Sealed != nil && !bytes.Equal(c.AppendAuthenticated(nil), again.AppendAuthenticated(nil)) {
			t.Fatalf("%x: other associated data when written as %x", b, wire)
		}
	})
}

func FuzzParseKeyframe(f *testing.F) {
	f.Add(Keyframe{2, 2}.Append(nil))
	f.Add(Keyframe{255, 64}.Append(nil))
	f.Add([]byte{0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParseKeyframe(b)
		if err != nil {
			return
		}
		if again, err := ParseKeyframe(k.Append(nil)); err != nil || again != k {
			t.Fatalf("%+v came back as %+v, %v", k, again, err)
		}
	})
}

func FuzzParseAck(f *testing.F) {
	f.Add((&Ack{Source: 1, Sink: 1, Delay: 77, Ranges: []Range{{5, 9}, {1, 2}}}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ParseAck(b, nil)
		if err != nil {
			return
		}
		again, err := ParseAck(a.Append(nil), nil)
		if err != nil || !reflect.DeepEqual(a, again) {
			t.Fatalf("%+v came back as %+v, %v", a, again, err)
		}
	})
}

func FuzzBody(f *testing.F) {
	c := audio()
	f.Add(c.AppendSized(c.AppendSized(nil)))
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			one, rest, err := Next(b)
			if err != nil {
				return
			}
			if len(one) == 0 || len(rest) >= len(b) {
				t.Fatal("no progress")
			}
			_, _ = Parse(one)
			b = rest
		}
	})
}

func FuzzParsePackage(f *testing.F) {
	c := audio()
	f.Add(c.AppendPackage(nil))
	f.Add([]byte{byte(TagMedia), 0, 33, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		media, err := ParsePackage(b)
		if err != nil {
			return
		}
		c := Chunk{Media: media}
		if again, err := ParsePackage(c.AppendPackage(nil)); err != nil || !bytes.Equal(again, media) {
			t.Fatalf("%x came back as %x, %v", media, again, err)
		}
	})
}
