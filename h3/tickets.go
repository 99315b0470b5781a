package h3

import (
	"crypto/tls"
	"sync"
)

// tickets keeps sessions of TLS for later connections. A session is given out
// once (RFC 8446 appendix C.4), also because quic-go writes into what it is
// given, and connections are begun side by side.
type tickets struct {
	mu    sync.Mutex
	cache tls.ClientSessionCache
}

// newTickets keeps the sessions of so many servers.
func newTickets(servers int) *tickets {
	return &tickets{cache: tls.NewLRUClientSessionCache(servers)}
}

// Get implements tls.ClientSessionCache.
func (t *tickets) Get(server string) (*tls.ClientSessionState, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	session, ok := t.cache.Get(server)
	if ok {
		t.cache.Put(server, nil)
	}
	return session, ok
}

// Put implements tls.ClientSessionCache.
func (t *tickets) Put(server string, session *tls.ClientSessionState) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cache.Put(server, session)
}
