package rtp

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"riptide/bridge"
	"riptide/sip/sdp"
)

// Port is the media end of one SIP leg: a pair of sockets and the streams in
// both directions. It implements bridge.MediaPort.
//
// Push, Stats and State may be called from any goroutine, also from a sink.
// Join, Configure and Close must not be called from within the Push of the sink
// that is joined.
type Port struct {
	pool  *Pool
	log   *slog.Logger
	now   func() time.Time
	cname string
	local netip.AddrPort

	media, reports *socket
	engine         engine

	rx receiver
	tx sender
	rc control

	sinkMu  sync.Mutex // held while a frame is handed on
	sink    bridge.Sink
	unheard atomic.Uint64

	closing sync.Once
}

var _ bridge.MediaPort = (*Port)(nil)

// Local is the address of the media socket; reports use the next port.
func (p *Port) Local() netip.AddrPort { return p.local }

// Configure applies what an offer and answer came to, and learns the peer's
// real address again. It may come as often as there are answers. SSRC, sequence
// and timestamps continue. Before an answer to our own offer has come,
// Agreed{Receive: …} makes the port ready for media that is ahead of it
// (RFC 3264 section 5.1).
func (p *Port) Configure(a sdp.Agreed) {
	p.rx.configure(a.Remote, a.Receive)
	p.tx.configure(a.Send, a.Direction)
	p.rc.configure(a)
	p.retarget()
}

// SetDirection changes who sends, without learning the address again. Media
// that comes in spite of it is handed on all the same.
func (p *Port) SetDirection(dir sdp.Direction) {
	p.tx.mu.Lock()
	defer p.tx.mu.Unlock()
	p.tx.direct(dir)
}

// Join names the sink for frames from the peer. After it returns the old sink
// gets no frame.
func (p *Port) Join(s bridge.Sink) {
	p.sinkMu.Lock()
	defer p.sinkMu.Unlock()
	p.sink = s
}

// Push sends a frame to the peer, or drops and counts it. It never waits.
func (p *Port) Push(f *bridge.Frame) { p.tx.push(f, p.now()) }

// LastReceived is when the peer's last packet came, zero if none has.
func (p *Port) LastReceived() time.Time {
	p.rx.mu.Lock()
	defer p.rx.mu.Unlock()
	return p.rx.last
}

// Stats counts what went through the port since it was opened.
func (p *Port) Stats() bridge.MediaStats {
	st := bridge.MediaStats{Carrier: "rtp", Unheard: p.unheard.Load()}
	p.rx.mu.Lock()
	r := &p.rx
	st.Received, st.Duplicate, st.Foreign = r.received, r.duplicate, r.foreign
	st.Malformed, st.UnknownPayload = r.malformed, r.unknown
	st.Lost = r.lostBefore + r.src.lost()
	st.Jitter = r.src.jitterTime()
	peer := r.latch.heard()
	p.rx.mu.Unlock()

	p.tx.mu.Lock()
	st.Sent, st.SendDropped = p.tx.sent, p.tx.dropped
	p.tx.mu.Unlock()
	st.PeerLost, st.RoundTrip = p.rc.heard()
	if peer.IsValid() {
		st.Peer = peer.String()
	}
	return st
}

// Close says goodbye to the peer, waits until nothing is delivered any more and
// returns the final count. It may be called again.
func (p *Port) Close() bridge.MediaStats {
	p.closing.Do(func() {
		p.goodbye(p.now())
		p.tx.mu.Lock()
		p.tx.closed = true
		p.tx.mu.Unlock()
		p.engine.remove(p)
		p.Join(nil)
		p.pool.release(p)
	})
	return p.Stats()
}

// onRTP takes a datagram of the media socket. Engines call it for one datagram
// at a time, in the order of arrival.
func (p *Port) onRTP(b []byte, from netip.AddrPort, now time.Time) {
	if p.rc.muxed.Load() && isRTCP(b) {
		p.onRTCP(b, from, now)
		return
	}
	p.rx.mu.Lock()
	before := p.rx.latch.locked
	ok := p.rx.take(b, from, now)
	latched := p.rx.latch.locked != before
	p.rx.mu.Unlock()
	if latched {
		p.retarget()
	}
	if ok {
		p.hand(&p.rx.frame)
	}
}

// hand gives a frame to whoever listens.
func (p *Port) hand(f *bridge.Frame) {
	p.sinkMu.Lock()
	defer p.sinkMu.Unlock()
	if p.sink == nil {
		p.unheard.Add(1)
		return
	}
	p.sink.Push(f)
}

// retarget sends to where the peer was found to be. It holds both locks (always
// in this order), so that the last word of two is the newer one.
func (p *Port) retarget() {
	p.rx.mu.Lock()
	defer p.rx.mu.Unlock()
	l := &p.rx.latch
	p.tx.target(l.target())
	if !l.locked.IsValid() {
		return
	}
	level := slog.LevelDebug
	if l.locked != l.sdp {
		level = slog.LevelInfo
	}
	p.log.Log(context.Background(), level, "media source found", "sdp", l.sdp, "from", l.locked)
}

// isRTCP tells reports from media on one port (RFC 5761 section 4).
func isRTCP(b []byte) bool { return len(b) >= 2 && b[1] >= 192 && b[1] <= 223 }
