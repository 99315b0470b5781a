package cluster

import (
	"context"
	"errors"
	"net"
	"syscall"
)

// Dial is a Config.Refused for nodes at host:port. A host that refuses says that
// no process listens there; one that does not answer may only be out of reach.
func Dial(at map[string]string) func(ctx context.Context, node string) bool {
	return func(ctx context.Context, node string) bool {
		addr, ok := at[node]
		if !ok {
			return false
		}
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			_ = conn.Close()
			return false
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	}
}
