package siptest

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"testing"
)

// FreePorts finds n consecutive ports, the first of them even, that are free for
// UDP and TCP at a moment ago: peers cannot be given a bound socket.
func FreePorts(t testing.TB, ns *Namespace, host string, n int) int {
	t.Helper()
	var first int
	err := ns.Do(func() error {
		for range 100 {
			probe, err := net.ListenPacket("udp", net.JoinHostPort(host, "0"))
			if err != nil {
				return err
			}
			first = probe.LocalAddr().(*net.UDPAddr).Port &^ 1
			_ = probe.Close()
			if first+n < 1<<16 && allFree(t.Context(), host, first, n) {
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
