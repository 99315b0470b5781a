package seal

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// hexBytes are written in hexadecimal.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

// published are the vectors of RFC 9605 appendix C.
type published struct {
	CTRHMAC []struct {
		Suite                          Suite
		Key, Nonce, AAD, Plain, Sealed hexBytes
	}
	SFrame []struct {
		Suite                                                      Suite
		KID, Ctr                                                   uint64
		BaseKey, Key, Salt, Nonce, Header, Metadata, Plain, Sealed hexBytes
	}
}

// tagFirst turns ciphertext and tag, as SFrame has them, round.
func tagFirst(suite Suite, b []byte) []byte {
	n := len(b) - suites[suite].tagLen
	return append(bytes.Clone(b[n:]), b[:n]...)
}

func readVectors(t *testing.T) published {
	t.Helper()
	b, err := os.ReadFile("../../../testdata/chunk/sframe.json")
	if err != nil {
		t.Fatal(err)
	}
	var p published
	if err := json.Unmarshal(b, &p); err != nil {
		t.Fatal(err)
	}
	if len(p.CTRHMAC) != 3 || len(p.SFrame) != 5 {
		t.Fatalf("%d and %d vectors", len(p.CTRHMAC), len(p.SFrame))
	}
	return p
}

func TestPublishedCTRHMAC(t *testing.T) {
	for _, v := range readVectors(t).CTRHMAC {
		c, err := newCipher(suites[v.Suite], v.Key)
		if err != nil {
			t.Fatal(err)
		}
		c.salt = [nonceLen]byte(v.Nonce) // counter 0 leaves it
		if got := c.Seal(nil, 0, v.AAD, v.Plain); !bytes.Equal(got, tagFirst(v.Suite, v.Sealed)) {
			t.Errorf("%v: sealed %x", v.Suite, got)
		}
		if got, err := c.Open(nil, 0, v.AAD, tagFirst(v.Suite, v.Sealed)); err != nil || !bytes.Equal(got, v.Plain) {
			t.Errorf("%v: opened %x, %v", v.Suite, got, err)
		}
	}
}

