package h3

import (
	"context"
	"errors"
	"net/http"

	"riptide/bridge"
)

// A call that is let go of goes on in another process. To the peer it looks as
// if this one had died: byways break off, and attempts to come back find nobody,
// which is not the same as to find no such call.

var (
	_ bridge.Yielder = serverLeg{}
	_ bridge.Yielder = (*clientLeg)(nil)
)

// Close ends the server at once, without a word about its calls: another process
// will have them. Their clients see the connections end, and look for it. Calls
// that are still here can be recorded and let go of; Shutdown ends the rest.
func (s *Server) Close() {
	s.starting.Lock()
	s.once.Do(func() { close(s.drained) })
	s.starting.Unlock()
	if s.tcp != nil {
		_ = s.h2.Close()
		s.closeSockets()
		s.conns.Wait()
	}
}

// maxLeft bounds the calls that are remembered as left.
const maxLeft = 1 << 14

// errLeft is why a byway breaks off.
var errLeft = errors.New("the call goes on elsewhere")

// Abandon implements bridge.Abandoner.
func (l serverLeg) Abandon() { l.call.abandon() }

// Stays implements bridge.Yielder: what is said on byways is said again on others.
func (l serverLeg) Stays() bool { return false }

// Stays implements bridge.Yielder, as above.
func (l *clientLeg) Stays() bool { return false }

// Yield implements bridge.Yielder.
func (l serverLeg) Yield(back bridge.Sink) bridge.LegRecord {
	l.call.media.port.Yield(back)
	l.call.letGo()
	return l.Record()
}

func (c *serverCall) abandon() {
	c.letGo()
	if c.isLeft() {
		c.media.end()
		c.media.port.Close()
	}
}

// letGo ends the call here, but for what is heard of it.
func (c *serverCall) letGo() {
	c.mu.Lock()
	if c.phase == over {
		c.mu.Unlock()
		return
	}
	c.phase = over
	c.lost.Stop()
	close(c.left) // before ended: who looks at both breaks off
	close(c.events)
	close(c.ended)
	c.settle()
	c.mu.Unlock()
	c.leave(c)
}

// isLeft tells whether the call goes on elsewhere.
func (c *serverCall) isLeft() bool {
	select {
	case <-c.left:
		return true
	default:
		return false
	}
}

// leave takes a call out of its place that is not ours any more.
func (t *callTable) leave(c *serverCall) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.placed--
	delete(t.calls, c.id)
	if t.left == nil || len(t.left) >= maxLeft {
		t.left = map[string]struct{}{}
	}
	t.left[c.id] = struct{}{}
}

// goneOn tells whether a call that is not here goes on elsewhere.
func (t *callTable) goneOn(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, left := t.left[id]
	return left
}

// refusal is that of a request which came when the call was over here.
func (c *serverCall) refusal() *problemError {
	if c.isLeft() {
		return refuse(goneOn())
	}
	return refuse(noCall())
}

// goneOn refuses a request of a call that goes on in another process: to be told
// that there is none, its client would end it.
func goneOn() bridge.Cause { return bridge.CauseShuttingDown.With("%v", errLeft) }

// breakOff ends the response of a byway so that it does not look like the end
// of the call.
func breakOff() { panic(http.ErrAbortHandler) }

// Abandon implements bridge.Abandoner.
func (l *clientLeg) Abandon() {
	l.left.Store(true)
	l.cut()
	l.media.Close()
	<-l.done
}

// Yield implements bridge.Yielder.
func (l *clientLeg) Yield(back bridge.Sink) bridge.LegRecord {
	l.media.Yield(back)
	l.yielded.Store(true)
	l.left.Store(true)
	l.cut()
	<-l.done
	return l.Record()
}

// cutOff is the outcome of a leg whose context has ended: it was let go of, or
// the client stops.
func (l *clientLeg) cutOff() outcome {
	if l.left.Load() {
		return outcome{over: true}
	}
	c := bridge.CauseShuttingDown.With("the RIPT client was stopped").EndedBy(bridge.ByBridge)
	return outcome{over: true, cause: &c}
}

// live begins the life of a leg, which Abandon cuts short.
func (l *clientLeg) live(ctx context.Context) { l.ctx, l.cut = context.WithCancel(ctx) }
