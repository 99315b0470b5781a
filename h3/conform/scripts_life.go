package conform

import (
	"errors"
	"fmt"
	"time"
)

func (c *played) migrates() {
	const did = "sent it migrate with a new URI"
	if !c.answer(200 * time.Millisecond) {
		return
	}
	if err := c.awaitChunks("", 20, 6*time.Second); err != nil {
		c.judge([]string{"113"}, did, err)
		return
	}
	c.mu.Lock()
	c.eventLocked("migrate", map[string]any{"uri": c.l.base + c.path(true)})
	c.moved = true
	old := append([]*getServed(nil), c.gets...)
	oldPuts := append([]*putServed(nil), c.puts...)
	c.mu.Unlock()
	ok := c.await(4*time.Second, func() bool {
		get, put := false, false
		for _, g := range c.gets {
			get = get || g.moved
		}
		for _, p := range c.puts {
			put = put || p.moved
		}
		return get && put
	})
	var err error
	if !ok {
		err = errors.New("within 4 s it has no byways at the new URI")
	}
	c.judge([]string{"113", "115", "116"}, did, err)
	if !ok {
		return
	}
	c.judge([]string{"117", "A41"}, did, c.noCookies())
	c.await(3*time.Second, func() bool { return len(c.gets) > len(old) && !c.gets[len(c.gets)-1].headers.IsZero() })
	before := c.chunks("")
	media := c.await(6*time.Second, func() bool { return c.chunks("") > before+20 })
	c.judge([]string{"118"}, did, c.mediaAfterHeaders(true))
	if !media {
		c.judge([]string{"113"}, did, errors.New("no media after the migration"))
	}
	ended := c.await(3*time.Second, func() bool {
		for _, g := range old {
			if g.ended.IsZero() {
				return false
			}
		}
		for _, p := range oldPuts {
			if p.ended.IsZero() {
				return false
			}
		}
		return true
	})
	err = nil
	if !ended {
		err = errors.New("its byways at the old URI are still open")
	}
	c.judge([]string{"114"}, did, err)
	c.judge([]string{"A40"}, did, c.higherEpoch())
}

// noCookies wants the first GET and PUT of events at the new URI without cookies,
// and those before with the cookie of the call.
func (c *played) noCookies() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := map[string]bool{}
	carried := false
	for _, r := range c.requests {
		if r.what != "events" {
			continue
		}
		if !r.moved {
			carried = carried || r.cookie == "ript_node="+c.cookie
			continue
		}
		if !first[r.method] && r.cookie != "" {
			return fmt.Errorf("%s events at the new URI carries Cookie: %s", r.method, clip(r.cookie, 60))
		}
		first[r.method] = true
	}
	if !carried {
		return errors.New("before the migration its byways did not carry the cookie of the call")
	}
	return nil
}

// higherEpoch wants media after the migration under a higher epoch.
func (c *played) higherEpoch() error {
	c.media.mu.Lock()
	defer c.media.mu.Unlock()
	first, last := c.media.in[0].epoch, c.media.in[len(c.media.in)-1].epoch
	if last <= first {
		return fmt.Errorf("its media has Ript-Epoch %d before the migration and %d after it", first, last)
	}
	return nil
}

func (c *played) migratesAway() {
	if !c.answer(200 * time.Millisecond) {
		return
	}
	c.wait(time.Second)
	c.say("migrate", map[string]any{"uri": "https://elsewhere.example/conform/call"})
	c.wait(time.Second)
	c.judge([]string{"A42"}, "sent it migrate to another site", c.pings("home", 6*time.Second))
}

func (c *played) bywaysBreak() {
	if !c.answer(200 * time.Millisecond) {
		return
	}
	c.wait(time.Second)
	before := c.opened()
	c.abort()
	began := time.Now()
	ok := c.await(5*time.Second, func() bool { return len(c.gets) > before })
	took := time.Since(began)
	var err error
	if !ok {
		err = errors.New("5 s after its byways broke it has not opened new ones")
	} else if took > 1500*time.Millisecond {
		err = fmt.Errorf("it opened its byways again after %v", took.Round(time.Millisecond))
	}
	c.judge([]string{"107", "120", "A6"}, "broke its byways", err)
	if ok {
		c.judge([]string{"107"}, "", c.pings("again", 4*time.Second))
	}
}

func (c *played) putHeldBack() {
	if !c.await(10*time.Second, func() bool { return len(c.gets) > 0 && !c.gets[0].headers.IsZero() }) {
		return
	}
	c.mu.Lock()
	c.deaf = true
	c.mu.Unlock()
	if !c.answer(200 * time.Millisecond) {
		return
	}
	c.abort() // the next PUT is the one that is held back
	ok := c.await(10*time.Second, func() bool {
		for _, p := range c.puts {
			if p.single {
				return true
			}
		}
		return false
	})
	var err error
	if !ok {
		err = errors.New("no pong came for 10 s, and it goes on with a PUT that nobody sees")
	}
	c.judge([]string{"A35"}, "held its PUT back", err)
	if ok {
		c.judge([]string{"A35"}, "", c.pings("single", 5*time.Second))
	}
}

// mediaTimeout is what the TG of the judge of clients says; it is not the default.
const mediaTimeout = 4 * time.Second

func (c *played) noAcks() {
	const did = "acknowledged nothing"
	if !c.answer(200 * time.Millisecond) {
		return
	}
	if err := c.awaitChunks("", 50, 6*time.Second); err != nil {
		c.judge([]string{"A7"}, did, err)
		return
	}
	c.media.mu.Lock()
	c.media.noAcks = true
	c.media.mu.Unlock()
	err := c.looksElsewhere(7*time.Second, "acknowledgements")
	c.judge([]string{"14", "120", "A7"}, did, err)
	if err == nil {
		c.judge([]string{"14", "A7"}, "acknowledged nothing for longer than media-timeout", c.givesUp())
	}
}

