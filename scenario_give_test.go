package main_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"riptide/configs/setup"
	"riptide/sip/siptest"
)

// talking is two telephones in a call whose every packet is counted.
type talking struct {
	ends [2]*siptest.Speech
	stop chan struct{}
	said sync.WaitGroup
}

// converse has both speak until check.
func converse(t *testing.T, caller, callee *siptest.Phone) *talking {
	k := &talking{ends: [2]*siptest.Speech{caller.Speech(t, 1), callee.Speech(t, 1)}, stop: make(chan struct{})}
	for _, s := range k.ends {
		k.said.Go(func() {
			pace := time.NewTicker(20 * time.Millisecond)
			defer pace.Stop()
			for {
				if err := s.Say(); err != nil {
					t.Error(err)
					return
				}
				select {
				case <-pace.C:
				case <-k.stop:
					return
				}
			}
		})
	}
	return k
}

// hear waits until each has heard so many packets more.
func (k *talking) hear(ctx context.Context, t *testing.T, enough uint64) {
	t.Helper()
	before := [2]uint64{k.ends[0].Heard().Packets, k.ends[1].Heard().Packets}
	for k.ends[0].Heard().Packets < before[0]+enough || k.ends[1].Heard().Packets < before[1]+enough {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("heard %+v and %+v", k.ends[0].Heard(), k.ends[1].Heard())
		}
	}
}

// check has both fall silent, and tells whether each heard all that the other
// said, in order, with numbers of RTP that go on without a gap.
//
// A machine so busy that a node loses its lease makes calls silent, by design:
// then it asks only that they were heard on.
func (k *talking) check(ctx context.Context, t *testing.T, nodes ...node) {
	t.Helper()
	stalled := false
	for _, n := range nodes {
		log := n.logText(t)
		stalled = stalled || strings.Contains(log, " fenced") || strings.Contains(log, "could not be handed over")
	}
	close(k.stop)
	k.said.Wait()
	for i, who := range []string{"caller", "callee"} {
		said := k.ends[1-i].Said()
		for !stalled && k.ends[i].Heard().Next <= said && k.ends[i].Heard().Packets < said && ctx.Err() == nil {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
		}
		heard := k.ends[i].Heard()
		t.Logf("the %s heard %d packets of %d, the longest silence was %v", who, heard.Packets, said, heard.Longest)
		if stalled {
			t.Log("a node lost its lease meanwhile: nothing is said of the packets")
			continue
		}
		if heard.Packets != said || heard.Missing+heard.Again+heard.Gaps > 0 {
			t.Errorf("the %s heard %+v of %d packets", who, heard, said)
		}
	}
}

// TestACallIsMovedToTheLivingNodeThatIsAsked: a request within a call comes to a
// node that has not got it, while its owner lives. It is answered there, and
// nobody misses a packet. So it is when the next one comes where the call was.
func TestACallIsMovedToTheLivingNodeThatIsAsked(t *testing.T) {
	t.Parallel()
	caller := (&siptest.Phone{User: officeNumber, Host: "127.0.0.23"}).Start(t)
	callee := (&siptest.Phone{User: outsideNumber, Host: "127.0.0.24"}).Start(t)
	one, two, _ := startBoxes(t, caller.Addr(), callee.Addr())
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	k := newConversation(ctx, t, one, caller, callee)
	k.hear(ctx, t, 200) // and all nodes vote by then
	if err := caller.Turn(two.sip); err != nil {
		t.Fatal(err)
	}
	if err := caller.Offer(ctx, false); err != nil {
		t.Fatal(err)
	}
	one.awaitLog(t, "call given to another node")
	two.awaitLog(t, "call resumed")
	k.hear(ctx, t, 200) // for so long it stays
	if err := caller.Turn(one.sip); err != nil {
		t.Fatal(err)
	}
	if err := caller.Offer(ctx, false); err != nil {
		t.Fatal(err)
	}
	two.awaitLog(t, "call given to another node")
	k.hear(ctx, t, 50)
	k.check(ctx, t, one, two)
	if callee.Asked() == 0 {
		t.Error("the callee was not told where its call is now")
	}
	if err := caller.HangUp(ctx); err != nil {
		t.Fatal(err)
	}
	if err := callee.Over(ctx); err != nil {
		t.Fatal(err)
	}
	two.settle(t)
	one.settle(t)
}

// newConversation calls through a node, and has both ends speak.
func newConversation(ctx context.Context, t *testing.T, n node, caller, callee *siptest.Phone) *talking {
	t.Helper()
	if err := caller.Call(ctx, n.sip, outsideNumber); err != nil {
		t.Fatal(err)
	}
	if err := callee.Talks(ctx); err != nil {
		t.Fatal(err)
	}
	return converse(t, caller, callee)
}

// TestRollingUpgrade: both nodes of a cluster are emptied, ended and started
// again, one after the other. The call moves with that twice, and nobody misses a
// packet.
func TestRollingUpgrade(t *testing.T) {
	t.Parallel()
	caller := (&siptest.Phone{User: officeNumber, Host: "127.0.0.25"}).Start(t)
	callee := (&siptest.Phone{User: outsideNumber, Host: "127.0.0.26"}).Start(t)
	one, two, _ := startBoxes(t, caller.Addr(), callee.Addr())
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	k := newConversation(ctx, t, one, caller, callee)
	k.hear(ctx, t, 200) // and all nodes vote by then
	nodes := []node{one, two}
	for i, n := range nodes {
		other := nodes[1-i]
		out, err := exec.CommandContext(ctx, riptide(t), "drain", "--json", "-c", filepath.Join(n.dir, setup.ConfigFile)).CombinedOutput()
		if err != nil || string(out) != "{\"calls\":1,\"moved\":1,\"cut\":0}\n" {
			t.Fatalf("riptide drain at %s: %v, %s", n.name, err, out)
		}
		n.awaitLog(t, "msg=stopped")
		other.awaitReady(t, "")
		k.hear(ctx, t, 50)
		if i == 0 {
			serveNode(t, n)
			n.awaitReady(t, "")
			k.hear(ctx, t, 200) // until it votes
		}
	}
	k.hear(ctx, t, 100)
	k.check(ctx, t, one, two)
}
