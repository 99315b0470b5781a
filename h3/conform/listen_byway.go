package conform

import (
	"io"
	"net/http"
	"time"
)

// event makes an event of ours and gives it to every byway. State events are
// what a new byway begins with. mu is held.
func (c *played) eventLocked(kind string, more map[string]any) map[string]any {
	c.seq++
	ev := map[string]any{
		"type": kind, "direction": "s2c", "timestamp": time.Now().UTC().Format(time.RFC3339Nano), "call": c.l.base + c.path(c.moved), "seq": c.seq,
		"x-conform": true,
	}
	for k, v := range more {
		ev[k] = v
	}
	switch kind {
	case "proceeding", "alerting", "answered", "declined", "failed", "noanswer", "end", "ended":
		c.state, c.last = kind, ev
	}
	for _, g := range c.gets {
		if g.ended.IsZero() {
			select {
			case g.queue <- ev:
			default: // a byway that is not read is cut by its own deadline
			}
		}
	}
	return ev
}

// say announces an event.
func (c *played) say(kind string, more map[string]any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.isOver {
		c.eventLocked(kind, more)
	}
}

// over ends the call.
func (c *played) over(kind string, reason map[string]any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isOver {
		return
	}
	c.reason = reason
	more := map[string]any{"endedBy": "callee"}
	if reason != nil {
		more["reason"] = reason
	}
	c.eventLocked(kind, more)
	c.isOver = true
	close(c.ending)
	c.bump()
}

// abort breaks every byway there is.
func (c *played) abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut++
	c.bump()
}

func bywayFields(h http.Header) {
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("X-Accel-Buffering", "no")
	h.Set("Incremental", "?1")
}

func (c *played) serveGetEvents(w http.ResponseWriter, r *http.Request) {
	if !c.enter() {
		refuse(w, http.StatusNotFound, "call-ended", "the call is over")
		return
	}
	defer c.wg.Done()
	if n, _ := io.Copy(io.Discard, io.LimitReader(r.Body, 16)); n > 0 {
		c.judge([]string{"68"}, "", errBody)
	} else {
		c.judge([]string{"68"}, "", nil)
	}
	g := &getServed{at: time.Now(), queue: make(chan map[string]any, 256)}
	c.mu.Lock()
	g.moved = c.moved
	cut := c.cut
	g.queue <- c.last
	c.gets = append(c.gets, g)
	c.bump()
	c.mu.Unlock()
	defer c.endGet(g)
	if c.script.lateHeaders > 0 {
		time.Sleep(c.script.lateHeaders)
	}
	bywayFields(w.Header())
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	_ = rc.Flush()
	c.mu.Lock()
	g.headers = time.Now()
	c.mu.Unlock()
	c.writeEvents(r, w, rc, g, cut)
}

// enter takes part in the call; false: it is over.
func (c *played) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isOver {
		return false
	}
	c.wg.Add(1)
	return true
}

func (c *played) endGet(g *getServed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g.ended = time.Now()
	c.bump()
}

// writeEvents writes an array of events. A script may leave the commas out, and say
// everything twice: readers must cope.
func (c *played) writeEvents(r *http.Request, w http.ResponseWriter, rc *http.ResponseController, g *getServed, cut int) {
	write := func(s string) bool {
		c.mu.Lock()
		mute := c.mute
		c.mu.Unlock()
		if mute {
			return true
		}
		_ = rc.SetWriteDeadline(time.Now().Add(10 * time.Second))
		_, err := io.WriteString(w, s)
		return err == nil && rc.Flush() == nil
	}
	if !write("[") {
		return
	}
	beat := time.NewTicker(3 * time.Second)
	defer beat.Stop()
	sep := ""
	send := func(ev map[string]any) bool {
		text := string(asJSON(ev))
		if c.script.bare {
			return write(text + "\n" + text) // and twice: the numbers tell
		}
		text, sep = sep+text, ",\n"
		return write(text)
	}
	for {
		c.mu.Lock()
		changed, broken := c.changed, c.cut != cut
		c.mu.Unlock()
		if broken {
			panic(http.ErrAbortHandler)
		}
		select {
		case ev := <-g.queue:
			if !send(ev) {
				return
			}
		case <-changed:
		case <-beat.C:
			if !write(" ") {
				return
			}
		case <-c.ending:
			for len(g.queue) > 0 {
				send(<-g.queue)
			}
			write("]")
			return
		case <-r.Context().Done():
			return
		}
	}
}

func (c *played) servePutEvents(w http.ResponseWriter, r *http.Request) {
	if !c.enter() {
		refuse(w, http.StatusNotFound, "call-ended", "the call is over")
		return
	}
	defer c.wg.Done()
	p := &putServed{at: time.Now(), rec: newRecording(), single: r.ContentLength >= 0}
	c.mu.Lock()
	p.moved = c.moved
	deaf := c.deaf && !p.single
	cut := c.cut
	c.puts = append(c.puts, p)
	c.bump()
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		p.ended = time.Now()
		c.bump()
		c.mu.Unlock()
	}()
	c.judge([]string{"A36"}, "", bufferable(r))
	if deaf { // something on the way holds the body back: we see nothing of it
		select {
		case <-r.Context().Done():
		case <-c.ending:
		}
		return
	}
	bywayFields(w.Header())
	if !p.single {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
	}
	if c.readEvents(r, w, p, cut) {
		panic(http.ErrAbortHandler)
	}
	if p.single {
		w.WriteHeader(http.StatusNoContent)
	}
}

// readEvents handles what a forward byway brings, until it or the call is over.
// broken: it is to be cut off.
func (c *played) readEvents(r *http.Request, w http.ResponseWriter, p *putServed, cut int) (broken bool) {
	rc := http.NewResponseController(w)
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.rec.read(r.Body)
	}()
	defer func() { <-done }()
	for handled := 0; ; {
		p.rec.mu.Lock()
		fresh := append([]event(nil), p.rec.events[handled:]...)
		changed, over := p.rec.changed, p.rec.over
		p.rec.mu.Unlock()
		handled += len(fresh)
		for _, ev := range fresh {
			c.heard(ev)
		}
		if over && len(fresh) == 0 {
			return false
		}
		c.mu.Lock()
		broken, mine := c.cut != cut, c.changed
		c.mu.Unlock()
		if broken {
			_ = rc.SetReadDeadline(time.Unix(1, 0))
			return true
		}
		select {
		case <-changed:
		case <-mine:
		case <-c.ending:
			// A client that closes its array by itself gets a moment to do so.
			_ = rc.SetReadDeadline(time.Now().Add(2 * time.Second))
			return false
		}
	}
}

// heard handles an event of the client's.
func (c *played) heard(ev event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fresh := true
	for _, old := range c.said {
		if old.Seq == ev.Seq && ev.Seq != 0 {
			fresh = false
		}
	}
	c.said = append(c.said, ev)
	if fresh && ev.Type == "ping" && !c.isOver {
		c.eventLocked("pong", map[string]any{"nonce": ev.Nonce})
	}
	c.bump()
}
