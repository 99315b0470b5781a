package embedded

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"riptide/bridge/store"
)

// markerTTL is how long the marker of a key stays that has lived its time, for
// watches that lag behind. The server takes no less than a second, and no key may
// live for a shorter time than a marker.
const markerTTL = time.Second

// deletedTTL is how long that of a deleted key stays. Only the marker hides the
// value from a server that has to read its blocks again after a crash, until it
// has written what it knows to its index, as it does every two minutes.
const deletedTTL = 10 * time.Minute

// size bounds a bucket, as package store says.
func size(b store.Bucket) (bytes int64, full jetstream.DiscardPolicy) {
	bytes, oldestGiveWay := b.MaxBytes()
	if oldestGiveWay {
		return bytes, jetstream.DiscardOld
	}
	return bytes, jetstream.DiscardNew
}

func maxStore() int64 {
	var sum int64
	for _, b := range store.Buckets {
		bytes, _ := size(b)
		sum += bytes
	}
	return sum
}

// openBucket makes or adapts the stream of a bucket. It is laid out as
// JetStream's key-value buckets are, whose client we use; we make the stream
// ourselves because that client would have every full bucket refuse writes.
// Replicas is on how many nodes it is.
func (s *Store) openBucket(ctx context.Context, b store.Bucket, replicas int) (err error) {
	bytes, full := size(b)
	if s.kept[b], err = s.streams.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:                   "KV_" + string(b),
		Subjects:               []string{"$KV." + string(b) + ".>"},
		MaxMsgsPerSubject:      1,
		MaxBytes:               bytes,
		MaxAge:                 b.MaxAge(),
		MaxMsgs:                -1,
		MaxMsgSize:             store.MaxValue + 4096, // and the headers
		MaxConsumers:           -1,
		Storage:                jetstream.FileStorage,
		Replicas:               replicas,
		Discard:                full,
		Duplicates:             knownWrites,
		AllowDirect:            false, // any copy would answer, also one that lags behind
		AllowRollup:            true,
		DenyDelete:             true,
		AllowMsgTTL:            true,
		SubjectDeleteMarkerTTL: markerTTL,
	}); err != nil {
		return err
	}
	s.buckets[b], err = s.streams.KeyValue(ctx, string(b))
	return err
}
