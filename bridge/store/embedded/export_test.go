package embedded

import (
	"context"
	"errors"
	"log/slog"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"riptide/bridge/store"
)

// OpenAlone opens a store of one server that nobody else reaches, with the options
// of the servers of a cluster: what one of them does with its disk and its watches
// is seen here without elections.
func OpenAlone(ctx context.Context, state string, log *slog.Logger) (*Store, error) {
	return open(state, func(s *Store, dir string) error {
		opts := options("riptide", dir)
		opts.DontListen, opts.NoSystemAccount = true, true
		if err := s.run(opts, nil, log); err != nil {
			return err
		}
		var err error
		if s.conn, err = nats.Connect(nats.DefaultURL, append(connecting(log), nats.InProcessServer(s.server))...); err != nil {
			return err
		}
		if s.streams, err = jetstream.New(s.conn); err != nil {
			return err
		}
		for _, b := range store.Buckets {
			var bad error
			s.buckets[b], bad = openBucket(ctx, s.streams, b, 1)
			err = errors.Join(err, bad)
		}
		return err
	})
}
