package embedded

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"riptide/bridge/store"
)

// Store is a store.Store in a directory.
type Store struct {
	server  *server.Server
	conn    *nats.Conn // to the server that keeps the store
	bus     *nats.Conn // to ours, for what nodes say to each other; nil without them
	streams jetstream.JetStream
	buckets map[store.Bucket]jetstream.KeyValue
	kept    map[store.Bucket]jetstream.Stream // what is below them
	lock    *store.Lock                       // of the directory
	deleted time.Duration                     // how long the marker of a deleted key stays
	keeper  string                            // password of the user of that name
	log     *slog.Logger
	away    outage

	// life ends with Close; closing guards the count of what it waits for.
	life    context.Context
	end     context.CancelFunc
	closing sync.RWMutex
	watches sync.WaitGroup
}

var _ store.Store = (*Store)(nil)

// startTimeout bounds the start of the server, which replays what the last
// process left: 70,000 keys take a quarter of a second.
const startTimeout = time.Minute

// open holds the store's directory below the state directory, makes both where
// they are missing, and starts what keeps the store there.
func open(state string, start func(s *Store, dir string) error) (*Store, error) {
	dir := filepath.Join(state, "store")
	lock, err := store.Hold(dir)
	if err != nil {
		return nil, err
	}
	s := newStore()
	s.lock = lock
	if err := start(s, dir); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("open the cluster's store in %s: %w", dir, err)
	}
	return s, nil
}

func newStore() *Store {
	s := &Store{
		buckets: map[store.Bucket]jetstream.KeyValue{}, kept: map[store.Bucket]jetstream.Stream{},
		deleted: deletedTTL, keeper: rand.Text(), log: slog.New(slog.DiscardHandler),
	}
	s.life, s.end = context.WithCancel(context.Background())
	return s
}

// options are those of every server of ours: what it has acknowledged is on the
// disk.
func options(node, dir string) *server.Options {
	return &server.Options{
		ServerName:             node,
		NoSigs:                 true,
		JetStream:              true,
		DisableJetStreamBanner: true,
		StoreDir:               dir,
		SyncAlways:             true,
		JetStreamMaxStore:      maxStore(),
		JetStreamMaxMemory:     64 << 20, // consumers of watches, of the other nodes too
	}
}

// run starts the server.
func (s *Store) run(opts *server.Options, peers Peers, log *slog.Logger) error {
	bridge := &natsLog{log: log, trouble: peers.Trouble}
	srv, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	srv.SetLoggerV2(bridge, peers.Debug, false, false) // no traces: they have what is stored in them
	s.server = srv
	srv.Start()
	if fatal := bridge.fatal.Load(); fatal != nil {
		return errors.New(*fatal)
	}
	if !srv.ReadyForConnections(startTimeout) {
		return errors.New("the store's server did not start")
	}
	return nil
}

// connecting is what all our connections to a server have in common.
func connecting(log *slog.Logger) []nats.Option {
	return []nats.Option{
		nats.MaxReconnects(-1),
		nats.ReconnectWait(50 * time.Millisecond),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Debug("store connection", "error", err) }),
	}
}

// Close has other nodes lead what this one leads, ends every watch, waits until
// the server has stopped, and lets the directory go.
func (s *Store) Close() error {
	s.handOver()
	s.closing.Lock()
	s.end()
	s.closing.Unlock()
	s.watches.Wait()
	for _, c := range []*nats.Conn{s.conn, s.bus} {
		if c != nil {
			c.Close()
		}
	}
	if s.server != nil {
		s.server.Shutdown()
		s.server.WaitForShutdown()
	}
	s.closing.Lock()
	defer s.closing.Unlock()
	if s.lock == nil {
		return nil
	}
	err := s.lock.Close() // which unlocks it
	s.lock = nil
	return err
}

// usable refuses what comes after Close, or after its caller's patience.
func (s *Store) usable(ctx context.Context) error {
	if s.life.Err() != nil {
		return store.ErrClosed
	}
	return ctx.Err()
}

