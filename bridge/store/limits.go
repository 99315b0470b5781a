package store

import (
	"fmt"
	"strings"
	"time"
)

// maxKey is the longest key, in bytes.
const maxKey = 256

// MaxAge is how long anything stays in a bucket, counted from its last write;
// 0 = for ever. It is the safety net under ttl, so that what answers and
// forgets cannot fill the disk: the response to a request is kept under its
// Idempotency-Key for a day, and no token or PASSporT lives as long as one.
func (b Bucket) MaxAge() time.Duration {
	switch b {
	case Idempotency, Nonces:
		return 24 * time.Hour
	}
	return 0
}

// Lifetime is how long a key stays that is written with a ttl, in whole seconds:
// no longer than the bucket allows. 0 = until it is deleted.
func (b Bucket) Lifetime(ttl time.Duration) time.Duration {
	ttl = (ttl + time.Second - 1).Truncate(time.Second)
	if age := b.MaxAge(); age > 0 && (ttl <= 0 || ttl > age) {
		return age
	}
	return ttl
}

// MaxBytes bounds what a bucket holds on a disk. A full one refuses writes, and
// with them new calls, but for the stored responses: there the oldest give way,
// since a request repeated after so many others is not a retry.
func (b Bucket) MaxBytes() (most int64, oldestGiveWay bool) {
	switch b {
	case Calls:
		return 512 << 20, false
	case Idempotency:
		return 512 << 20, true
	case Nonces:
		return 128 << 20, false
	}
	return 64 << 20, false
}

// Secret tells the buckets whose values are sealed before they are stored: those
// with who calls whom, from where, and with keys. A response under an
// Idempotency-Key describes a call.
func (b Bucket) Secret() bool { return b == Calls || b == Idempotency }

// OnceClear tells the secret buckets that earlier releases did not seal. What they
// wrote is gone a day after the upgrade (MaxAge).
func (b Bucket) OnceClear() bool { return b == Idempotency }

// Known tells the buckets of this release.
func (b Bucket) Known() bool {
	for _, known := range Buckets {
		if b == known {
			return true
		}
	}
	return false
}

// Check tells whether a key may be used in a bucket. All implementations ask
// it, so that none takes what another refuses.
func Check(b Bucket, key string) error {
	if !b.Known() {
		return fmt.Errorf("store: no bucket %q", b)
	}
	if len(key) < 1 || len(key) > maxKey {
		return fmt.Errorf("store: a key of %s has %d bytes, want 1 to %d", b, len(key), maxKey)
	}
	for i := range len(key) {
		c := key[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-/_=.", c) >= 0 {
			continue
		}
		return fmt.Errorf("store: a key of %s holds the forbidden byte %q", b, c)
	}
	// A dot separates the parts of a key, and no part is empty.
	if key[0] == '.' || key[len(key)-1] == '.' || strings.Contains(key, "..") {
		return fmt.Errorf("store: a key of %s begins or ends with a dot, or has two in a row", b)
	}
	return nil
}

// CheckValue is Check for a write.
func CheckValue(b Bucket, key string, value []byte) error {
	if err := Check(b, key); err != nil {
		return err
	}
	limit := MaxValue
	if b.Secret() {
		limit += SealOverhead
	}
	if len(value) > limit {
		return fmt.Errorf("store: value of %s %s has %d bytes, more than %d", b, key, len(value), limit)
	}
	return nil
}
