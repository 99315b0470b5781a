package main_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"riptide/configs/setup"
	"riptide/sip/siptest"
)

// TestDrainIsCutShort: a box by itself that is drained says so to peers that probe.
// Told to stop before its calls have ended it leaves them on record, and says that to
// who drains it; they go on with the process that follows.
func TestDrainIsCutShort(t *testing.T) {
	t.Parallel()
	const host = "127.2.0.1"
	caller := (&siptest.Phone{User: officeNumber, Host: "127.2.0.10"}).Start(t)
	callee := (&siptest.Phone{User: outsideNumber, Host: "127.2.0.20"}).Start(t)
	n := siteNode(t, t.TempDir(), "solo")
	n.sip = host + ":5060"
	config := fmt.Sprintf("node: solo\nstate: %s\nadmin: %s\nsip:\n  listen: %s\n  media: {ports: 16384-16583}\ntrunks:\n"+
		"  pbx: {sip: {peer: %s, callers: \"*\"}}\n  carrier: {sip: {peer: %s, callers: \"*\"}}\n"+
		"routes:\n  - {from: pbx, to: \"+*\", trunk: carrier}\n", filepath.Join(n.dir, "state"), n.admin, n.sip, caller.Addr(), callee.Addr())
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(n.dir, setup.ConfigFile), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	running := serveProcess(t, n)
	n.awaitReady(t, "")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	k := newConversation(ctx, t, n, caller, callee)
	k.hear(ctx, t, 50)
	if got := probed(t, "127.2.0.10", n.sip); got != "SIP/2.0 200 OK" {
		t.Errorf("before: %s", got)
	}
	drained := make(chan string, 1)
	go func() {
		out, err := exec.CommandContext(ctx, riptide(t), "drain", "-c", filepath.Join(n.dir, setup.ConfigFile)).CombinedOutput()
		drained <- fmt.Sprintf("%s%v", out, err)
	}()
	n.awaitLog(t, "msg=draining")
	if got := probed(t, "127.2.0.10", n.sip); got != "SIP/2.0 503 Service Unavailable" {
		t.Errorf("while it drains: %s", got)
	}
	if err := running.process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := <-drained; !strings.Contains(got, "1 calls are left on record") || !strings.HasSuffix(got, "exit status 1") {
		t.Errorf("riptide drain: %s", got)
	}
	<-running.exited
	serveProcess(t, n)
	n.awaitReady(t, "")
	k.hear(ctx, t, 50)
	close(k.stop)
	k.said.Wait()
	if err := caller.HangUp(ctx); err != nil {
		t.Fatal(err)
	}
	if err := callee.Over(ctx); err != nil {
		t.Fatal(err)
	}
	n.settle(t)
}

// probed is what a box says to OPTIONS.
func probed(t *testing.T, from, to string) string {
	t.Helper()
	c, err := net.ListenPacket("udp", from+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	at, err := net.ResolveUDPAddr("udp", to)
	if err != nil {
		t.Fatal(err)
	}
	unique := time.Now().UnixNano()
	text := fmt.Sprintf("OPTIONS sip:%s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%d\r\nFrom: <sip:probe@%s>;tag=1\r\nTo: <sip:%s>\r\nCall-ID: %d@probe\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
		to, c.LocalAddr(), unique, from, to, unique)
	buf := make([]byte, 2000)
	for range 20 { // of the same request, as a peer repeats it
		if _, err := c.WriteTo([]byte(text), at); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(2 * time.Second)) // fails only if it is closed
		if got, _, err := c.ReadFrom(buf); err == nil {
			line, _, _ := strings.Cut(string(buf[:got]), "\r\n")
			return line
		}
	}
	return "nothing"
}
