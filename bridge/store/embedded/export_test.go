package embedded

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"riptide/bridge/store"
)

// OpenAlone opens a store of one server that nobody else reaches, with the options
// of the servers of a cluster: what one of them does with its disk and its watches
// is seen here without elections.
func OpenAlone(ctx context.Context, state string, peers Peers, log *slog.Logger) (*Store, error) {
	return open(state, func(s *Store, dir string) error {
		opts := options("riptide", dir)
		opts.DontListen, opts.NoSystemAccount = true, true
		if err := s.run(opts, peers, log); err != nil {
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
			err = errors.Join(err, s.openBucket(ctx, b, 1))
		}
		return err
	})
}

// Deafen has a store lose the answers to the next writes.
func (s *Store) Deafen(answers int32) {
	d := &deaf{JetStream: s.streams}
	d.answers.Store(answers)
	s.streams = d
}

// deaf loses the answers to the first writes that go through it.
type deaf struct {
	jetstream.JetStream
	answers atomic.Int32
}

func (d *deaf) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	ack, err := d.JetStream.PublishMsg(ctx, m, opts...)
	if d.answers.Add(-1) >= 0 {
		return nil, nats.ErrNoResponders
	}
	return ack, err
}
