package embedded

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"riptide/bridge/store"
)

// A node that goes has others lead what it leads, and waits until they do. The
// server's own end (Shutdown, and LameDuckShutdown too) has every group step down,
// but for whichever peer comes first, one that lags behind as well as one that does
// not; and it closes at once, or after a second, whether anybody leads by then or
// not. Without a leader nothing is written for the four to nine seconds after which
// an election begins.
//
// What reads for another node's watch (a consumer with one replica, in memory)
// cannot be handed over: that node makes it again elsewhere.

const (
	// handOverTime bounds it all, and handOverAsk one question.
	handOverTime = 3 * time.Second
	handOverAsk  = 250 * time.Millisecond
	// settleTime is how long a group has to find its leader, before it is looked
	// again.
	settleTime = 20 * time.Millisecond
)

// The user that may have the leader of the cluster itself step down.
const keeper = "keeper"

// group is what the servers elect a leader of: the streams of buckets, and the
// cluster itself.
type group struct {
	name  string
	leads func() bool // whether we lead it
	// successor is the one to lead it, "" if nobody can.
	successor func(context.Context) string
	stepDown  func(ctx context.Context, successor string) error
	// led is nil when another leads it.
	led func(context.Context) error
}

// handOver has the other nodes lead what this one leads.
func (s *Store) handOver() {
	if s.conn == nil || s.conn != s.bus || s.life.Err() != nil {
		return // somebody else's servers keep the store
	}
	ctx, cancel := context.WithTimeout(context.Background(), handOverTime)
	defer cancel()
	system, err := nats.Connect(nats.DefaultURL, append(connecting(s.log), nats.InProcessServer(s.server), nats.UserInfo(keeper, s.keeper))...)
	if err != nil {
		s.log.Debug("store: who leads the cluster stays as it is", "error", err)
	} else {
		defer system.Close()
	}
	began := time.Now()
	var handed []string
	for _, g := range s.groups(system) {
		if !g.leads() {
			continue
		}
		if err := g.handOver(ctx); err != nil {
			s.log.Warn("the store's nodes have to elect a leader when this one is gone, which takes up to 9 s", "of", g.name, "error", err)
			continue
		}
		handed = append(handed, g.name)
	}
	if len(handed) > 0 {
		s.log.Info("other nodes lead the store", "what", handed, "took", time.Since(began).Round(time.Millisecond))
	}
}

// groups are all there are; system is nil where only buckets can be handed over.
func (s *Store) groups(system *nats.Conn) []group {
	var all []group
	if system != nil {
		all = append(all, group{
			name: "cluster", leads: s.server.JetStreamIsLeader,
			successor: func(context.Context) string {
				info, err := s.server.Jsz(nil)
				if err != nil || info.Meta == nil {
					return ""
				}
				peers := make([]*jetstream.PeerInfo, 0, len(info.Meta.Replicas))
				for _, p := range info.Meta.Replicas {
					peers = append(peers, &jetstream.PeerInfo{Name: p.Name, Current: p.Current, Offline: p.Offline, Active: p.Active, Lag: p.Lag})
				}
				return successor(peers)
			},
			stepDown: func(ctx context.Context, to string) error { return askToStepDown(ctx, system, "META", to) },
			led: func(ctx context.Context) error {
				_, err := s.streams.AccountInfo(ctx) // answered by who leads
				return err
			},
		})
	}
	for _, b := range store.Buckets {
		stream := "KV_" + string(b)
		info := func(ctx context.Context) (*jetstream.ClusterInfo, error) {
			st, err := s.streams.Stream(ctx, stream)
			if err != nil {
				return nil, err
			}
			if c := st.CachedInfo().Cluster; c != nil {
				return c, nil
			}
			return nil, errors.New("it is not said who has it")
		}
		all = append(all, group{
			name: string(b), leads: func() bool { return s.Leads(b) },
			successor: func(ctx context.Context) string {
				c, err := info(ctx)
				if err != nil {
					return ""
				}
				return successor(c.Replicas)
			},
			stepDown: func(ctx context.Context, to string) error { return askToStepDown(ctx, s.conn, "STREAM", to, stream) },
			led: func(ctx context.Context) error {
				c, err := info(ctx)
				if err == nil && c.Leader == "" {
					err = errNoLeader
				}
				return err
			},
		})
	}
	return all
}

var (
	errNoLeader    = errors.New("nobody leads it yet")
	errNoSuccessor = errors.New("no other node is there that has all of it")
)

// handOver returns when another node leads the group.
func (g *group) handOver(ctx context.Context) error {
	for {
		err := g.handOverOnce(ctx)
		if err == nil || errors.Is(err, errNoSuccessor) {
			return err
		}
		select {
		case <-time.After(settleTime):
		case <-ctx.Done():
			return err
		}
	}
}

func (g *group) handOverOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, handOverAsk)
	defer cancel()
	if g.leads() {
		to := g.successor(ctx)
		if to == "" {
			return errNoSuccessor
		}
		if err := g.stepDown(ctx, to); err != nil {
			return fmt.Errorf("hand it over to %q: %w", to, err)
		}
	}
	if err := g.led(ctx); err != nil {
		return err
	}
	if g.leads() {
		return errNoLeader
	}
	return nil
}

// successor is the peer that has most of what its leader has, "" if none is there.
func successor(peers []*jetstream.PeerInfo) string {
	peers = slices.DeleteFunc(slices.Clone(peers), func(p *jetstream.PeerInfo) bool { return p.Offline || !p.Current })
	if len(peers) == 0 {
		return ""
	}
	return slices.MinFunc(peers, func(a, z *jetstream.PeerInfo) int {
		return cmp.Or(cmp.Compare(a.Lag, z.Lag), cmp.Compare(a.Active, z.Active))
	}).Name
}

// askToStepDown has the leader of a group give way to a peer.
func askToStepDown(ctx context.Context, conn *nats.Conn, kind, to string, of ...string) error {
	subject := "$JS.API." + kind + ".LEADER.STEPDOWN"
	for _, name := range of {
		subject += "." + name
	}
	request, err := json.Marshal(server.JSApiLeaderStepdownRequest{Placement: &server.Placement{Preferred: to}})
	if err != nil {
		return err
	}
	m, err := conn.RequestWithContext(ctx, subject, request)
	if err != nil {
		return err
	}
	var answer server.ApiResponse
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return answer.ToError()
}
