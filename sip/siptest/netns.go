package siptest

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Namespace is a network of its own with nothing but a loopback interface that
// has one ordinary address besides 127.0.0.1. It has no name and leaves nothing
// behind: it lives as long as one process in it.
type Namespace struct {
	Addr   string // the ordinary address
	pid    int
	resolv string // its programs' /etc/resolv.conf; "" = the system's
}

// NewNamespace makes a namespace whose loopback interface has the address
// 10.99.0.1, and which ends with the test. It needs root.
func NewNamespace(t testing.TB) *Namespace {
	t.Helper()
	return NewNamespaceAt(t, "10.99.0.1")
}

// NewNamespaceAt makes one with another address.
func NewNamespaceAt(t testing.TB, addr string) *Namespace {
	t.Helper()
	Need(t, "ip", "nsenter")
	if os.Geteuid() != 0 {
		Missing(t, "root, for a network namespace; run the test as root (make test uses sudo if it asks nothing)")
	}
	// cat ends when the pipe closes, which it does even if we are killed.
	holder := exec.Command("cat")
	stdin, err := holder.StdinPipe()
	if err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	holder.Stdout = io.Discard
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := holder.Start(); err != nil {
		Missing(t, "permission to make a network namespace: %v", err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = holder.Wait()
	})
	ns := &Namespace{Addr: addr, pid: holder.Process.Pid}
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"address", "add", ns.Addr + "/32", "dev", "lo"},
		// Not every peer sends media to its own address without a route.
		{"route", "add", "default", "dev", "lo", "src", ns.Addr},
	} {
		ns.ip(t, args...)
	}
	return ns
}

func (n *Namespace) ip(t testing.TB, args ...string) {
	t.Helper()
	if out, err := n.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v in a namespace: %v: %s", args, err, out)
	}
}

// Join connects two namespaces by a wire. Each end, an interface of the given
// name, has an address of the same /24.
func (n *Namespace) Join(t testing.TB, name, addr string, other *Namespace, otherName, otherAddr string) {
	t.Helper()
	n.ip(t, "link", "add", name, "type", "veth", "peer", "name", otherName, "netns", strconv.Itoa(other.pid))
	for _, end := range []struct {
		ns         *Namespace
		name, addr string
	}{{n, name, addr}, {other, otherName, otherAddr}} {
		end.ns.ip(t, "address", "add", end.addr+"/24", "dev", end.name)
		end.ns.ip(t, "link", "set", end.name, "up")
	}
}

// enter is the arguments of nsenter that run a program here.
func (n *Namespace) enter(path string) []string {
	args := []string{"--target", strconv.Itoa(n.pid), "--net", "--"}
	if n.resolv != "" {
		args = append(args, "unshare", "--mount", "--propagation", "private", "sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec "$@"`, n.resolv)
	}
	return append(args, path)
}

// Command is exec.Command in the namespace.
func (n *Namespace) Command(name string, args ...string) *exec.Cmd {
	path := find(name)
	if path == "" {
		path = name
	}
	return exec.Command("nsenter", append(n.enter(path), args...)...)
}

// Do runs f on a thread that is in the namespace: sockets that f makes belong
// to it for ever, wherever they are used. f must not start goroutines that make
// sockets.
func (n *Namespace) Do(f func() error) error {
	if n == nil {
		return f()
	}
	result := make(chan error, 1)
	go func() {
		// Never unlocked unless we are back home: a thread that is lost ends
		// with its goroutine.
		runtime.LockOSThread()
		result <- n.onThread(f)
	}()
	return <-result
}

func (n *Namespace) onThread(f func() error) (err error) {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("remember the network namespace: %w", err)
	}
	defer func() { _ = home.Close() }()
	there, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", n.pid))
	if err != nil {
		return fmt.Errorf("open the network namespace: %w", err)
	}
	defer func() { _ = there.Close() }()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the network namespace: %w", err)
	}
	defer func() {
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return f()
}
