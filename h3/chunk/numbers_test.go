package chunk

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
)

const numbersFile = "../../testdata/chunk/numbers.json"

// numberVector is a truncated number: what the reader expects next, what is on
// the wire, and what is meant.
type numberVector struct {
	Expected uint64 `json:"expected"`
	Wire     uint64 `json:"wire"`
	Bytes    uint8  `json:"bytes"`
	Meant    uint64 `json:"meant"`
}

// TestNumberVectors holds Near against numbers whose meaning is known because
// they were truncated here.
func TestNumberVectors(t *testing.T) {
	var want []numberVector
	for _, c := range []struct{ expected, meant uint64 }{
		{1, 1}, {1, 2}, {2, 200}, {255, 256}, {256, 255}, {0x10000, 0xffff}, {0xfffe, 0x10003}, {0xa82f30ea, 0xa82f30ea + 1},
		{0xa82f30ea, 0xa82f9b32}, {1 << 32, 1<<32 - 5}, {1<<32 - 5, 1<<32 + 5}, {1600000000123, 1600000000163}, {MaxNumber - 1, MaxNumber},
	} {
		for _, n := range []uint8{1, 2, 4, Full} {
			far := max(c.expected, c.meant) - min(c.expected, c.meant)
			if n < Full && far >= 1<<(8*n-1) {
				continue // too far away to be meant with so few bytes
			}
			wire := c.meant
			if n < Full {
				wire &= 1<<(8*n) - 1
			}
			want = append(want, numberVector{c.expected, wire, n, c.meant})
		}
	}
	data, err := json.MarshalIndent(want, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(numbersFile, append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := os.ReadFile(numbersFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bytes.TrimSpace(stored), data) {
		t.Error("the vectors are not those of this test; run with -update")
	}
	var vectors []numberVector
	if err := json.Unmarshal(stored, &vectors); err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors {
		if got := (Number{Value: v.Wire, Len: v.Bytes}).Near(v.Expected); got != v.Meant {
			t.Errorf("%x in %d bytes near %x is %x, want %x", v.Wire, v.Bytes, v.Expected, got, v.Meant)
		}
	}
}
