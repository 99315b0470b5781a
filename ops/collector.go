package ops

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	hepQueued = 1024             // packets that wait for the collector
	hepRetry  = 10 * time.Second // between attempts to find it
	hepRenew  = 10 * time.Minute // a name may mean another address by then
)

// Collector is who gets SIP messages as HEP.
type Collector struct {
	Address  string // host:port, UDP
	Node     uint32
	Password string
}

// hepSender sends to a collector. What it cannot keep up with is dropped and
// counted: nobody waits for it.
type hepSender struct {
	to      Collector
	log     *slog.Logger
	queue   chan []byte
	sent    atomic.Uint64
	full    atomic.Uint64 // dropped: the queue was
	lost    atomic.Uint64 // dropped: the collector cannot be reached, or the packet does not fit
	sending sync.WaitGroup
	stop    context.CancelFunc
}

func startHEP(to Collector, log *slog.Logger) *hepSender {
	ctx, cancel := context.WithCancel(context.Background())
	s := &hepSender{to: to, log: log, queue: make(chan []byte, hepQueued), stop: cancel}
	s.sending.Go(func() { s.run(ctx) })
	return s
}

// close drops what is still queued.
func (s *hepSender) close() {
	s.stop()
	s.sending.Wait()
}

// message queues a SIP message, without its secrets.
func (s *hepSender) message(m SIPMessage, callID string) {
	if len(s.queue) == cap(s.queue) {
		s.full.Add(1)
		return
	}
	p := HEP{TCP: m.Stream, From: m.Local, To: m.Remote, At: m.At, Node: s.to.Node, Password: s.to.Password, Correlation: callID, Payload: m.Bytes}
	if !m.Sent {
		p.From, p.To = p.To, p.From
	}
	b, err := p.Append(make([]byte, 0, len(m.Bytes)+256))
	if err != nil {
		s.lost.Add(1)
		return
	}
	select {
	case s.queue <- b:
	default:
		s.full.Add(1)
	}
}

func (s *hepSender) run(ctx context.Context) {
	var conn net.Conn
	var dialled time.Time
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	for {
		var b []byte
		select {
		case b = <-s.queue:
		case <-ctx.Done():
			return
		}
		if age := time.Since(dialled); conn == nil && age > hepRetry || age > hepRenew {
			conn = s.dial(ctx, conn)
			dialled = time.Now()
		}
		if conn == nil {
			s.lost.Add(1)
			continue
		}
		// An error is of an earlier packet, mostly: nobody listens there just now.
		if _, err := conn.Write(b); err != nil {
			s.lost.Add(1)
			continue
		}
		s.sent.Add(1)
	}
}

// dial finds the collector; while it cannot, the old address is used on.
func (s *hepSender) dial(ctx context.Context, old net.Conn) net.Conn {
	d := net.Dialer{Timeout: 5 * time.Second}
	conn, err := d.DialContext(ctx, "udp", s.to.Address)
	if err != nil {
		s.log.Warn("the HEP collector is not found (key trace.hep)", "collector", s.to.Address, "error", err)
		return old
	}
	if old != nil {
		old.Close()
	}
	return conn
}
