package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"riptide/bridge/store"
)

// Open opens the store in a directory below the state directory, and makes
// both where they are missing.
func Open(ctx context.Context, state string, log *slog.Logger) (*Store, error) {
	return open(ctx, state, log, usual)
}

func open(ctx context.Context, state string, log *slog.Logger, sizes sizes) (*Store, error) {
	lock, err := store.Hold(filepath.Join(state, "store"))
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dirOf(state), lock: lock, wake: make(chan struct{}, 1), buckets: newBuckets(), gather: newBatch(), sizes: sizes}
	if err := s.load(ctx, log); err != nil {
		for _, seg := range s.segments {
			_ = seg.file.Close()
		}
		_ = lock.Close()
		return nil, fmt.Errorf("open store %s: %w", s.dir, err)
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.work.Go(s.keep)
	return s, nil
}

// load reads the log.
func (s *Store) load(ctx context.Context, log *slog.Logger) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(s.dir)); err != nil {
		return err
	}
	numbers, err := listSegments(s.dir)
	if err != nil {
		return err
	}
	r := replay{store: s, removed: map[string]uint64{}}
	for i, n := range numbers {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.segment(n, i == len(numbers)-1, log); err != nil {
			return fmt.Errorf("%s: %w", segmentName(n), err)
		}
	}
	if len(s.segments) > 0 {
		return nil
	}
	first := uint64(1)
	if len(numbers) > 0 {
		first = numbers[len(numbers)-1] + 1
	}
	seg, err := createSegment(s.dir, first, s.revision)
	if err != nil {
		return err
	}
	s.segments = append(s.segments, seg)
	return nil
}

// replay makes the index from the log.
type replay struct {
	store   *Store
	removed map[string]uint64 // bucket and key -> revision of its removal
}

var errMend = errors.New("restore the directory store from a copy, or remove it: calls under way are forgotten then, and what peers and users registered must be registered again")

// segment reads one segment. What does not read is left out. In the last one nothing
// that reads may follow it: that is what a crash leaves, and nobody was told that it
// is durable.
func (r *replay) segment(number uint64, last bool, log *slog.Logger) error {
	seg, data, err := openSegment(r.store.dir, number)
	if err != nil {
		return err
	}
	revision, err := parseHead(data)
	switch {
	case errors.Is(err, errTorn) && last:
		log.Warn("the store was being extended when the process died", "segment", seg.file.Name())
		return seg.remove()
	case err != nil && nextRecord(data) == len(data):
		_ = seg.file.Close()
		return fmt.Errorf("%w: %w", err, errMend)
	case err != nil:
		// None that was given may be given again; which it was the other segments say
		// nearly.
		revision = r.store.revision + headLost
		log.Error("a file of the store has a damaged beginning; its records are read all the same", "segment", seg.file.Name())
	}
	r.store.revision = max(r.store.revision, revision)
	r.store.segments = append(r.store.segments, seg)
	for at := segmentHead; at < len(data); {
		rec, n, err := parseRecord(data[at:])
		if errors.Is(err, errTorn) || errors.Is(err, errDamaged) {
			n = 1 + nextRecord(data[at+1:])
			if last && at+n == len(data) {
				log.Warn("the store ends in what cannot be read, as a write under way when the process died leaves it; it is cut off", "segment", seg.file.Name(), "at", at, "bytes", n)
				seg.size = int64(at)
				return seg.cut()
			}
			log.Error("a part of the store is damaged and left out: a call that is on record there may not go on, or as it was before (is the disk failing?)",
				"segment", seg.file.Name(), "at", at, "bytes", n, "record", whose(data[at:at+n]))
			at += n
			continue
		}
		if err == nil {
			err = r.record(rec, seg, int64(at), int64(n))
		}
		if err != nil {
			return fmt.Errorf("at byte %d: %w: %w", at, err, errMend)
		}
		at += n
	}
	return nil
}

// headLost is by how much revisions go on where the beginning of a segment was lost.
const headLost = 1 << 20

// record applies one change, unless a later one has been seen: what was written
// again lies behind changes that are younger.
func (r *replay) record(rec record, seg *segment, at, size int64) error {
	b := r.store.buckets[rec.bucket]
	if b == nil {
		return fmt.Errorf("a record is of the bucket %q, which this release does not know", rec.bucket)
	}
	r.store.revision = max(r.store.revision, rec.revision)
	name := string(rec.bucket) + "/" + rec.key
	before := b.slots[rec.key]
	if r.removed[name] > rec.revision || before != nil && before.revision > rec.revision {
		return nil
	}
	if rec.kind == kindDelete {
		r.removed[name] = rec.revision
		if before != nil {
			b.drop(rec.key, before)
		}
		return nil
	}
	delete(r.removed, name)
	s := &slot{revision: rec.revision, expiry: rec.expiry, size: size}
	b.set(rec.key, s)
	before.die()
	s.settle(seg, at)
	return nil
}
