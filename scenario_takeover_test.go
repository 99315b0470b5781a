package main_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"riptide/configs/setup"
	"riptide/sip/siptest"
)

// clusterConfig is a node of a cluster of three: two boxes between the same two
// telephones, and a witness.
const clusterConfig = `
node: %s
state: %s
admin: %s
cluster:
  nodes:
    one: {address: %s}
    two: {address: %s}
    witness: {address: %s, witness: true}
  tls: {certificate: %s, key: %s, ca: %s}
  key: %s
`

const takeoverTrunks = `
sip:
  listen: %s
  media: {address: %s, ports: 16384-17383}
trunks:
  pbx: {sip: {peer: %s, callers: "*"}}
  carrier: {sip: {peer: %s, callers: "*"}}
routes:
  - {from: pbx, to: "+*", trunk: carrier}
`

// writeBoxes writes the configurations of the three.
func writeBoxes(t *testing.T, caller, callee string) (nodes [3]node) {
	t.Helper()
	dir := t.TempDir()
	ca := siptest.NewAuthority(t)
	certificate, private := ca.Issue("127.0.0.1")
	sealing := make([]byte, 32)
	_, _ = rand.Read(sealing) // never fails (crypto/rand)
	key := filepath.Join(dir, "cluster.key")
	if err := os.WriteFile(key, []byte(base64.StdEncoding.EncodeToString(sealing)), 0o600); err != nil {
		t.Fatal(err)
	}
	at := [3]string{loopback(t), loopback(t), loopback(t)}
	for i, name := range []string{"one", "two", "witness"} {
		n := siteNode(t, dir, name)
		if err := os.MkdirAll(n.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		config := fmt.Sprintf(clusterConfig, name, filepath.Join(n.dir, "state"), n.admin, at[0], at[1], at[2], certificate, private, ca.Roots, key)
		if name != "witness" {
			config += fmt.Sprintf(takeoverTrunks, n.sip, []string{"127.0.0.31", "127.0.0.32"}[i], caller, callee)
		}
		if err := os.WriteFile(filepath.Join(n.dir, setup.ConfigFile), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		nodes[i] = n
	}
	return nodes
}

// startBoxes runs the three, as processes of their own. What it returns kills
// the first.
func startBoxes(t *testing.T, caller, callee string) (one, two node, kill func()) {
	t.Helper()
	nodes := writeBoxes(t, caller, callee)
	var kills [3]func()
	for i, n := range nodes {
		kills[i] = serveNode(t, n)
	}
	for _, n := range nodes {
		n.awaitReady(t, "")
	}
	return nodes[0], nodes[1], kills[0]
}

// talkOn has both ends speak until each has heard enough packets more.
func talkOn(t *testing.T, ctx context.Context, ends [2]*siptest.Speech, enough uint64) {
	t.Helper()
	before := [2]uint64{ends[0].Heard().Packets, ends[1].Heard().Packets}
	for ends[0].Heard().Packets < before[0]+enough || ends[1].Heard().Packets < before[1]+enough {
		for _, s := range ends {
			if err := s.Say(); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("heard %+v and %+v", ends[0].Heard(), ends[1].Heard())
		}
	}
}

// TestACallGoesOnAtAnotherNode: the node that has a call is killed, and another
// takes the call over without being asked. The telephones go on hearing each
// other, and one hangs up for both.
func TestACallGoesOnAtAnotherNode(t *testing.T) {
	t.Parallel()
	caller := (&siptest.Phone{User: officeNumber, Host: "127.0.0.21"}).Start(t)
	callee := (&siptest.Phone{User: outsideNumber, Host: "127.0.0.22"}).Start(t)
	one, two, kill := startBoxes(t, caller.Addr(), callee.Addr())
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	if err := caller.Call(ctx, one.sip, outsideNumber); err != nil {
		t.Fatal(err)
	}
	if err := callee.Talks(ctx); err != nil {
		t.Fatal(err)
	}
	ends := [2]*siptest.Speech{caller.Speech(t, 1), callee.Speech(t, 1)}
	talk := func(enough uint64) {
		t.Helper()
		talkOn(t, ctx, ends, enough)
	}
	talk(100) // and the answer is on record by then
	kill()
	two.awaitLog(t, "call resumed")
	talk(100)
	t.Logf("longest silence: %v and %v", ends[0].Heard().Longest, ends[1].Heard().Longest)
	if caller.Asked() == 0 || callee.Asked() == 0 {
		t.Error("they were not told where their call is now")
	}
	if err := caller.HangUp(ctx); err != nil {
		t.Fatal(err)
	}
	if err := callee.Over(ctx); err != nil {
		t.Fatal(err)
	}
	two.settle(t)
}
