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
// and the kernel its own;
// each only once in this process, and test programs that run at the same time begin
// at different places.
const (
	firstPort = 10000
	lastPort  = 16000
)

var (
	portsMu  sync.Mutex
	nextPort = firstPort + os.Getpid()*64%(lastPort-firstPort)&^1
)

// FreePorts finds n consecutive ports, the first of them even, that were free for
// UDP and TCP a moment ago: peers cannot be given a bound socket.
func FreePorts(t testing.TB, ns *Namespace, host string, n int) int {
	t.Helper()
	var first int
	err := ns.Do(func() error {
		for range 1000 {
			if first = takePorts(n); allFree(t.Context(), host, first, n) {
				return nil
			}
		}
		return fmt.Errorf("no %d consecutive ports are free on %s", n, host)
	})
	if err != nil {
		t.Fatalf("find free ports: %v", err)
	}
	return first
}

func takePorts(n int) int {
	portsMu.Lock()
	defer portsMu.Unlock()
	if nextPort+n > lastPort {
		nextPort = firstPort
	}
	first := nextPort
	nextPort += (n + 1) &^ 1
	return first
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
