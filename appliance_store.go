package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	nodes "riptide/bridge/cluster"
	"riptide/bridge/store"
	"riptide/bridge/store/embedded"
	"riptide/bridge/store/journal"
	"riptide/bridge/store/replica"
	"riptide/bridge/store/sealed"
	"riptide/configs"
)

// kept is a node's store; the rest is nil where no others share it.
type kept struct {
	store.Store
	members *nodes.Members
	leads   func(store.Bucket) bool // whether this node takes the writes of a bucket
}

// openStore opens the store of this node, or joins that of its cluster. The key of a single node is made by whoever holds the state
// directory, so the store comes first.
func openStore(ctx context.Context, cfg *configs.Config, logger *slog.Logger) (*kept, error) {
	if cfg.Cluster != nil {
		return openShared(ctx, cfg, logger)
	}
	disk, err := journal.Open(ctx, cfg.State, logger)
	if err != nil {
		return nil, err
	}
	ring, err := sealed.LoadOrCreate(filepath.Join(cfg.State, sealed.File))
	if err != nil {
		return nil, errors.Join(err, disk.Close())
	}
	return &kept{Store: sealed.New(disk, ring)}, nil
}

// joinTime is how long a node waits at its start for a majority of the others.
const joinTime = time.Minute

func openShared(ctx context.Context, cfg *configs.Config, logger *slog.Logger) (*kept, error) {
	alone, err := readDowry(ctx, cfg, logger)
	if err != nil {
		return nil, err
	}
	joining, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	shared, err := openSharedStore(joining, cfg, logger)
	if err != nil {
		return nil, err
	}
	ring := cfg.Cluster.Ring.Reveal()
	m := nodes.Config{Node: cfg.Node, Bus: shared, Logger: logger, Seal: nodes.Seal{Seal: ring.Tell, Open: ring.Told}}
	addresses := map[string]string{}
	for _, n := range cfg.Cluster.Nodes {
		m.Nodes = append(m.Nodes, n.Name)
		addresses[n.Name] = n.Address.String()
	}
	m.Refused = nodes.Dial(addresses)
	members, err := nodes.Join(m)
	if err != nil {
		return nil, errors.Join(err, shared.Close())
	}
	all := sealed.New(replica.New(shared, shared, logger), *ring)
	if err := alone.bring(ctx, cfg, all, logger); err != nil {
		members.Leave()
		return nil, errors.Join(err, all.Close())
	}
	return &kept{all, members, shared.Leads}, nil
}

func openSharedStore(ctx context.Context, cfg *configs.Config, logger *slog.Logger) (*embedded.Store, error) {
	c := cfg.Cluster
	certificate := configs.Renewed(c.TLS.Certificate, c.TLS.Key, c.TLS.Pair.Reveal(), func(err error) { logger.Warn("the old certificate is shown on", "error", err) })
	peers := embedded.Peers{Node: cfg.Node, Listen: c.Bind(cfg.Node), Certificate: certificate, Roots: c.TLS.Roots.Pool}
	for _, n := range c.Nodes {
		if n.Name != cfg.Node {
			peers.Others = append(peers.Others, n.Address.String())
		}
	}
	if len(c.NATS) > 0 {
		return embedded.Connect(ctx, cfg.State, strings.Join(c.NATS, ","), peers, &tls.Config{
			MinVersion: tls.VersionTLS12, RootCAs: c.TLS.Roots.Pool,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate() },
		}, logger)
	}
	return embedded.OpenCluster(ctx, cfg.State, peers, logger)
}

// errMinority is why a node of a cluster takes no new calls.
var errMinority = errors.New("this node hears no majority of its cluster")

// hears tells whether this node is part of a majority, if there is one to be
// part of.
func hears(m *nodes.Members) error {
	if m == nil || m.Held() {
		return nil
	}
	var missing []string
	for _, n := range m.Nodes() {
		if !n.Alive {
			missing = append(missing, n.Name)
		}
	}
	return fmt.Errorf("%w; not heard: %s", errMinority, strings.Join(missing, ", "))
}
