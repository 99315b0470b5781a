package rtp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// engine brings datagrams from sockets to streams, and reports out in time.
type engine interface {
	add(s *stream)
	// remove ends the delivery. When it returns, the sockets are closed and no
	// method of the stream is being called.
	remove(s *stream)
}

// goroutines is the engine with two goroutines per stream, which the stream owns.
type goroutines struct {
	wg      sync.WaitGroup
	stopped chan struct{}
}

func newGoroutines() *goroutines { return &goroutines{stopped: make(chan struct{})} }

func (g *goroutines) add(s *stream) {
	g.wg.Go(func() { g.readMedia(s) })
	g.wg.Go(func() { g.readReports(s) })
}

func (g *goroutines) remove(s *stream) {
	close(g.stopped)
	// Closing is how the readers are told; there is nothing to lose.
	_ = s.media.close()
	_ = s.reports.close()
	g.wg.Wait()
}

func (g *goroutines) readMedia(s *stream) {
	buf := make([]byte, maxPacket+1) // one more, to see what was cut off
	for {
		n, from, err := s.media.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			if g.over(err) {
				return
			}
			continue
		}
		s.onRTP(buf[:n], plain(from), s.port.now())
	}
}

// readReports also is the clock of the reports we send: a read that times out
// means that one is due.
func (g *goroutines) readReports(s *stream) {
	buf := make([]byte, maxPacket+1)
	due := s.nextReport(s.port.now(), true)
	for {
		// Reports are seconds apart: a deadline that cannot be set means that
		// the socket is closed, which the read says too.
		_ = s.reports.conn.SetReadDeadline(time.Now().Add(due.Sub(s.port.now())))
		n, from, err := s.reports.conn.ReadFromUDPAddrPort(buf)
		switch {
		case err == nil:
			s.onReports(buf[:n], plain(from), s.port.now())
		case errors.Is(err, os.ErrDeadlineExceeded):
		case g.over(err):
			return
		}
		if now := s.port.now(); !now.Before(due) {
			s.report(now)
			due = s.nextReport(now, false)
		}
	}
}

// over tells whether the socket is closed. Any other error passes (an ICMP
// message, a lack of memory); it is waited out, so that one that stays does
// not spin.
func (g *goroutines) over(err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return true
	}
	select {
	case <-g.stopped:
		return true
	case <-time.After(10 * time.Millisecond):
		return false
	}
}

func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
