package embedded

import (
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Trouble is why a node and others do not come together, as far as the server that
// carries what they say finds out: certificates that are not accepted. It is
// logged once as long as it lasts. The zero value is ready for use; all methods are
// safe for concurrent use.
type Trouble struct {
	mu   sync.Mutex
	seen map[string]time.Time // when each was seen last
	last string               // of them
}

const (
	// troubleLasts is how long there is trouble after it was seen: nodes try to
	// reach each other once a second.
	troubleLasts = 10 * time.Second
	maxTroubles  = 16
)

// Now is what is wrong, "" if nothing is known to be.
func (t *Trouble) Now() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last == "" || time.Since(t.seen[t.last]) > troubleLasts {
		return ""
	}
	return t.last
}

// note takes an error of the server. Each is logged when it begins.
func (t *Trouble) note(log *slog.Logger, text string) {
	what, ok := refusal(text)
	if !ok {
		return
	}
	now := time.Now()
	t.mu.Lock()
	before, known := t.seen[what]
	if !known && len(t.seen) >= maxTroubles {
		clear(t.seen)
	}
	if t.seen == nil {
		t.seen = map[string]time.Time{}
	}
	t.seen[what], t.last = now, what
	t.mu.Unlock()
	if !known || now.Sub(before) > troubleLasts {
		log.Warn("this node and another do not accept each other's certificates (keys cluster.tls.certificate and cluster.tls.ca, and the clocks of both)", "error", what)
	}
}

// handshake is how the server tells of one that failed. Who it was with is left
// out, since that has another port each time, and so are certificates' subjects.
var handshake = regexp.MustCompile(`TLS route handshake error: (.*)$`)

// refusal reads what is wrong with certificates from a line of the server's log.
func refusal(line string) (what string, ok bool) {
	m := handshake.FindStringSubmatch(line)
	if m == nil || !strings.Contains(m[1], "tls:") && !strings.Contains(m[1], "x509:") {
		return "", false
	}
	const most = 300
	return m[1][:min(len(m[1]), most)], true
}
