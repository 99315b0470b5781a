package rtp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// engine brings datagrams from sockets to ports, and reports out in time.
type engine interface {
	add(p *Port)
	// remove ends the delivery. When it returns, the sockets are closed and no
	// method of the port is being called.
	remove(p *Port)
}

// goroutines is the engine with two goroutines per port, which the port owns.
type goroutines struct {
	wg      sync.WaitGroup
	stopped chan struct{}
}

func newGoroutines() *goroutines { return &goroutines{stopped: make(chan struct{})} }

func (g *goroutines) add(p *Port) {
	g.wg.Go(func() { g.readMedia(p) })
	g.wg.Go(func() { g.readReports(p) })
}

func (g *goroutines) remove(p *Port) {
	close(g.stopped)
	// Closing is how the readers are told; there is nothing to lose.
	_ = p.media.close()
	_ = p.reports.close()
	g.wg.Wait()
}

func (g *goroutines) readMedia(p *Port) {
	buf := make([]byte, maxPacket+1) // one more, to see what was cut off
	for {
		n, from, err := p.media.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			if g.over(err) {
				return
			}
			continue
		}
		p.onRTP(buf[:n], plain(from), p.now())
	}
}

// readReports also is the clock of the reports we send: a read that times out
// means that one is due.
func (g *goroutines) readReports(p *Port) {
	buf := make([]byte, maxPacket+1)
	due := p.nextReport(p.now(), true)
	for {
		// Reports are seconds apart: a deadline that cannot be set means that
		// the socket is closed, which the read says too.
		_ = p.reports.conn.SetReadDeadline(time.Now().Add(due.Sub(p.now())))
		n, from, err := p.reports.conn.ReadFromUDPAddrPort(buf)
		switch {
		case err == nil:
			p.onRTCP(buf[:n], plain(from), p.now())
		case errors.Is(err, os.ErrDeadlineExceeded):
		case g.over(err):
			return
		}
		if now := p.now(); !now.Before(due) {
			p.report(now)
			due = p.nextReport(now, false)
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
