package main_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"riptide/configs/setup"
	"riptide/sip/siptest"
)

// peersCluster is a telco of two nodes behind a balancer, with an office of one or
// two, and calls that are up.
type peersCluster struct {
	*shared
	*peers
	t      *testing.T
	victim int // the node of the telco that has the calls of the baresips
}

// inCluster does something to a telco of two nodes that an office calls, and is
// called by.
func inCluster(balancer func(*front), fault func(*peersCluster, context.Context)) func(*testing.T, context.Context, string) {
	return func(t *testing.T, ctx context.Context, row string) {
		p := startPeers(t, true)
		c := &peersCluster{peers: p, t: t, shared: startShared(t, sharedOptions{balancer: balancer, netns: p.netns, pbx: p.pbx(), carrier: p.out.called.Addr, edit: p.edit})}
		c.talk(ctx)
		fault(c, ctx)
		c.finish(ctx, row)
	}
}

// betweenClusters is the same with an office of two nodes, which calls only.
func betweenClusters(balancer func(*front), fault func(*peersCluster, context.Context)) func(*testing.T, context.Context, string) {
	return func(t *testing.T, ctx context.Context, row string) {
		p := startPeers(t, false)
		c := &peersCluster{peers: p, t: t, shared: startShared(t, sharedOptions{balancer: balancer, netns: p.netns, pbx: p.pbx(), carrier: p.out.called.Addr, edit: p.edit, offices: true})}
		c.talk(ctx)
		fault(c, ctx)
		c.finish(ctx, row)
	}
}

// talk has all calls placed: those of the telco by the node that has that of the
// office's baresip, which is the one that something is about to happen to.
func (c *peersCluster) talk(ctx context.Context) {
	c.t.Helper()
	c.peers.nodes = func() []node {
		if c.offices[0].name != "" {
			return append(c.shared.nodes[:], c.offices[:]...)
		}
		return c.shared.nodes[:]
	}
	c.out.ring(ctx, c.office.sip, siptest.Baresip{Netns: c.peers.netns})
	if c.shared.nodes[1].active(c.t) > 0 {
		c.victim = 1
	}
	c.out.call(ctx, c.office.sip)
	if c.in != nil {
		c.in.ring(ctx, c.shared.nodes[c.victim].sip, siptest.Baresip{Netns: c.peers.netns})
		c.in.call(ctx, c.shared.nodes[c.victim].sip)
	}
	c.anew()
}

func (c *peersCluster) finish(ctx context.Context, row string) {
	c.t.Helper()
	c.goOn(ctx)
	c.peers.end(ctx, row)
	c.office.settle(c.t)
	c.shared.nodes[1-c.victim].settle(c.t)
}

// active is how many calls a node has.
func (n node) active(t testing.TB) int {
	t.Helper()
	return sum(n.metrics(t), "riptide_calls_active")
}

// telcoSipps are those ends of sipp's calls that the telco talks to.
func (c *peersCluster) telcoSipps() []*siptest.SippRun {
	ends := []*siptest.SippRun{c.out.called}
	if c.in != nil {
		ends = append(ends, c.in.calling)
	}
	return ends
}

// moves does something that takes a node's calls to another, and waits until all
// of sipp have followed that SIP peers of the node took part in. So many calls of
// the node are those of baresips.
func (c *peersCluster) moves(ctx context.Context, n node, baresips int, ends []*siptest.SippRun, do func()) {
	c.t.Helper()
	want := followed(ends...) + n.active(c.t) - baresips
	do()
	c.await(ctx, "every SIP peer follows its call", func() bool { return followed(ends...) >= want })
}

func (c *peersCluster) killNode(ctx context.Context) {
	c.moves(ctx, c.shared.nodes[c.victim], len(c.ways()), c.telcoSipps(), c.kills[c.victim])
}

func (c *peersCluster) killOffice(ctx context.Context) {
	c.moves(ctx, c.office, 1, []*siptest.SippRun{c.out.calling}, c.others["office-1"].kill)
	c.office = c.offices[1]
}

// killBalancer kills a balancer, and starts it again.
func killBalancer(balancer func(*front)) func(*peersCluster, context.Context) {
	return func(c *peersCluster, _ context.Context) {
		c.front.running.Signal(syscall.SIGKILL)
		<-c.front.running.Done()
		balancer(c.front)
	}
}

// drain empties the node that has the calls of the baresips.
func (c *peersCluster) drain(ctx context.Context) {
	n := c.shared.nodes[c.victim]
	c.moves(ctx, n, len(c.ways()), c.telcoSipps(), func() {
		out, err := exec.CommandContext(ctx, riptide(c.t), "drain", "--json", "--within", "1m", "-c", filepath.Join(n.dir, setup.ConfigFile)).CombinedOutput()
		if err != nil {
			c.t.Fatalf("riptide drain: %v, %s", err, out)
		}
		c.t.Logf("riptide drain: %s", out)
	})
}

// restart restarts each node of the telco, as systemctl does, the second when the
// first is back.
func (c *peersCluster) restart(ctx context.Context) {
	for range 2 {
		time.Sleep(5 * time.Second) // until the other node votes
		n := c.shared.nodes[c.victim]
		c.moves(ctx, n, len(c.ways()), c.telcoSipps(), func() { terminate(c.t, c.served[c.victim]) })
		if err := os.Rename(n.log, n.log+".ended"); err != nil {
			c.t.Fatal(err)
		}
		c.served[c.victim] = serveProcess(c.t, n)
		n.awaitReady(c.t, "")
		c.goOn(ctx)
		c.victim = 1 - c.victim
	}
	c.victim = 1 - c.victim // all are with the other
}
