package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"riptide/bridge/store"
)

// kind says what a record does. The numbers are on disks.
type kind byte

const (
	kindPut    kind = 1
	kindDelete kind = 2
)

// record is one change, as it is in the log:
//
//	length of the rest after the sum   4 bytes, little endian like all that follows
//	sum of the rest, CRC-32C           4
//	kind                               1
//	length of the bucket, bucket       1 + n
//	length of the key, key             2 + n
//	revision                           8
//	when it expires, Unix ms, 0 never  8
//	value                              the rest
type record struct {
	kind     kind
	bucket   store.Bucket
	key      string
	revision uint64
	expiry   int64
	value    []byte
}

const (
	recordHead = 8
	recordBody = 1 + 1 + 2 + 8 + 8 // without bucket, key and value
	maxBody    = recordBody + 255 + 1<<10 + store.MaxValue
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errTorn    = errors.New("the record is cut off")
	errDamaged = errors.New("the record is damaged")
)

// append adds the record to dst.
func (r record) append(dst []byte) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, recordHead)...)
	dst = append(dst, byte(r.kind), byte(len(r.bucket)))
	dst = append(dst, r.bucket...)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(r.key)))
	dst = append(dst, r.key...)
	dst = binary.LittleEndian.AppendUint64(dst, r.revision)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.expiry))
	dst = append(dst, r.value...)
	body := dst[at+recordHead:]
	binary.LittleEndian.PutUint32(dst[at:], uint32(len(body)))
	binary.LittleEndian.PutUint32(dst[at+4:], crc32.Checksum(body, castagnoli))
	return dst
}

// parseRecord reads the record that b begins with, and says how long it is. The
// value is part of b.
func parseRecord(b []byte) (record, int, error) {
	if len(b) < recordHead {
		return record{}, 0, errTorn
	}
	size := int(binary.LittleEndian.Uint32(b))
	if size < recordBody || size > maxBody {
		return record{}, 0, errDamaged
	}
	if len(b) < recordHead+size {
		return record{}, 0, errTorn
	}
	body := b[recordHead : recordHead+size]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return record{}, 0, errDamaged
	}
	r, err := parseBody(body)
	return r, recordHead + size, err
}

// parseBody reads what the sum has shown to be as it was written.
func parseBody(b []byte) (record, error) {
	r := record{kind: kind(b[0])}
	if r.kind != kindPut && r.kind != kindDelete {
		return record{}, fmt.Errorf("a record is of kind %d, which this release does not know", r.kind)
	}
	name, b, ok := cut(b[2:], int(b[1]))
	if !ok || len(b) < 2 {
		return record{}, errDamaged
	}
	key, b, ok := cut(b[2:], int(binary.LittleEndian.Uint16(b)))
	if !ok || len(b) < 16 {
		return record{}, errDamaged
	}
	r.bucket, r.key = store.Bucket(name), string(key)
	r.revision = binary.LittleEndian.Uint64(b)
	r.expiry = int64(binary.LittleEndian.Uint64(b[8:]))
	r.value = b[16:]
	return r, nil
}

func cut(b []byte, n int) (front, rest []byte, ok bool) {
	if len(b) < n {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}
