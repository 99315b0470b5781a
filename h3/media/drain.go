package media

import (
	"context"
	"net/http"
	"sync"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
)

// drainers is how many goroutines read at a connection.
//
// The HTTP library moves received datagrams from the queue of the connection,
// which holds 128, to that of their session, which holds 32. It does so in one
// go, and drops what does not fit without a word: whenever its goroutine finds
// more than 32, because the process got no CPU for 20 ms, media of many calls
// are lost. Of several goroutines that read at the connection each gets its share
// of such a heap, and only what falls to that one has to fit.
const drainers = 64

// source is a QUIC connection, as far as datagrams come from it.
type source interface {
	ReceiveDatagram(context.Context) ([]byte, error)
}

// drain reads at a connection until ctx ends, and hands on what belongs to the
// sessions that give knows, by the number of their streams divided by four
// (RFC 9297 section 2.1).
func drain(ctx context.Context, from source, give func(session uint64, datagram []byte)) {
	var wg sync.WaitGroup
	for range drainers {
		wg.Go(func() {
			for {
				b, err := from.ReceiveDatagram(ctx)
				if err != nil {
					return
				}
				if session, n, err := quicvarint.Parse(b); err == nil {
					give(session, b[n:])
				}
			}
		})
	}
	wg.Wait()
}

// connections are those of a server on which there are WebTransport sessions.
// All of a connection are known here, so that those who read at it find each.
type connections struct {
	mu sync.Mutex
	m  map[*quic.Conn]*connection
}

// connection is one of them.
type connection struct {
	mu       sync.Mutex
	sessions map[uint64]func([]byte)
	stop     context.CancelFunc // of the drainers; nil: there are none
	wg       sync.WaitGroup
}

type connKey struct{}

// WithConn notes in the context of an HTTP/3 server's connection which one it is
// (http3.Server.ConnContext).
func WithConn(ctx context.Context, c *quic.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// enter makes the session of a request known. busy says that it is one of many
// datagrams. leave must be called when it is over.
func (cs *connections) enter(r *http.Request, busy bool, take func([]byte)) (leave func()) {
	qc, _ := r.Context().Value(connKey{}).(*quic.Conn)
	body, ok := r.Body.(interface{ StreamID() quic.StreamID })
	if qc == nil || !ok {
		return func() {} // the library's queue is all there is
	}
	session := uint64(body.StreamID()) / 4
	cs.mu.Lock()
	c := cs.m[qc]
	if c == nil {
		if cs.m == nil {
			cs.m = map[*quic.Conn]*connection{}
		}
		c = &connection{sessions: map[uint64]func([]byte){}}
		cs.m[qc] = c
	}
	c.mu.Lock()
	c.sessions[session] = take
	if busy && c.stop == nil {
		ctx, cancel := context.WithCancel(context.Background())
		c.stop = cancel
		c.wg.Go(func() { drain(ctx, qc, c.give) })
	}
	c.mu.Unlock()
	cs.mu.Unlock()
	return func() { cs.leave(qc, c, session) }
}

func (c *connection) give(session uint64, b []byte) {
	c.mu.Lock()
	take := c.sessions[session]
	c.mu.Unlock()
	if take != nil {
		take(b)
	}
}

// leave forgets a session; with the last one the drainers end.
func (cs *connections) leave(qc *quic.Conn, c *connection, session uint64) {
	cs.mu.Lock()
	c.mu.Lock()
	delete(c.sessions, session)
	last := len(c.sessions) == 0
	if last {
		delete(cs.m, qc)
	}
	c.mu.Unlock()
	cs.mu.Unlock()
	if last && c.stop != nil {
		c.stop()
		c.wg.Wait()
	}
}
