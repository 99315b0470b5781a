package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"

	"riptide/bridge/store"
	"riptide/bridge/store/embedded"
	"riptide/bridge/store/sealed"
	"riptide/configs"
)

// openStore opens the store of this node. The key is made by whoever holds the
// state directory, so the store comes first.
func openStore(ctx context.Context, cfg *configs.Config, logger *slog.Logger) (store.Store, error) {
	disk, err := embedded.Open(ctx, cfg.State, logger)
	if err != nil {
		return nil, err
	}
	ring, err := sealed.LoadOrCreate(filepath.Join(cfg.State, sealed.File))
	if err != nil {
		return nil, errors.Join(err, disk.Close())
	}
	return sealed.New(disk, ring), nil
}
