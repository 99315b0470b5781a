package embedded

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"riptide/bridge/store"
)

// Peers is the cluster that this node's server is part of.
type Peers struct {
	Node   string   // our name, which no other node has
	Listen string   // host:port at which the others reach us
	Others []string // host:port of the other nodes

	// Certificate is ours, in both directions; Roots issued those of all nodes, and
	// of nobody else: who has one may read and write everything.
	Certificate func() (*tls.Certificate, error)
	Roots       *x509.CertPool

	Debug   bool     // the server says whatever it does, and not what matters alone
	Trouble *Trouble // gets to know why nodes do not come together; nil = nobody wants to
}

// copies is how many nodes keep each value: the loss of one loses nothing, and
// stops nothing.
const copies = 3

// OpenCluster opens the store of a node whose server is one of several. It waits
// until a majority of them runs, or ctx ends.
func OpenCluster(ctx context.Context, state string, peers Peers, log *slog.Logger) (*Store, error) {
	return open(state, func(s *Store, dir string) error { return s.startCluster(ctx, dir, peers, log) })
}

// Connect opens a store that somebody else's NATS servers keep. They need
// JetStream, and should sync every write (sync_interval: always). What the nodes
// say to each other goes straight between them, all the same: whether they live
// has nothing to do with those servers. The state directory is held all the same,
// for this process alone.
func Connect(ctx context.Context, state, urls string, peers Peers, certificates *tls.Config, log *slog.Logger) (*Store, error) {
	lock, err := store.Hold(filepath.Join(state, "store"))
	if err != nil {
		return nil, err
	}
	s := newStore()
	s.lock = lock
	if err := s.startBus(peers, log); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("listen for the other nodes at %s: %w", peers.Listen, err)
	}
	s.conn, err = nats.Connect(urls, append(connecting(log), nats.Name(peers.Node), nats.Secure(certificates), nats.Timeout(5*time.Second),
		// What is not written now must not be written later, when its caller has given up.
		nats.ReconnectBufSize(-1))...)
	if err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("connect to %s: %w (key cluster.nats)", urls, err)
	}
	if err := s.awaitBuckets(ctx, log); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("use the store at %s: %w", urls, err)
	}
	return s, nil
}

func (s *Store) startCluster(ctx context.Context, dir string, peers Peers, log *slog.Logger) error {
	if err := s.runPeer(options(peers.Node, dir), peers, log); err != nil {
		return err
	}
	s.conn = s.bus
	return s.awaitBuckets(ctx, log)
}

// startBus starts a server that stores nothing: it carries what nodes say to each other.
func (s *Store) startBus(peers Peers, log *slog.Logger) error {
	return s.runPeer(&server.Options{ServerName: peers.Node, NoSigs: true}, peers, log)
}

// runPeer starts a server that is one of the nodes', and connects to it.
func (s *Store) runPeer(opts *server.Options, peers Peers, log *slog.Logger) error {
	s.log = log
	host, port, err := net.SplitHostPort(peers.Listen)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	var routes []*url.URL
	for _, at := range peers.Others {
		routes = append(routes, &url.URL{Scheme: "nats-route", Host: at})
	}
	// The server waits with its routes until it listens for clients. It does so for
	// this process alone, on a port and with a password that nobody else knows.
	password := rand.Text()
	opts.Host, opts.Port = "127.0.0.1", server.RANDOM_PORT
	system := server.NewAccount(server.DEFAULT_SYSTEM_ACCOUNT)
	opts.Accounts = []*server.Account{system}
	opts.Users = []*server.User{{Username: "riptide", Password: password}, {Username: keeper, Password: s.keeper, Account: system}}
	opts.Routes = routes
	opts.Cluster = server.ClusterOpts{
		Name: "riptide", Host: host, Port: number, NoAdvertise: true,
		TLSConfig: routeTLS(peers), TLSTimeout: 5,
		// A node behind a wire that was cut is to be found quickly when it is mended.
		PingInterval: time.Second, MaxPingsOut: 2,
	}
	if err := s.run(opts, peers, log); err != nil {
		return err
	}
	if s.bus, err = nats.Connect(nats.DefaultURL, append(connecting(log), nats.InProcessServer(s.server),
		nats.Name(peers.Node), nats.UserInfo("riptide", password))...); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	return nil
}

// routeTLS is how nodes know each other: both sides show a certificate of the
// cluster's own authority.
func routeTLS(p Peers) *tls.Config {
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		RootCAs:              p.Roots,
		ClientCAs:            p.Roots,
		ClientAuth:           tls.RequireAndVerifyClientCert,
		GetCertificate:       func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.Certificate() },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return p.Certificate() },
	}
}

// awaitBuckets opens the buckets once the cluster has a leader: until then every
// answer is that there is none, or none.
func (s *Store) awaitBuckets(ctx context.Context, log *slog.Logger) error {
	var err error
	if s.streams, err = jetstream.New(s.conn); err != nil {
		return err
	}
	told := map[string]bool{}
	for _, b := range store.Buckets {
		for {
			limited, cancel := context.WithTimeout(ctx, writeTimeout)
			err = s.openBucket(limited, b, copies)
			cancel()
			if err == nil {
				break
			}
			if what := awaited(err); !told[what] {
				log.Info(what)
				told[what] = true
			}
			select {
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
				return fmt.Errorf("bucket %s: %w: %w (are enough of the nodes in cluster.nodes up, do they reach each other, and does each have a certificate of cluster.tls.ca?)", b, ctx.Err(), err)
			}
		}
	}
	return nil
}

// awaited is what a store that is not there yet waits for. A majority can write what is
// there; what is made new is placed on as many nodes as keep it.
func awaited(err error) string {
	var refused *jetstream.APIError
	if errors.As(err, &refused) && refused.ErrorCode == jetstream.ErrorCode(server.JSClusterNoPeersErrF) {
		return "waiting for three of the cluster's nodes: a majority is up, but a new cluster begins with three (later a majority is enough)"
	}
	return "waiting for a majority of the cluster's nodes"
}

// Publish is of cluster.Bus: it needs no leader.
func (s *Store) Publish(subject string, data []byte) error {
	if s.life.Err() != nil {
		return store.ErrClosed
	}
	if err := s.bus.Publish(subject, data); err != nil {
		return fmt.Errorf("publish to %s: %w", subject, err)
	}
	return nil
}

// What waits for one subscriber at most. What comes then is lost.
const (
	pendingMessages = 16 << 10
	pendingBytes    = 16 << 20
)

// Subscribe is of cluster.Bus.
func (s *Store) Subscribe(subject string, each func(data []byte)) (stop func(), err error) {
	var mu sync.Mutex
	stopped := false
	sub, err := s.bus.Subscribe(subject, func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		if !stopped {
			each(m.Data)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	stop = func() {
		_ = sub.Unsubscribe() // an error says that the connection is closed
		mu.Lock()
		defer mu.Unlock()
		stopped = true
	}
	if err := errors.Join(sub.SetPendingLimits(pendingMessages, pendingBytes), s.bus.FlushTimeout(writeTimeout)); err != nil {
		stop()
		return nil, fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	return stop, nil
}

// Leads tells whether this node takes the writes of a bucket now.
func (s *Store) Leads(b store.Bucket) bool {
	return s.server != nil && s.server.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, "KV_"+string(b))
}