// givesUp wants the client to end a call whose media reaches nobody on any way.
func (c *played) givesUp() error {
	const limit = mediaTimeout + 10*time.Second
	var end event
	c.await(limit, func() bool {
		for _, e := range c.said {
			if e.ends() {
				end = e
			}
		}
		return end.Type != ""
	})
	switch {
	case end.Type == "":
		return fmt.Errorf("after %v without acknowledgements, of which media-timeout allows %v, the call goes on", limit, mediaTimeout)
	case end.Reason == nil || end.Reason.Code == "normal":
		return skip("the caller hung up before media-timeout")
	case end.Reason.Code != "media-lost":
		return fmt.Errorf("it ended the call as %q, want media-lost", clip(end.Reason.Code, 60))
	}
	return nil
}

// looksElsewhere wants the client to open something anew, for want of what it
// does not get any more.
func (c *played) looksElsewhere(limit time.Duration, want string) error {
	c.mu.Lock()
	before := len(c.requests)
	c.mu.Unlock()
	ok := c.await(limit, func() bool {
		for _, r := range c.requests[before:] {
			if r.method == "CONNECT" || r.method == "GET" && (r.what == "events" || r.what == "media") {
				return true
			}
		}
		return false
	})
	if !ok {
		return fmt.Errorf("%v without %s, and it has looked for no other way", limit, want)
	}
	return nil
}

func (c *played) noMedia() {
	if !c.answer(200 * time.Millisecond) {
		return
	}
	if err := c.awaitChunks("", 20, 6*time.Second); err != nil {
		return
	}
	c.media.mu.Lock()
	c.media.quiet = true
	c.media.mu.Unlock()
	c.judge([]string{"120"}, "sent no media", c.looksElsewhere(12*time.Second, "media"))
}

func (c *played) silentByway() {
	if !c.answer(200 * time.Millisecond) {
		return
	}
	c.wait(time.Second)
	c.mu.Lock()
	c.mute = true
	before := len(c.gets)
	c.mu.Unlock()
	began := time.Now()
	ok := c.await(25*time.Second, func() bool { return len(c.gets) > before })
	c.mu.Lock()
	c.mute = false
	c.mu.Unlock()
	var err error
	if !ok {
		err = errors.New("a byway was silent for 25 s, and it has not opened another")
	} else if took := time.Since(began); took < 8*time.Second {
		err = fmt.Errorf("it gave a silent byway up after %v, want 15 s", took.Round(time.Millisecond))
	}
	c.judge([]string{"A36"}, "let a byway be silent", err)
}

// awayFor is longer than a QUIC handshake is waited for.
const awayFor = 9 * time.Second

func (c *played) awayForAWhile() {
	const did = "was not to be reached for 9 s"
	c.judge([]string{"1"}, "let its tokens expire", nil) // or there were no call
	if !c.answer(200 * time.Millisecond) {
		return
	}
	if err := c.awaitChunks("", 50, 6*time.Second); err != nil {
		c.judge([]string{"119"}, did, err)
		return
	}
	before := c.opened()
	began := time.Now()
	c.l.outage.begin()
	c.l.cutConnections()
	c.abort()
	c.wait(awayFor)
	tries := c.l.outage.end()
	c.judge([]string{"13", "A6"}, did, judgeTries(tries, began))
	back := c.await(20*time.Second, func() bool { return len(c.gets) > before })
	if !back {
		c.judge([]string{"108"}, did, errors.New("it did not come back within 20 s"))
		return
	}
	c.judge([]string{"108"}, did, c.pings("back", 5*time.Second))
	if err := c.awaitChunks("", c.chunks("")+50, 6*time.Second); err != nil {
		c.judge([]string{"119"}, did, err)
		return
	}
	c.wait(2 * time.Second)
	c.judge([]string{"119", "A44"}, did, c.burst(began))
}

// judgeTries wants a first attempt at once, and no hammering.
func judgeTries(tries []time.Time, began time.Time) error {
	if len(tries) == 0 {
		return errors.New("it never tried to connect")
	}
	if first := tries[0].Sub(began); first > 3*time.Second {
		return fmt.Errorf("its first attempt came after %v", first.Round(time.Millisecond))
	}
	if most := 4 + int(awayFor/(2*time.Second)); len(tries) > most {
		return fmt.Errorf("it tried to connect %d times in %v, want at most %d", len(tries), awayFor, most)
	}
	return nil
}

// burst looks at what came after the outage: media of the time of the outage,
// five seconds of it at most, at four times the pace at most.
func (c *played) burst(began time.Time) error {
	ways := c.carriersSeen()
	c.media.mu.Lock()
	defer c.media.mu.Unlock()
	late := 0
	var first, last time.Time
	stamp := uint64(0)
	for _, x := range c.media.in {
		if stamp = x.c.Timestamp.Near(stamp); x.at.Before(began) {
			continue
		}
		if age := x.at.Sub(time.UnixMilli(int64(stamp))); age > time.Second {
			if first.IsZero() {
				first = x.at
			}
			late++
			last = x.at
		}
	}
	if late < 100 {
		return fmt.Errorf("%d chunks came of the 9 s in which we were away, want 5 s of speech", late)
	}
	if late > 5*50+60 {
		return fmt.Errorf("%d old chunks came, more than 5 s", late)
	}
	// What can still be played may come at once.
	if took := last.Sub(first); took < time.Duration(late-100)*20*time.Millisecond/8 {
		return fmt.Errorf("%d old chunks came within %v on %s, want four times the pace", late, took.Round(time.Millisecond), ways)
	}
	return nil
}
