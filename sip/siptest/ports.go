package siptest

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
)

// Ports are handed out from below the range that riptide takes RTP ports from,
// and the kernel its own. Test programs that run at the same time begin at
// different places.
const (
	firstPort = 10000
	lastPort  = 16000
)

var (
	portsMu   sync.Mutex
	nextPort  = firstPort + os.Getpid()*64%(lastPort-firstPort)&^1
	heldPorts = map[int]int{} // first of a range -> how many; until their test ends
)

// FreePorts finds n consecutive ports, the first of them even, that were free for
// UDP and TCP a moment ago: peers cannot be given a bound socket.
func FreePorts(t testing.TB, ns *Namespace, host string, n int) int {
	t.Helper()
	var first int
	err := ns.Do(func() error {
		for range 1000 {
			if first = takePorts(n); first != 0 && allFree(t.Context(), host, first, n) {
				return nil
			}
			givePorts(first)
		}
		return fmt.Errorf("no %d consecutive ports are free on %s", n, host)
	})
	if err != nil {
		t.Fatalf("find free ports: %v", err)
	}
	t.Cleanup(func() { givePorts(first) })
	return first
}

// takePorts takes ports that no test of this process holds: a program that was
// given some binds them when it pleases, so that they may well look free. 0
// means that it has come to the end of the range, or to ports that are held.
func takePorts(n int) int {
	portsMu.Lock()
	defer portsMu.Unlock()
	if nextPort+n > lastPort {
		nextPort = firstPort
	}
	first := nextPort
	for at, size := range heldPorts {
		if first < at+size && at < first+n {
			nextPort = (at + size + 1) &^ 1
			return 0
		}
	}
	nextPort += (n + 1) &^ 1
	heldPorts[first] = n
	return first
}

func givePorts(first int) {
	portsMu.Lock()
	defer portsMu.Unlock()
	delete(heldPorts, first)
}

func allFree(ctx context.Context, host string, first, n int) bool {
	for port := first; port < first+n; port++ {
		addr := net.JoinHostPort(host, strconv.Itoa(port))
		var lc net.ListenConfig
		u, err := lc.ListenPacket(ctx, "udp", addr)
		if err != nil {
			return false
		}
		_ = u.Close()
		l, err := lc.Listen(ctx, "tcp", addr)
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	return true
}
