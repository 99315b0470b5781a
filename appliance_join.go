package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"riptide/bridge"
	"riptide/bridge/store"
	"riptide/bridge/store/journal"
	"riptide/bridge/store/sealed"
	"riptide/configs"
)

// A box that was by itself and is a node of a cluster now brings along what it has
// kept: its calls, registrations, certificates, and all else. It does so once,
// before it takes a call. What it cannot bring along keeps it from starting, since
// the calls would be lost without a word.

// bringTime bounds it: who talks will not wait for longer.
const bringTime = 30 * time.Second

// dowry is what the journal of a box held.
type dowry struct {
	kept []journal.Kept
	ring sealed.Ring
}

// readDowry reads it, nil where there is none. It is closed before the cluster's
// store opens, which wants the directory for itself.
func readDowry(ctx context.Context, cfg *configs.Config, logger *slog.Logger) (*dowry, error) {
	if !journal.Exists(cfg.State) {
		return nil, nil
	}
	disk, err := journal.Open(ctx, cfg.State, logger)
	if err != nil {
		return nil, fmt.Errorf("read what this box kept by itself: %w", err)
	}
	d := &dowry{}
	d.kept, err = disk.All(ctx)
	if err = errors.Join(err, disk.Close()); err != nil {
		return nil, fmt.Errorf("read what this box kept by itself: %w", err)
	}
	d.ring, err = sealed.Load(filepath.Join(cfg.State, sealed.File))
	if calls := d.calls(); calls > 0 && errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%d calls of this box cannot be read without their key: %w (put it back, or remove the directory store/journal of the state directory)", calls, err)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if calls := d.calls(); calls > 0 && cfg.Witness() {
		return nil, fmt.Errorf("this box has %d calls on record, and a witness takes none: start it as it was and drain it (riptide drain), or remove the directory store/journal of %s", calls, cfg.State)
	}
	return d, nil
}

func (d *dowry) calls() (n int) {
	for _, k := range d.kept {
		if k.Bucket == store.Calls {
			n++
		}
	}
	return n
}

// bring writes it into the store of the cluster. What is there already is newer.
func (d *dowry) bring(ctx context.Context, cfg *configs.Config, into store.Store, logger *slog.Logger) error {
	if d == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, bringTime)
	defer cancel()
	var mu sync.Mutex
	var errs []error
	var writers sync.WaitGroup
	work := make(chan journal.Kept)
	for range 16 {
		writers.Go(func() {
			for k := range work {
				if err := d.one(ctx, cfg, into, k, logger); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
					cancel() // the rest would fail as slowly
				}
			}
		})
	}
	for _, k := range d.kept {
		work <- k
	}
	close(work)
	writers.Wait()
	if len(errs) > 0 {
		return fmt.Errorf("bring what this box kept by itself into the cluster's store: %w", errs[0])
	}
	if err := journal.Retire(cfg.State); err != nil {
		return err
	}
	logger.Info("what this box kept by itself is in the cluster's store", "values", len(d.kept), "calls", d.calls())
	return nil
}

func (d *dowry) one(ctx context.Context, cfg *configs.Config, into store.Store, k journal.Kept, logger *slog.Logger) error {
	e := d.ring.Unseal(k.Bucket, store.Entry{Key: k.Key, Value: k.Value})
	if e.Err == nil && k.Bucket == store.Calls {
		e.Value, e.Err = callOf(cfg.Node, e.Value)
	}
	if e.Err != nil {
		logger.Error("what this box kept is not brought along", "bucket", k.Bucket, "key", k.Key, "error", e.Err)
		return nil
	}
	_, err := into.Create(ctx, k.Bucket, k.Key, e.Value, k.TTL)
	if errors.Is(err, store.ErrExists) {
		return nil
	}
	return err
}

// callOf makes a record one of this node: it may have had another name.
func callOf(node string, value []byte) ([]byte, error) {
	rec, err := bridge.DecodeRecord(value)
	if err != nil {
		return nil, err
	}
	rec.Node = node
	return rec.Encode()
}
