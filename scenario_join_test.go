package main_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"riptide/configs/setup"
	"riptide/sip/siptest"
)

// TestABoxThatJoinsBringsItsCalls: one box becomes three. The call that it had by
// itself, under another name, goes on in the cluster; what it kept is put aside,
// once.
func TestABoxThatJoinsBringsItsCalls(t *testing.T) {
	t.Parallel()
	caller := (&siptest.Phone{User: officeNumber, Host: "127.0.0.41"}).Start(t)
	callee := (&siptest.Phone{User: outsideNumber, Host: "127.0.0.42"}).Start(t)
	nodes := writeBoxes(t, caller.Addr(), callee.Addr())
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()

	one := nodes[0]
	file := filepath.Join(one.dir, setup.ConfigFile)
	config, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	config = []byte(replace(t, string(config), "127.0.0.31", "127.0.0.43")) // its ports must be free when it comes back
	before, rest, _ := strings.Cut(string(config), "cluster:\n")
	_, after, _ := strings.Cut(rest, "\nsip:")
	if err := os.WriteFile(file, []byte(replace(t, before, "node: one", "node: edge")+"\nsip:"+after), 0o600); err != nil {
		t.Fatal(err)
	}
	kill := serveNode(t, one)
	one.awaitReady(t, "")
	if err := caller.Call(ctx, one.sip, outsideNumber); err != nil {
		t.Fatal(err)
	}
	if err := callee.Talks(ctx); err != nil {
		t.Fatal(err)
	}
	ends := [2]*siptest.Speech{caller.Speech(t, 1), callee.Speech(t, 1)}
	talkOn(t, ctx, ends, 100)
	kill()

	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	one.log += "-again"
	for _, n := range []node{nodes[1], nodes[2], one} {
		serveNode(t, n)
	}
	one.awaitLog(t, "call resumed")
	talkOn(t, ctx, ends, 100)
	if err := callee.HangUp(ctx); err != nil {
		t.Fatal(err)
	}
	if err := caller.Over(ctx); err != nil {
		t.Fatal(err)
	}
	one.settle(t)
	kept := filepath.Join(one.dir, "state", "store")
	if _, err := os.Stat(filepath.Join(kept, "journal")); !os.IsNotExist(err) {
		t.Errorf("it would be brought along again: %v", err)
	}
	if _, err := os.Stat(filepath.Join(kept, "journal-moved")); err != nil {
		t.Error(err)
	}
	if log := one.logText(t); !strings.Contains(log, "kept by itself is in the cluster's store") || strings.Contains(log, "level=ERROR") {
		t.Errorf("it says:\n%s", log)
	}
}
