package systemd

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
)

// manager is a service manager that keeps descriptors.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
	said []string
	kept map[string]int // by name
}

func newManager(t *testing.T) *manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", path)
	m := &manager{t: t, conn: c, kept: map[string]int{}}
	t.Cleanup(func() {
		_ = c.Close()
		for _, fd := range m.kept {
			_ = syscall.Close(fd)
		}
	})
	return m
}

// read takes one notification.
func (m *manager) read() string {
	m.t.Helper()
	buf, oob := make([]byte, 4096), make([]byte, 256)
	if err := m.conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		m.t.Fatal(err)
	}
	n, o, _, _, err := m.conn.ReadMsgUnix(buf, oob)
	if err != nil {
		m.t.Fatal(err)
	}
	text := string(buf[:n])
	m.said = append(m.said, text)
	messages, err := syscall.ParseSocketControlMessage(oob[:o])
	if err != nil {
		m.t.Fatal(err)
	}
	for _, c := range messages {
		fds, err := syscall.ParseUnixRights(&c)
		if err != nil || len(fds) != 1 {
			m.t.Fatalf("%v, %v", fds, err)
		}
		_, name, _ := strings.Cut(text, "FDNAME=")
		m.kept[name] = fds[0]
	}
	return text
}

func freeAddr(t *testing.T) string {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	return c.LocalAddr().String()
}

// What is sent while the process is not there waits in the sockets that the
// service manager keeps; the process that follows takes them up.
func TestSocketsAreKept(t *testing.T) {
	m := newManager(t)
	addr := freeAddr(t)
	first := Inherited().With(net.ListenConfig{})
	c, err := first.ListenPacket(t.Context(), "udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	name := "udp4_" + strings.ReplaceAll(addr, ":", "_")
	if got := m.read(); got != "FDSTORE=1\nFDNAME="+name {
		t.Fatalf("%q", got)
	}
	l, err := first.Listen(t.Context(), "tcp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	m.read()
	if _, err := first.ListenPacket(t.Context(), "udp4", "127.0.0.1:0"); err != nil { // not worth keeping
		t.Fatal(err)
	}
	// It still does not block: a read ends with its deadline.
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.ReadFrom(make([]byte, 9)); !os.IsTimeout(err) {
		t.Fatalf("%v", err)
	}
	_, _ = c.Close(), l.Close() // the process dies
	peer, err := net.Dial("udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = peer.Close() }()
	if _, err := peer.Write([]byte("meanwhile")); err != nil {
		t.Fatal(err)
	}
	caller, err := net.Dial("tcp4", addr)
	if err != nil {
		t.Fatalf("a connection is refused: %v", err)
	}
	defer func() { _ = caller.Close() }()

	// The one that follows is a process of its own.
	cmd := exec.Command(os.Args[0], "-test.run=TestHeir", "-test.v")
	cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(m.kept[name]), name), os.NewFile(uintptr(m.kept["tcp4"+name[4:]]), name), os.NewFile(uintptr(must(syscall.Dup(m.kept[name]))), "old")}
	clear(m.kept)
	cmd.Env = append(os.Environ(), "HEIR="+addr, "LISTEN_FDS=3", "LISTEN_FDNAMES="+name+":tcp4"+name[4:]+":udp4_old_1")
	out, err := cmd.CombinedOutput()
	for _, f := range cmd.ExtraFiles {
		_ = f.Close()
	}
	if err != nil || !strings.Contains(string(out), "heard meanwhile") {
		t.Errorf("%v\n%s", err, out)
	}
	if got := m.read(); got != "FDSTOREREMOVE=1\nFDNAME=udp4_old_1" {
		t.Errorf("%q", got)
	}
}

func must(fd int, err error) int {
	if err != nil {
		panic(err)
	}
	return fd
}

// TestHeir is the process that follows, in TestSocketsAreKept.
func TestHeir(t *testing.T) {
	addr := os.Getenv("HEIR")
	if addr == "" {
		return // nobody's child
	}
	t.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid()))
	s := Inherited()
	o := s.With(net.ListenConfig{})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, err := o.ListenPacket(ctx, "udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	l, err := o.Listen(ctx, "tcp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, _, err := c.ReadFrom(buf)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Accept(); err != nil {
		t.Fatal(err)
	}
	if err := s.Done(); err != nil {
		t.Fatal(err)
	}
	t.Logf("heard %s", buf[:n])
}

// A descriptor that is not what its name says does not keep us from listening.
func TestSocketOfTheWrongKind(t *testing.T) {
	m := newManager(t)
	addr := freeAddr(t)
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	s := &Sockets{kept: map[string]*os.File{socketName("udp4", addr): file}}
	c, err := s.With(net.ListenConfig{}).ListenPacket(t.Context(), "udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	for _, want := range []string{"FDSTOREREMOVE=1\n", "FDSTORE=1\n"} {
		if got := m.read(); !strings.HasPrefix(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// By hand, without a service manager, nothing is handed to anybody.
func TestSocketsWithoutAManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	c, err := Inherited().With(net.ListenConfig{}).ListenPacket(t.Context(), "udp4", freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}
