package ops

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"riptide/bridge/store"
)

// storeMetrics measures the store: every call waits for it.
type storeMetrics struct {
	seconds *prometheus.HistogramVec
	errors  *prometheus.CounterVec

	mu      sync.Mutex
	store   store.Store             // once it is measured
	leads   func(store.Bucket) bool // nil where no others share it
	refused error                   // why the last write failed; nil = it did not
}

func newStoreMetrics() *storeMetrics {
	labels := []string{"operation"}
	return &storeMetrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "riptide_store_operation_seconds", Help: "Time that operations of the store took.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5},
		}, labels),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "riptide_store_errors_total", Help: "Operations of the store that failed.",
		}, labels),
	}
}

func (m *storeMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.seconds, m.errors, snapshotCollector[*storeMetrics]{
		take:     func() *storeMetrics { return m },
		families: []snapshotFamily[*storeMetrics]{gauges("riptide_store_leads", "Whether this node takes the writes of a bucket of the store that several share: 1, or 0.", "bucket", (*storeMetrics).led)},
	}}
}

// led are the buckets of a store that several share, with 1 where this node takes
// the writes.
func (m *storeMetrics) led() map[string]uint64 {
	m.mu.Lock()
	leads := m.leads
	m.mu.Unlock()
	led := map[string]uint64{}
	if leads == nil {
		return led
	}
	for _, b := range store.Buckets {
		led[string(b)] = 0
		if leads(b) {
			led[string(b)] = 1
		}
	}
	return led
}

// Measure stands before a store and measures what it does. leads tells for which
// buckets this node takes the writes, of a store that several nodes share; nil if
// they do not.
func (s *Server) Measure(next store.Store, leads func(store.Bucket) bool) store.Store {
	for _, operation := range []string{"create", "get", "put", "update", "delete", "keys", "watch"} {
		s.store.errors.WithLabelValues(operation) // shown as 0 from the start
	}
	m := measured{next, s.store}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	s.store.store, s.store.leads = m, leads
	return m
}

// askLimit bounds the asking whether a store can be written again.
const askLimit = 2 * time.Second

// Writable tells why nothing can be stored just now, so that new calls are refused;
// nil = it can be. A store that took the last write is not asked; one that did not
// is, for no call may come to find out.
func (s *Server) Writable(ctx context.Context) error {
	s.store.mu.Lock()
	st, refused := s.store.store, s.store.refused
	s.store.mu.Unlock()
	if refused == nil || st == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	if _, err := st.Put(ctx, store.Nonces, "writable", nil); err != nil {
		return fmt.Errorf("the store takes no writes, so new calls are refused: %w", err)
	}
	return nil
}

type measured struct {
	store.Store
	metrics *storeMetrics
}

// done books one operation. That a key is or is not there is an answer, not a
// failure.
func (m measured) done(operation string, began time.Time, err error) {
	m.metrics.seconds.WithLabelValues(operation).Observe(time.Since(began).Seconds())
	if failed(err) {
		m.metrics.errors.WithLabelValues(operation).Inc()
	}
}

// wrote is done for a write: the outcome of the last one is remembered.
func (m measured) wrote(operation string, began time.Time, err error) {
	m.done(operation, began, err)
	if err == nil || failed(err) && !errors.Is(err, context.Canceled) {
		m.metrics.mu.Lock()
		defer m.metrics.mu.Unlock()
		m.metrics.refused = err
	}
}

func failed(err error) bool {
	return err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrConflict)
}

func (m measured) Create(ctx context.Context, b store.Bucket, key string, value []byte, ttl time.Duration) (uint64, error) {
	began := time.Now()
	revision, err := m.Store.Create(ctx, b, key, value, ttl)
	m.wrote("create", began, err)
	return revision, err
}

func (m measured) Get(ctx context.Context, b store.Bucket, key string) (store.Entry, error) {
	began := time.Now()
	e, err := m.Store.Get(ctx, b, key)
	m.done("get", began, err)
	return e, err
}

func (m measured) Put(ctx context.Context, b store.Bucket, key string, value []byte) (uint64, error) {
	began := time.Now()
	revision, err := m.Store.Put(ctx, b, key, value)
	m.wrote("put", began, err)
	return revision, err
}

func (m measured) Update(ctx context.Context, b store.Bucket, key string, value []byte, revision uint64) (uint64, error) {
	began := time.Now()
	next, err := m.Store.Update(ctx, b, key, value, revision)
	m.wrote("update", began, err)
	return next, err
}

func (m measured) Delete(ctx context.Context, b store.Bucket, key string) error {
	began := time.Now()
	err := m.Store.Delete(ctx, b, key)
	m.wrote("delete", began, err)
	return err
}

func (m measured) Keys(ctx context.Context, b store.Bucket) ([]string, error) {
	began := time.Now()
	keys, err := m.Store.Keys(ctx, b)
	m.done("keys", began, err)
	return keys, err
}

func (m measured) Watch(ctx context.Context, b store.Bucket) (<-chan store.Entry, error) {
	began := time.Now()
	changes, err := m.Store.Watch(ctx, b)
	m.done("watch", began, err)
	return changes, err
}
