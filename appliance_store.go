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
	"riptide/ops"
)

// kept is a node's store; the rest is nil where no others share it.
type kept struct {
	store.Store
	members *nodes.Members
	leads   func(store.Bucket) bool // whether this node takes the writes of a bucket
}

// openStore opens the store of this node, or joins that of its cluster. The key of a single node is made by whoever holds the state
// directory, so the store comes first. trouble gets to know why nodes do not come together; admin says so meanwhile.
func openStore(ctx context.Context, cfg *configs.Config, trouble *embedded.Trouble, admin *ops.Server, logger *slog.Logger) (*kept, error) {
	if cfg.Cluster != nil {
		if err := admin.Await(ctx, func() error { return explained(errJoining, trouble) }); err != nil {
			return nil, err
		}
		return openShared(ctx, cfg, trouble, logger)
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

func openShared(ctx context.Context, cfg *configs.Config, trouble *embedded.Trouble, logger *slog.Logger) (*kept, error) {
	alone, err := readDowry(ctx, cfg, logger)
	if err != nil {
		return nil, err
	}
	joining, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	shared, err := openSharedStore(joining, cfg, trouble, logger)
	if err != nil {
		return nil, explained(err, trouble)
	}
	ring := cfg.Cluster.Ring.Reveal()
	m := nodes.Config{Node: cfg.Node, Bus: shared, Logger: logger, Seal: nodes.Seal{Seal: ring.Tell, Open: ring.Told}, Keys: ring.IDs()}
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

func openSharedStore(ctx context.Context, cfg *configs.Config, trouble *embedded.Trouble, logger *slog.Logger) (*embedded.Store, error) {
	c := cfg.Cluster
	certificate := configs.Renewed(c.TLS.Certificate, c.TLS.Key, c.TLS.Pair.Reveal(), func(err error) { logger.Warn("the old certificate is shown on", "error", err) })
	peers := embedded.Peers{Node: cfg.Node, Listen: c.Bind(cfg.Node), Certificate: certificate, Roots: c.TLS.Roots.Pool, Trouble: trouble, Debug: cfg.Log.Store == "debug"}
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

// Why a node of a cluster takes no new calls.
var (
	errJoining  = errors.New("starting: waiting for a majority of the cluster's nodes, or for three of them if the cluster is new (are enough of those in cluster.nodes up, and do they reach each other at cluster.nodes.NAME.address?)")
	errMinority = errors.New("this node hears no majority of its cluster")
)

// explained adds to an error what is known of why nodes do not come together.
func explained(err error, trouble *embedded.Trouble) error {
	if why := trouble.Now(); why != "" {
		return fmt.Errorf("%w; certificates are not accepted (keys cluster.tls.certificate and cluster.tls.ca): %s", err, why)
	}
	return err
}

// joined tells why a node is no use to its cluster, if there is one: it is not part
// of a majority, or has another key than the others.
func joined(m *nodes.Members, trouble *embedded.Trouble) error {
	if m == nil {
		return nil
	}
	if others, outvoted := m.Unlike(); outvoted {
		return fmt.Errorf("this node and %s cannot go on with each other's calls: cluster.key is another one here (the file has to be the same on every node)", strings.Join(others, ", "))
	}
	if m.Held() {
		return nil
	}
	var missing []string
	for _, n := range m.Nodes() {
		if !n.Alive {
			missing = append(missing, n.Name)
		}
	}
	return explained(fmt.Errorf("%w; not heard: %s (do they run, and reach each other at cluster.nodes.NAME.address?)", errMinority, strings.Join(missing, ", ")), trouble)
}
