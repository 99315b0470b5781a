package ops

import (
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// SIPMessage is one message that the SIP side sent or received.
type SIPMessage struct {
	At            time.Time
	Trunk         string
	Stream        bool // over TCP, TLS or WebSocket
	Sent          bool
	Local, Remote netip.AddrPort
	Bytes         []byte // of the caller; what is kept is copied
}

// MediaPacket is one datagram of media: RTP or RTCP, sealed if it was.
type MediaPacket struct {
	Leg           string // its Call-ID
	Sent          bool
	Local, Remote netip.AddrPort
	Bytes         []byte
}

// RunningCall is a call that is not over.
type RunningCall struct {
	ID       string   // as in the log
	From, To string   // numbers
	Trunks   []string // of its legs
	Legs     []string // their Call-IDs, of SIP ones
}

// PlacedLeg is a leg that is about to be placed.
type PlacedLeg struct {
	Leg      string // its Call-ID
	Call     string // whose it is
	From, To string
	Trunk    string
}

// Tracer is told what goes over the wire, and hands it to whoever wants to see
// it: a collector, and captures of single calls. It never blocks, and while
// nobody watches it costs a look at one word.
type Tracer struct {
	hep     *hepSender // nil: no collector
	running func() []RunningCall
	routes  routes

	mu       sync.Mutex // of changes
	captures atomic.Pointer[[]*capture]
}

// NewTracer makes one. to may be nil; running tells of calls from any goroutine.
func NewTracer(to *Collector, running func() []RunningCall, log *slog.Logger) *Tracer {
	t := &Tracer{running: running}
	t.captures.Store(new([]*capture))
	if to != nil {
		t.hep = startHEP(*to, log)
	}
	return t
}

// Close ends what the tracer started. Captures end with their orders.
func (t *Tracer) Close() {
	if t.hep != nil {
		t.hep.close()
	}
}

// Watching tells whether anybody wants to see SIP messages just now.
func (t *Tracer) Watching() bool { return t.hep != nil || len(*t.captures.Load()) > 0 }

// Message is told of each SIP message, before it is worked on or sent.
func (t *Tracer) Message(m SIPMessage) {
	captures := *t.captures.Load()
	if t.hep == nil && len(captures) == 0 {
		return
	}
	if m.At.IsZero() {
		m.At = time.Now()
	}
	about := scan(m.Bytes)
	m.Bytes = slices.Clone(m.Bytes)
	redactSIP(m.Bytes)
	m.Local = t.routes.local(m.Local, m.Remote)
	if t.hep != nil {
		t.hep.message(m, about.callID)
	}
	for _, c := range captures {
		c.message(m, about)
	}
}

// Media is told of each datagram of media, on the thread that moves it.
func (t *Tracer) Media(p MediaPacket) {
	for _, c := range *t.captures.Load() {
		if c.takes(p.Leg) {
			c.media(p, t.routes.local(p.Local, p.Remote))
		}
	}
}

// Placed is told of each leg before anything is sent for it, so that a capture
// has both sides of a call.
func (t *Tracer) Placed(l PlacedLeg) {
	captures := *t.captures.Load()
	if len(captures) == 0 {
		return
	}
	running := t.running()
	for _, c := range captures {
		c.placed(l, running)
	}
}

// add begins a capture.
func (t *Tracer) add(c *capture) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := append(slices.Clone(*t.captures.Load()), c)
	t.captures.Store(&all)
}

func (t *Tracer) remove(c *capture) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(*t.captures.Load()), func(x *capture) bool { return x == c })
	t.captures.Store(&all)
}

// hepCounts are the metrics of the collector.
func (t *Tracer) collectors() []prometheus.Collector {
	if t.hep == nil {
		return nil
	}
	return []prometheus.Collector{snapshotCollector[*hepSender]{func() *hepSender { return t.hep }, []snapshotFamily[*hepSender]{
		familyOf("riptide_hep_sent_total", "SIP messages sent to the HEP collector.", nil, func(s *hepSender) []sample { return []sample{{"", s.sent.Load()}} }),
		familyOf("riptide_hep_dropped_total", "SIP messages that the HEP collector did not get: the queue was full, or it cannot be reached.", []string{"reason"},
			func(s *hepSender) []sample { return []sample{{"full", s.full.Load()}, {"network", s.lost.Load()}} }),
	}}}
}