// wrap says what failed, in the words of package store.
func (s *Store) wrap(ctx context.Context, err error, doing string, b store.Bucket, key string) error {
	var electing *store.Electing
	switch {
	case err == nil:
		return nil
	case errors.As(err, &electing) && !errors.Is(ctx.Err(), context.Canceled) && s.life.Err() == nil:
	case errors.Is(err, jetstream.ErrKeyRevisionMismatch):
		err = store.ErrConflict
	case errors.Is(err, jetstream.ErrKeyExists):
		err = store.ErrExists
	case errors.Is(err, jetstream.ErrKeyNotFound):
		err = store.ErrNotFound
	case ctx.Err() != nil:
		err = ctx.Err()
	case s.life.Err() != nil:
		err = store.ErrClosed
	}
	if key == "" {
		return fmt.Errorf("%s %s: %w", doing, b, err)
	}
	return fmt.Errorf("%s %s %s: %w", doing, b, key, err)
}

// Create is of store.Store.
func (s *Store) Create(ctx context.Context, b store.Bucket, key string, value []byte, ttl time.Duration) (uint64, error) {
	if err := errors.Join(store.CheckValue(b, key, value), s.usable(ctx)); err != nil {
		return 0, err
	}
	revision, err := s.create(ctx, b, key, value, ttl)
	return revision, s.wrap(ctx, err, "create", b, key)
}

// Put is of store.Store.
func (s *Store) Put(ctx context.Context, b store.Bucket, key string, value []byte) (uint64, error) {
	if err := errors.Join(store.CheckValue(b, key, value), s.usable(ctx)); err != nil {
		return 0, err
	}
	revision, err := s.write(ctx, b, key, value, nil, 0)
	return revision, s.wrap(ctx, err, "put", b, key)
}

// Update is of store.Store.
func (s *Store) Update(ctx context.Context, b store.Bucket, key string, value []byte, revision uint64) (uint64, error) {
	if err := errors.Join(store.CheckValue(b, key, value), s.usable(ctx)); err != nil {
		return 0, err
	}
	if revision == 0 { // to JetStream it means that the key must not exist
		return 0, s.wrap(ctx, jetstream.ErrKeyRevisionMismatch, "update", b, key)
	}
	next, err := s.write(ctx, b, key, value, &revision, 0)
	return next, s.wrap(ctx, err, "update", b, key)
}

// Get is of store.Store.
func (s *Store) Get(ctx context.Context, b store.Bucket, key string) (store.Entry, error) {
	if err := errors.Join(store.Check(b, key), s.usable(ctx)); err != nil {
		return store.Entry{}, err
	}
	var e jetstream.KeyValueEntry
	err := s.insist(ctx, func(ctx context.Context) (err error) {
		e, err = s.buckets[b].Get(ctx, key)
		return err
	})
	if err != nil {
		return store.Entry{}, s.wrap(ctx, err, "get", b, key)
	}
	return store.Entry{Key: key, Value: e.Value(), Revision: e.Revision()}, nil
}

// Delete is of store.Store. It leaves a marker for the watches, which goes away
// by itself: a plain delete would leave one for ever for every call there ever
// was.
func (s *Store) Delete(ctx context.Context, b store.Bucket, key string) error {
	if err := errors.Join(store.Check(b, key), s.usable(ctx)); err != nil {
		return err
	}
	err := s.insist(ctx, func(ctx context.Context) error { return s.buckets[b].Purge(ctx, key, jetstream.PurgeTTL(s.deleted)) })
	return s.wrap(ctx, err, "delete", b, key)
}

// Keys is of store.Store.
func (s *Store) Keys(ctx context.Context, b store.Bucket) ([]string, error) {
	kv, ok := s.buckets[b]
	if err := s.usable(ctx); err != nil || !ok {
		return nil, errors.Join(err, unknown(b, ok))
	}
	listing, done := context.WithCancel(ctx) // the client keeps a goroutine until it ends
	defer done()
	keys, err := kv.Keys(listing)
	if errors.Is(err, jetstream.ErrNoKeysFound) {
		return nil, nil
	}
	return keys, s.wrap(ctx, err, "list", b, "")
}

func unknown(b store.Bucket, known bool) error {
	if known {
		return nil
	}
	return fmt.Errorf("store: no bucket %q", b)
}
