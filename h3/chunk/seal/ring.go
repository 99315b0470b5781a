package seal

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"
)

// Limits of a key file.
const (
	MaxFile = 64 << 10 // bytes
	MaxKeys = 64

	minSecret = 16 // bytes
	maxSecret = 64
	maxKeyID  = 1<<62 - 1 // what a varint holds
)

// Direction says who sealed: it separates the keys of the two ends.
type Direction uint8

// The directions.
const (
	CallerToCallee Direction = 0
	CalleeToCaller Direction = 1
)

// Kind says what was sealed.
type Kind uint8

// The kinds of media.
const (
	Audio Kind = 0
	Video Kind = 1
)

// key is one key of a file.
type key struct {
	id          uint64
	suite       Suite
	secret      []byte
	direction   *Direction // nil: both
	kind        *Kind      // nil: both
	from, until time.Time  // zero: no limit
}

// entry is a key as the file has it.
type entry struct {
	ID        *uint64   `json:"kid"`
	Suite     *Suite    `json:"suite"`
	Key       string    `json:"key"`
	Direction string    `json:"direction"`
	Kind      string    `json:"kind"`
	From      time.Time `json:"from"`
	Until     time.Time `json:"until"`
}

// Ring is the keys of a file. It may be used by any number of calls at once.
type Ring struct {
	keys []key
	last atomic.Uint64 // the first number that the latest Sealer has for itself
}

// ParseRing reads a key file: a JSON array of keys, of which kid, suite and key
// are required.
//
//	[{"kid": 7, "suite": "AES_128_GCM_SHA256_128", "key": "000102030405060708090a0b0c0d0e0f",
//	  "direction": "caller-to-callee", "kind": "audio", "from": "2026-01-01T00:00:00Z", "until": "2026-02-01T00:00:00Z"}]
//
// A key without direction serves both, one without kind both audio and video.
// Where several serve, the one with the latest beginning seals, of equals the
// first in the file. No error shows a key.
func ParseRing(file []byte) (*Ring, error) {
	if len(file) > MaxFile {
		return nil, fmt.Errorf("key file of %d bytes: at most %d", len(file), MaxFile)
	}
	d := json.NewDecoder(bytes.NewReader(file))
	d.DisallowUnknownFields()
	var entries []entry
	if err := d.Decode(&entries); err != nil {
		return nil, fmt.Errorf("key file: want a JSON array of keys: %w", err)
	}
	if d.More() {
		return nil, fmt.Errorf("key file: something stands behind the array")
	}
	if len(entries) == 0 || len(entries) > MaxKeys {
		return nil, fmt.Errorf("key file with %d keys: want 1 to %d", len(entries), MaxKeys)
	}
	r := &Ring{}
	for i, e := range entries {
		k, err := e.key()
		if err != nil {
			return nil, fmt.Errorf("key file: key %d of %d: %w", i+1, len(entries), err)
		}
		for _, other := range r.keys {
			if k.id == other.id && overlap(k.direction, other.direction) && overlap(k.kind, other.kind) {
				return nil, fmt.Errorf("key file: key %d of %d: there is another one with kid %d for the same direction and kind", i+1, len(entries), k.id)
			}
		}
		r.keys = append(r.keys, k)
	}
	return r, nil
}

func overlap[T comparable](a, b *T) bool { return a == nil || b == nil || *a == *b }

func (e entry) key() (key, error) {
	if e.ID == nil || *e.ID > maxKeyID {
		return key{}, fmt.Errorf("kid: want a number from 0 to %d", uint64(maxKeyID))
	}
	if e.Suite == nil {
		return key{}, fmt.Errorf("suite: want 1 to 5, or such as %q", AES128GCM)
	}
	secret, err := hex.DecodeString(e.Key)
	if err != nil || len(secret) < minSecret || len(secret) > maxSecret {
		return key{}, fmt.Errorf("key: want %d to %d bytes in hexadecimal", minSecret, maxSecret)
	}
	if !e.From.IsZero() && !e.Until.IsZero() && !e.From.Before(e.Until) {
		return key{}, fmt.Errorf("until %s: want a time after from", e.Until.Format(time.RFC3339))
	}
	k := key{id: *e.ID, suite: *e.Suite, secret: secret, from: e.From, until: e.Until}
	if k.direction, err = scope(e.Direction, "direction", "caller-to-callee", CallerToCallee, "callee-to-caller", CalleeToCaller); err != nil {
		return key{}, err
	}
	k.kind, err = scope(e.Kind, "kind", "audio", Audio, "video", Video)
	return k, err
}

func scope[T any](word, name, first string, a T, second string, b T) (*T, error) {
	switch word {
	case "":
		return nil, nil
	case first:
		return &a, nil
	case second:
		return &b, nil
	}
	return nil, fmt.Errorf("%s %.40q: want %q or %q, or nothing for both", name, word, first, second)
}

// serves tells whether the key is for a stream, whatever the time.
func (k *key) serves(d Direction, kind Kind) bool {
	return (k.direction == nil || *k.direction == d) && (k.kind == nil || *k.kind == kind)
}

// current tells whether the key is valid.
func (k *key) current(now time.Time) bool {
	return !now.Before(k.from) && (k.until.IsZero() || now.Before(k.until))
}

// sealing is the key that seals a stream now, or nil.
func (r *Ring) sealing(d Direction, kind Kind, now time.Time) *key {
	var best *key
	for i := range r.keys {
		k := &r.keys[i]
		if k.serves(d, kind) && k.current(now) && (best == nil || k.from.After(best.from)) {
			best = k
		}
	}
	return best
}

// opening is the key of an id that opens a stream now, or nil. One that has run
// out opens what was on its way.
func (r *Ring) opening(id uint64, d Direction, kind Kind, now time.Time) *key {
	for i := range r.keys {
		k := &r.keys[i]
		if k.id == id && k.serves(d, kind) && !now.Before(k.from.Add(-skew)) && (k.until.IsZero() || now.Before(k.until.Add(skew))) {
			return k
		}
	}
	return nil
}

// skew is by how much the clocks of the two ends may differ.
const skew = time.Minute

// Numbers begin with the time, so that those of a process that starts again are
// above those it used before.
const (
	perMilli = 1 << 20
	span     = perMilli // numbers that a Sealer has for itself
)

// begin is the first of span numbers that no other Sealer of the ring uses.
func (r *Ring) begin(now time.Time) uint64 {
	for {
		last := r.last.Load()
		first := max(uint64(now.UnixMilli())*perMilli, last+span)
		if r.last.CompareAndSwap(last, first) {
			return first
		}
	}
}