func TestPublishedSFrame(t *testing.T) {
	for _, v := range readVectors(t).SFrame {
		c, err := NewCipher(v.Suite, v.KID, v.BaseKey, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(c.salt[:], v.Salt) {
			t.Errorf("%v: salt %x", v.Suite, c.salt)
		}
		aad := append(bytes.Clone(v.Header), v.Metadata...)
		want := tagFirst(v.Suite, v.Sealed[len(v.Header):])
		if got := c.Seal([]byte("before"), v.Ctr, aad, v.Plain); string(got[:6]) != "before" || !bytes.Equal(got[6:], want) {
			t.Errorf("%v: sealed %x, want %x", v.Suite, got, want)
		}
		if !bytes.Equal(c.nonce[:], v.Nonce) {
			t.Errorf("%v: nonce %x", v.Suite, c.nonce)
		}
		if got, err := c.Open([]byte("before"), v.Ctr, aad, want); err != nil || string(got) != "before"+string(v.Plain) {
			t.Errorf("%v: opened %q, %v", v.Suite, got, err)
		}
		for i := range want {
			bad := bytes.Clone(want)
			bad[i] ^= 1
			if _, err := c.Open(nil, v.Ctr, aad, bad); !errors.Is(err, ErrForged) {
				t.Errorf("%v: byte %d changed: %v", v.Suite, i, err)
			}
			if _, err := c.Open(nil, v.Ctr, aad, want[:i]); !errors.Is(err, ErrForged) {
				t.Errorf("%v: cut to %d bytes: %v", v.Suite, i, err)
			}
		}
		if _, err := c.Open(nil, v.Ctr+1, aad, want); !errors.Is(err, ErrForged) {
			t.Errorf("%v: another counter: %v", v.Suite, err)
		}
		if _, err := c.Open(nil, v.Ctr, aad[1:], want); !errors.Is(err, ErrForged) {
			t.Errorf("%v: other associated data: %v", v.Suite, err)
		}
	}
}

const (
	key16 = "000102030405060708090a0b0c0d0e0f"
	call1 = "0af7651916cd43dd8448eb211c80319c"
)

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func ring(t testing.TB, file string) *Ring {
	t.Helper()
	r, err := ParseRing([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// ends are the two ends of a call, each with a file of its own.
func ends(t testing.TB, file string) (caller, callee *Session) {
	return ring(t, file).Call(call1, true), ring(t, file).Call(call1, false)
}

func TestParseRing(t *testing.T) {
	entry := func(s string) string { return `[{"kid":1,"suite":4,"key":"` + key16 + `"` + s + `}]` }
	keys := func(n int) string {
		var b []string
		for i := range n {
			b = append(b, fmt.Sprintf(`{"kid":%d,"suite":1,"key":"%s"}`, i, key16))
		}
		return "[" + strings.Join(b, ",") + "]"
	}
	for _, good := range []string{
		entry(""), entry(`,"direction":"caller-to-callee","kind":"video"`), keys(MaxKeys),
		entry(`,"from":"2026-01-01T00:00:00Z","until":"2026-01-02T00:00:00+01:00"`),
		`[{"kid":4611686018427387903,"suite":"AES_256_GCM_SHA512_128","key":"` + strings.Repeat("ab", maxSecret) + `"}]`,
		`[{"kid":1,"suite":4,"key":"` + key16 + `","kind":"audio"},{"kid":1,"suite":4,"key":"` + key16 + `","kind":"video"}]`,
	} {
		if _, err := ParseRing([]byte(good)); err != nil {
			t.Errorf("%.100s: %v", good, err)
		}
	}
	for bad, want := range map[string]string{
		"":                                    "want a JSON array",
		"{}":                                  "want a JSON array",
		"[]":                                  "0 keys",
		keys(MaxKeys + 1):                     "65 keys",
		entry("") + "1":                       "behind the array",
		entry(`,"Keys":1`):                    "unknown field",
		entry(`,"direction":"up"`):            "caller-to-callee",
		entry(`,"kind":"text"`):               "audio",
		entry(`,"from":"yesterday"`):          "want a JSON array",
		`[{"suite":4,"key":"` + key16 + `"}]`: "kid: want",
		`[{"kid":1,"key":"` + key16 + `"}]`:   "suite: want",
		`[{"kid":1,"suite":0,"key":"` + key16 + `"}]`:                                                          "suite 0: want",
		`[{"kid":1,"suite":6,"key":"` + key16 + `"}]`:                                                          "suite 6: want",
		`[{"kid":1,"suite":"DES","key":"` + key16 + `"}]`:                                                      `suite "DES": want`,
		`[{"kid":4611686018427387904,"suite":4,"key":"` + key16 + `"}]`:                                        "kid: want",
		`[{"kid":1,"suite":4,"key":"` + key16[2:] + `"}]`:                                                      "key: want 16",
		`[{"kid":1,"suite":4,"key":"` + strings.Repeat("ab", maxSecret+1) + `"}]`:                              "key: want 16",
		`[{"kid":1,"suite":4,"key":"zz"}]`:                                                                     "key: want 16",
		`[{"kid":1,"suite":4,"key":"` + key16 + `"},{"kid":1,"suite":4,"key":"` + key16 + `","kind":"video"}]`: "another one with kid 1",
		entry(`,"from":"2026-01-02T00:00:00Z","until":"2026-01-02T00:00:00Z"`):                                 "after from",
		entry(strings.Repeat(" ", MaxFile)):                                                                    "at most",
	} {
		_, err := ParseRing([]byte(bad))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.100s: got %v, want %q", bad, err, want)
		} else if strings.Contains(err.Error(), key16[2:]) {
			t.Errorf("an error shows a key: %v", err)
		}
	}
}
