package main_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"riptide/configs/setup"
	"riptide/sip/siptest"
)

// TestBothNodesAreRestartedAtOnce, as by somebody who tells all boxes to restart: the
// call stays on record, and goes on with the processes that follow. Neither telephone
// hears that it has ended.
func TestBothNodesAreRestartedAtOnce(t *testing.T) {
	t.Parallel()
	caller := (&siptest.Phone{User: officeNumber, Host: "127.0.0.27"}).Start(t)
	callee := (&siptest.Phone{User: outsideNumber, Host: "127.0.0.28"}).Start(t)
	boxes := writeBoxes(t, caller.Addr(), callee.Addr())
	var running [3]*served
	for i, n := range boxes {
		if i < 2 { // their ports must be free when they come back
			file := filepath.Join(n.dir, setup.ConfigFile)
			config, err := os.ReadFile(file)
			if err == nil {
				config = []byte(replace(t, string(config), fmt.Sprintf("127.0.0.%d", 31+i), fmt.Sprintf("127.0.0.%d", 45+i)))
				err = os.WriteFile(file, config, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		running[i] = serveProcess(t, n)
	}
	for _, n := range boxes {
		n.awaitReady(t, "")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	k := newConversation(ctx, t, boxes[0], caller, callee)
	k.hear(ctx, t, 200) // and all nodes vote by then
	for i := range 2 {
		if err := running[i].process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2 {
		<-running[i].exited
		running[i] = serveProcess(t, boxes[i])
	}
	for _, n := range boxes[:2] {
		n.awaitReady(t, "")
	}
	k.hear(ctx, t, 100)
	close(k.stop)
	k.said.Wait()
	if err := caller.HangUp(ctx); err != nil {
		t.Fatal(err)
	}
	if err := callee.Over(ctx); err != nil {
		t.Fatal(err)
	}
	for _, n := range boxes[:2] {
		n.settle(t)
	}
}
