// Package store keeps what must survive a process: call records and the small
// things beside them. It knows keys and values, not calls.
//
// Package store/journal holds it in a log in the state directory, store/embedded
// in a NATS JetStream that nodes share; before either store/sealed seals what is
// secret. NewMemory is for tests.
//
//	bridge, h3 --> sealed --> journal | JetStream of several nodes --> state directory (synced before a write returns)
package store

import (
	"context"
	"errors"
	"time"
)

// Bucket names one kind of thing.
type Bucket string

// The buckets of this release.
const (
	Calls        Bucket = "calls"        // call id -> bridge.CallRecord
	Idempotency  Bucket = "idempotency"  // client and key -> stored response, 24 h
	Handlers     Bucket = "handlers"     // handler id -> description
	Certificates Bucket = "certificates" // thumbprint -> PEM chain we issued or enrolled
	Nonces       Bucket = "nonces"       // JWT ids and PASSporT hashes seen
	Peers        Bucket = "peers"        // where peers want their calls, and what lets them and us in

	Registrations Bucket = "registrations" // SIP trunk -> where its users registered
)

// Buckets lists them all.
var Buckets = []Bucket{Calls, Idempotency, Handlers, Certificates, Nonces, Peers, Registrations}

// Errors of a Store. Any other error means that the store is unavailable.
var (
	ErrNotFound = errors.New("store: no such key")
	ErrExists   = errors.New("store: key exists")
	ErrConflict = errors.New("store: another revision is current")
	ErrClosed   = errors.New("store: closed")

	// ErrUnreadable is of one value: it is damaged, or sealed with a key that we
	// do not have. The store is fine.
	ErrUnreadable = errors.New("store: value cannot be read")
)

// Entry is one value with its place in the bucket's history.
type Entry struct {
	Key      string
	Value    []byte // nil when Deleted or Err
	Revision uint64 // grows with every write of the bucket
	Deleted  bool
	Err      error // of a Watch: wraps ErrUnreadable
}

// Store is a set of buckets of small values. A write that returned nil is on
// stable storage; one that returned the error of its context may be. Keys are 1
// to 256 bytes of [-/_=.a-zA-Z0-9] (see Check); values are at most MaxValue
// bytes. Callers and store keep no reference to each other's values. All
// methods are safe for concurrent use.
type Store interface {
	// Create writes a key that does not exist. It is removed after ttl, which
	// is rounded up to whole seconds; 0 = keep until deleted. No key stays
	// longer than its bucket's MaxAge.
	Create(ctx context.Context, b Bucket, key string, value []byte, ttl time.Duration) (revision uint64, err error)
	// Get reads a key.
	Get(ctx context.Context, b Bucket, key string) (Entry, error)
	// Put writes a key whatever it holds. A ttl that the key had is gone.
	Put(ctx context.Context, b Bucket, key string, value []byte) (revision uint64, err error)
	// Update writes a key if revision is its current one: the fence against a
	// node that lost its lease. A key that is not there is an ErrConflict. A
	// ttl that the key had is gone.
	Update(ctx context.Context, b Bucket, key string, value []byte, revision uint64) (uint64, error)
	// Delete removes a key; one that is not there is no error.
	Delete(ctx context.Context, b Bucket, key string) error
	// Keys lists the keys of a bucket, in no order.
	Keys(ctx context.Context, b Bucket) ([]string, error)
	// Watch sends what the bucket holds and then every change, in order, until
	// ctx ends or the store is closed, when it closes the channel. Of several
	// changes of one key that a slow reader has not yet taken, it may get only
	// the last.
	Watch(ctx context.Context, b Bucket) (<-chan Entry, error)
	// Close ends all watches and waits for them. What is called later fails
	// with ErrClosed.
	Close() error
}

// MaxValue is the largest value a store takes.
const MaxValue = 256 << 10

// SealOverhead is what sealing adds to a value of a secret bucket.
const SealOverhead = 33
