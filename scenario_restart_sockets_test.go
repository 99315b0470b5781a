package main_test

import (
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

// keeper is a service manager as far as a service can see: it keeps sockets, and
// hands them to the next process.
type keeper struct {
	t     *testing.T
	conn  *net.UnixConn
	path  string
	names []string
	files []*os.File
}

func newKeeper(t *testing.T) *keeper {
	t.Helper()
	k := &keeper{t: t, path: filepath.Join(t.TempDir(), "notify")}
	var err error
	if k.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: k.path, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = k.conn.Close()
		for _, f := range k.files {
			_ = f.Close()
		}
	})
	return k
}

// run starts a node as a service, and returns what kills it when it is ready.
func (k *keeper) run(n node) (kill func()) {
	k.t.Helper()
	// Whose sockets they are, only the process itself can say: exec keeps its id.
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, riptide(k.t), "serve", "-c", filepath.Join(n.dir, setup.ConfigFile))
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+k.path, fmt.Sprintf("LISTEN_FDS=%d", len(k.files)), "LISTEN_FDNAMES="+strings.Join(k.names, ":"))
	cmd.ExtraFiles = k.files
	log, err := os.Create(n.log)
	if err != nil {
		k.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	exited := make(chan struct{})
	if err := siptest.Tie(cmd, func(error) { _ = log.Close(); close(exited) }); err != nil {
		k.t.Fatal(err)
	}
	kill = func() {
		_ = cmd.Process.Kill() // fails only if it has ended
		<-exited
	}
	k.t.Cleanup(kill)
	k.awaitReady()
	return kill
}

// awaitReady takes what a service says until it is ready.
func (k *keeper) awaitReady() {
	k.t.Helper()
	buf, oob := make([]byte, 4096), make([]byte, 256)
	if err := k.conn.SetReadDeadline(time.Now().Add(60 * time.Second)); err != nil {
		k.t.Fatal(err)
	}
	for {
		n, o, _, _, err := k.conn.ReadMsgUnix(buf, oob)
		if err != nil {
			k.t.Fatal(err)
		}
		text := string(buf[:n])
		if strings.HasPrefix(text, "READY=1") {
			return
		}
		_, name, ok := strings.Cut(text, "FDSTORE=1\nFDNAME=")
		messages, err := syscall.ParseSocketControlMessage(oob[:o])
		if !ok || err != nil || len(messages) != 1 {
			continue
		}
		fds, err := syscall.ParseUnixRights(&messages[0])
		if err != nil {
			k.t.Fatal(err)
		}
		k.names, k.files = append(k.names, name), append(k.files, os.NewFile(uintptr(fds[0]), name))
	}
}

// TestNothingIsRefusedWhileRestarting: what peers send while the process is not
// there over UDP and TCP waits for the next one.
func TestNothingIsRefusedWhileRestarting(t *testing.T) {
	t.Parallel()
	n := siteNode(t, t.TempDir(), "box")
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("state: %q\nadmin: %s\nsip:\n  listen: [%q]\ntrunks:\n  pbx:\n    sip: {peer: %q, match: 127.0.0.1/32, callers: \"*\"}\n  other:\n    sip: {peer: %q, callers: \"*\"}\nroutes:\n  - {from: pbx, to: \"+*\", trunk: other}\n",
		filepath.Join(n.dir, "state"), n.admin, n.sip, loopback(t), "127.0.0.7:5060")
	if err := os.WriteFile(filepath.Join(n.dir, setup.ConfigFile), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	k := newKeeper(t)
	k.run(n)()
	if len(k.names) != 2 {
		t.Fatalf("it keeps %v", k.names)
	}
	ask := func(network string) net.Conn {
		t.Helper()
		c, err := net.Dial(network, n.sip)
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := fmt.Fprintf(c, "OPTIONS sip:%s SIP/2.0\r\nVia: SIP/2.0/%s %s;branch=z9hG4bK%s;rport\r\nMax-Forwards: 70\r\nFrom: <sip:a@127.0.0.1>;tag=1\r\nTo: <sip:%s>\r\nCall-ID: %s\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
			n.sip, strings.ToUpper(network), c.LocalAddr(), network, n.sip, network); err != nil {
			t.Fatal(err)
		}
		return c
	}
	waiting := []net.Conn{ask("udp"), ask("tcp")}
	n.log += "-again"
	k.run(n)
	for _, c := range waiting {
		buf := make([]byte, 4096)
		if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		size, err := c.Read(buf)
		if err != nil || !strings.HasPrefix(string(buf[:size]), "SIP/2.0 200") {
			t.Errorf("%v: %v, %q", c.LocalAddr().Network(), err, buf[:size])
		}
	}
	if len(k.names) != 2 {
		t.Errorf("it keeps %v", k.names)
	}
}
