package rtp

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"riptide/bridge"
	"riptide/sip/sdp"
)

// Port is the media end of one SIP leg: a stream of audio, and one of video
// while there is any, each with a pair of sockets and both directions. It
// implements bridge.MediaPort.
//
// Push, Stats and State may be called from any goroutine, also from a sink.
// Join, Configure, OpenVideo, CloseVideo and Close must not be called from
// within the Push of the sink that is joined.
type Port struct {
	pool    *Pool
	log     *slog.Logger
	now     func() time.Time
	cname   string
	reports time.Duration
	tap     *wiretap // nil: nobody's
	exact   bool     // nothing was sent after the record that is restored

	audio *stream
	video atomic.Pointer[stream]

	sinkMu sync.Mutex // held while a frame is handed on
	sink   bridge.Sink

	unheard, requested, videoless atomic.Uint64

	pressMu      sync.Mutex // of what follows
	presses      []press    // the first is under way
	pressTimer   *time.Timer
	pressStopped bool
	pressedAt    uint64 // time of the last one

	videoMu sync.Mutex        // of what follows
	past    bridge.MediaStats // of video that was switched off
	closed  bool
}

var _ bridge.MediaPort = (*Port)(nil)

// Local is the address of the audio socket; reports use the next port.
func (p *Port) Local() netip.AddrPort { return p.audio.local }

// VideoLocal is the address of the video socket, invalid if none is open.
func (p *Port) VideoLocal() netip.AddrPort {
	if v := p.video.Load(); v != nil {
		return v.local
	}
	return netip.AddrPort{}
}

// OpenVideo takes a second pair of ports from the pool, for video. If one is
// open already, that is it. restore, if not nil, continues a stream of a process
// that is gone, moved on another port than before.
func (p *Port) OpenVideo(restore *State, moved bool) error {
	p.videoMu.Lock()
	defer p.videoMu.Unlock()
	if p.closed {
		return errors.New("open video: the media of this leg is closed")
	}
	if p.video.Load() != nil {
		return nil
	}
	v, err := p.open(bridge.Video, restore, moved)
	if err != nil {
		return err
	}
	p.video.Store(v)
	return nil
}

// CloseVideo gives the ports of video back, if there are any.
func (p *Port) CloseVideo() {
	p.videoMu.Lock()
	defer p.videoMu.Unlock()
	p.closeVideo()
}

func (p *Port) closeVideo() {
	if v := p.video.Swap(nil); v != nil {
		v.close()
		p.past = add(p.past, v.stats())
	}
}

// Configure applies what an offer and answer came to, and learns the peer's
// real address again. It may come as often as there are answers. SSRC, sequence
// and timestamps continue. Before an answer to our own offer has come, streams
// with nothing but Receive make the port ready for media that is ahead of it
// (RFC 3264 section 5.1).
func (p *Port) Configure(a sdp.Agreed) {
	p.audio.configure(a.Audio)
	if v := p.video.Load(); v != nil {
		v.configure(a.Video)
	}
}

// SetDirection changes who sends audio, without learning the address again.
// Media that comes in spite of it is handed on all the same.
func (p *Port) SetDirection(dir sdp.Direction) {
	p.audio.tx.mu.Lock()
	p.audio.tx.direct(dir)
	p.audio.tx.mu.Unlock()
	p.audio.tx.release(p.now())
}

// Join names the sink for frames from the peer. After it returns the old sink
// gets no frame.
func (p *Port) Join(s bridge.Sink) {
	p.sinkMu.Lock()
	defer p.sinkMu.Unlock()
	p.sink = s
}

// Push sends a frame to the peer, or drops and counts it. It never waits.
func (p *Port) Push(f *bridge.Frame) {
	s := p.audio
	if f.Codec.Kind() == bridge.Video {
		s = p.video.Load()
	}
	switch {
	case f.Request != bridge.RequestNone:
		if s != nil && s.kind == bridge.Video {
			s.requestKeyframe(p.now())
		}
	case s == nil:
		p.videoless.Add(1)
	default:
		s.tx.push(f, p.now())
	}
}

// LastReceived is when the peer's last packet came, zero if none has.
func (p *Port) LastReceived() time.Time {
	last := p.audio.lastReceived()
	if v := p.video.Load(); v != nil && v.lastReceived().After(last) {
		return v.lastReceived()
	}
	return last
}

// LastHeard is when the peer last sent anything at all of its own: media,
// reports, or media that nobody agreed on; zero if it never did.
func (p *Port) LastHeard() time.Time {
	last := p.audio.lastHeard()
	if v := p.video.Load(); v != nil && v.lastHeard().After(last) {
		return v.lastHeard()
	}
	return last
}

// Stats counts what went through the port since it was opened, audio and video
// together. Jitter, round trip and address are those of the audio.
func (p *Port) Stats() bridge.MediaStats {
	p.videoMu.Lock()
	defer p.videoMu.Unlock()
	st := add(p.audio.stats(), p.past)
	if v := p.video.Load(); v != nil {
		st = add(st, v.stats())
	}
	st.Carrier, st.Unheard, st.Requested = "rtp", p.unheard.Load(), p.requested.Load()
	st.SendDropped += p.videoless.Load()
	return st
}

// add counts the packets of two streams together.
func add(a, b bridge.MediaStats) bridge.MediaStats {
	a.Received += b.Received
	a.Lost += b.Lost
	a.Duplicate += b.Duplicate
	a.Foreign += b.Foreign
	a.Malformed += b.Malformed
	a.UnknownPayload += b.UnknownPayload
	a.Undecrypted += b.Undecrypted
	if a.Trouble == "" {
		a.Trouble = b.Trouble
	}
	a.Sent += b.Sent
	a.SendDropped += b.SendDropped
	a.PeerLost += b.PeerLost
	return a
}

// Rest ends all sending. What comes is handed on, until Close.
func (p *Port) Rest() {
	p.release()
	for _, s := range []*stream{p.audio, p.video.Load()} {
		if s != nil {
			s.tx.mu.Lock()
			s.tx.closed = true
			s.tx.mu.Unlock()
		}
	}
}

// Close says goodbye to the peer, waits until nothing is delivered any more and
// returns the final count. It may be called again.
func (p *Port) Close() bridge.MediaStats {
	p.videoMu.Lock()
	if !p.closed {
		p.closed = true
		p.release()
		p.closeVideo()
		p.audio.close()
		p.Join(nil)
	}
	p.videoMu.Unlock()
	return p.Stats()
}

// hand gives a frame to whoever listens.
func (p *Port) hand(f *bridge.Frame) {
	p.sinkMu.Lock()
	defer p.sinkMu.Unlock()
	switch {
	case p.sink != nil:
		p.sink.Push(f)
	case f.Request == bridge.RequestNone:
		p.unheard.Add(1)
	}
}

// found logs where the media of a stream really comes from.
func (p *Port) found(kind bridge.Kind, l *latch) {
	level := slog.LevelDebug
	if l.locked != l.sdp {
		level = slog.LevelInfo
	}
	p.log.Log(context.Background(), level, "media source found", "media", kind, "sdp", l.sdp, "from", l.locked)
}
