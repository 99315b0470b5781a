package h3

import (
	"context"
	"net/netip"
	"slices"
	"time"
)

// A first packet that is sent while the server is being started again is lost,
// and QUIC repeats it after a third of a second, then after two thirds. Who waits
// for speech has no time for that: further attempts begin beside the first, each
// with a socket of its own, and the first that gets through is taken.
var dialStarts = [...]time.Duration{0, 120 * time.Millisecond, 300 * time.Millisecond, 600 * time.Millisecond, 1100 * time.Millisecond}

// attempted is the outcome of one attempt to connect.
type attempted struct {
	conn *conn
	err  error
}

// dialAny connects to one of addrs.
func (a *authority) dialAny(ctx context.Context, addrs []netip.AddrPort) (*conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan attempted, len(dialStarts))
	running := 0
	start := func(n int) {
		running++
		turned := slices.Concat(addrs[n%len(addrs):], addrs[:n%len(addrs)])
		a.pool.wg.Go(func() {
			c, err := a.dialEach(ctx, turned)
			results <- attempted{c, err}
		})
	}
	defer func() { a.pool.wg.Go(func() { dismiss(results, running) }) }()
	next := time.NewTimer(dialStarts[0])
	defer next.Stop()
	for started := 0; ; {
		select {
		case <-next.C:
			start(started)
			if started++; started < len(dialStarts) {
				next.Reset(dialStarts[started] - dialStarts[started-1])
			}
		case r := <-results:
			// An attempt that fails early has its answer: others would get the same.
			running--
			return r.conn, r.err
		}
	}
}

// dismiss takes the connections that nobody needs any more.
func dismiss(results <-chan attempted, n int) {
	for range n {
		if r := <-results; r.conn != nil {
			r.conn.close()
		}
	}
}
