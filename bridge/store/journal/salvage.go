package journal

import (
	"slices"

	"riptide/bridge/store"
)

// A disk may give back other bytes than were written, of a block or a single one.
// That harms the records which they are in, and no more: where a record does not
// read, the next that does is looked for. No record is taken for one by chance: its
// sum has to be right, and its kind and bucket ones that there are. None hides in a
// value either: they are sealed, or text, which has no NUL.

// nextRecord is where the next record begins that reads, len(b) if there is none.
func nextRecord(b []byte) int {
	for at := range b {
		if plausible(b[at:]) {
			if _, _, err := parseRecord(b[at:]); err == nil {
				return at
			}
		}
	}
	return len(b)
}

// plausible tells whether a record may begin here, without reading all of it.
func plausible(b []byte) bool {
	if len(b) < recordHead+recordBody {
		return false
	}
	if k := kind(b[recordHead]); k != kindPut && k != kindDelete {
		return false
	}
	name, _, ok := cut(b[recordHead+2:], int(b[recordHead+1]))
	return ok && slices.Contains(store.Buckets, store.Bucket(name))
}

// whose is the key of a record that does not read, as far as can be told: what is
// damaged may be that. It is for people.
func whose(b []byte) string {
	if !plausible(b) {
		return ""
	}
	name, rest, _ := cut(b[recordHead+2:], int(b[recordHead+1]))
	if len(rest) < 2 {
		return ""
	}
	key, _, ok := cut(rest[2:], int(rest[0])|int(rest[1])<<8)
	if !ok || store.Check(store.Bucket(name), string(key)) != nil {
		return ""
	}
	return string(name) + " " + string(key)
}
