package sealed

import (
	"bytes"
	"testing"

	"riptide/bridge/store"
)

var fuzzRing = Ring{keys: []key{newKey(bytes.Repeat([]byte{1}, secretLen)), newKey(bytes.Repeat([]byte{2}, secretLen))}}

// FuzzOpen: whatever lies in the store opens, or is an error; what opens was
// sealed for that place.
func FuzzOpen(f *testing.F) {
	whole, err := fuzzRing.seal(store.Calls, "a", []byte("value"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("a", whole)
	f.Add("a", whole[:headerLen])
	f.Add("b", whole)
	f.Add("a", []byte(`{"v":1}`))
	f.Fuzz(func(t *testing.T, name string, value []byte) {
		plain, err := fuzzRing.open(store.Calls, name, value)
		if err == nil && len(plain)+store.SealOverhead != len(value) {
			t.Errorf("%d bytes from %d", len(plain), len(value))
		}
		sealed, err := fuzzRing.seal(store.Calls, name, value)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := fuzzRing.open(store.Calls, name, sealed); err != nil || !bytes.Equal(again, value) {
			t.Errorf("came back as %q, %v", again, err)
		}
	})
}

// FuzzParseRing: whatever the key file holds is a ring with a key, or an error.
func FuzzParseRing(f *testing.F) {
	f.Add([]byte("# comment\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"))
	f.Add([]byte("AAEC"))
	f.Fuzz(func(t *testing.T, text []byte) {
		ring, err := ParseRing(text)
		if err == nil && (len(ring.keys) == 0 || len(ring.keys) > maxKeys) {
			t.Errorf("%d keys", len(ring.keys))
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	value := bytes.Repeat([]byte("x"), 4096)
	for b.Loop() {
		if _, err := fuzzRing.seal(store.Calls, "0192f7c2-6f5b", value); err != nil {
			b.Fatal(err)
		}
	}
}
