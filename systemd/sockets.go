package systemd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
)

// Sockets keeps listeners open while the process is not there: the service
// manager holds them (FileDescriptorStoreMax), and hands them to the process that
// follows. What arrives meanwhile waits in them, and nothing is refused. Without a
// service manager, listeners are opened as always.
type Sockets struct {
	mu   sync.Mutex
	kept map[string]*os.File // handed over, not taken yet
	errs []error             // of telling the service manager
}

// maxSocketName is the longest name that the service manager takes.
const maxSocketName = 255

// Inherited are the sockets that the process before this one had. It is to be
// called once, for the environment tells of them only once.
func Inherited() *Sockets {
	s := &Sockets{kept: map[string]*os.File{}}
	for _, f := range activation.Files(true) {
		if old := s.kept[f.Name()]; old != nil {
			_ = old.Close() // kept twice: the last one counts
		}
		s.kept[f.Name()] = f
	}
	return s
}

// With opens listeners that are kept, as lc opens others.
func (s *Sockets) With(lc net.ListenConfig) *Opener { return &Opener{s, lc} }

// Opener opens listeners as a net.ListenConfig does.
type Opener struct {
	sockets *Sockets
	lc      net.ListenConfig
}

// Listen is that of net.ListenConfig.
func (o *Opener) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	return open(o, socketName(network, address), net.FileListener, func() (net.Listener, error) { return o.lc.Listen(ctx, network, address) })
}

// ListenPacket is that of net.ListenConfig.
func (o *Opener) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	return open(o, socketName(network, address), net.FilePacketConn, func() (net.PacketConn, error) { return o.lc.ListenPacket(ctx, network, address) })
}

// open takes up a socket that was kept, or opens one and has it kept.
func open[T any](o *Opener, name string, kept func(*os.File) (T, error), anew func() (T, error)) (T, error) {
	if f := o.sockets.take(name); f != nil {
		s, err := kept(f)
		_ = f.Close() // s has its own
		if err == nil {
			return s, nil
		}
		o.sockets.failed(o.sockets.drop(name)) // not what its name says: opened anew
	}
	s, err := anew()
	if err == nil {
		o.sockets.failed(keep(name, s))
	}
	return s, err
}

// failed notes what the service manager could not be told. Without it, sockets are
// opened again by the next process.
func (s *Sockets) failed(err error) {
	if err == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errs = append(s.errs, err)
}

// socketName is how the service manager calls a listener: "udp_192.0.2.10_5060".
// One on a port that the kernel chooses has none, for nobody will ask for it again.
func socketName(network, address string) string {
	if _, port, err := net.SplitHostPort(address); err != nil || port == "0" || port == "" {
		return ""
	}
	name := network + "_" + strings.ReplaceAll(address, ":", "_")
	if len(name) > maxSocketName {
		return ""
	}
	return name
}

func (s *Sockets) take(name string) *os.File {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.kept[name]
	delete(s.kept, name)
	return f
}

// keep hands a socket to the service manager.
func keep(name string, socket any) error {
	c, ok := socket.(syscall.Conn)
	if name == "" || !ok || os.Getenv("NOTIFY_SOCKET") == "" {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("hand a socket to systemd: %w", err)
	}
	// The descriptor itself, not a copy made by File: that would be one that
	// blocks, and with it this one.
	var sent error
	err = raw.Control(func(fd uintptr) { sent = pass("FDSTORE=1\nFDNAME="+name, int(fd)) })
	if err = errors.Join(err, sent); err != nil {
		return fmt.Errorf("hand socket %s to systemd: %w", name, err)
	}
	return nil
}

// Done gives up what was handed over and nobody wanted: listeners that are not
// configured any more must not swallow what is sent to them. The error says what
// the service manager could not be told so far.
func (s *Sockets) Done() error {
	s.mu.Lock()
	names := make([]string, 0, len(s.kept))
	for name, f := range s.kept {
		_ = f.Close()
		names = append(names, name)
	}
	clear(s.kept)
	errs := s.errs
	s.errs = nil
	s.mu.Unlock()
	for _, name := range names {
		errs = append(errs, s.drop(name))
	}
	return errors.Join(errs...)
}

func (s *Sockets) drop(name string) error { return notify("FDSTOREREMOVE=1\nFDNAME="+name, "") }

// pass sends a notification with a descriptor.
func pass(state string, fd int) error {
	s, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = syscall.Close(s) }()
	return syscall.Sendmsg(s, []byte(state), syscall.UnixRights(fd), &syscall.SockaddrUnix{Name: os.Getenv("NOTIFY_SOCKET")}, 0)
}
