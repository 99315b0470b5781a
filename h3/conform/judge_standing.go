package conform

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// judgeStanding judges what every call of a client must have.
func (c *played) judgeStanding() {
	c.standingByways()
	c.standingEvents()
	c.standingMedia()
}

func (c *played) standingByways() {
	c.mu.Lock()
	defer c.mu.Unlock()
	const did = "watched its byways"
	var opened, held error
	if len(c.gets) == 0 || len(c.puts) == 0 {
		opened = fmt.Errorf("it opened %d GETs and %d PUTs on events (%s)", len(c.gets), len(c.puts), c.script.name)
	} else if took := c.gets[0].at.Sub(c.at); took > 5*time.Second && !c.script.lose201 {
		opened = fmt.Errorf("its first GET events came %v after the 201", took.Round(time.Millisecond))
	}
	for _, g := range c.gets {
		if c.script.name == plainCall && !g.ended.IsZero() && g.ended.Sub(c.at) < time.Second {
			held = errors.New("it let go of GET events within a second")
		}
	}
	c.judge([]string{"67"}, did, opened)
	c.judge([]string{"70"}, did, held)
	for _, p := range c.puts {
		if c.deaf && !p.single {
			continue // nobody has read it
		}
		array, bracket, quiet := p.form()
		c.judge([]string{"69"}, did, array)
		c.judge([]string{"71"}, did, bracket)
		c.judge([]string{"A36"}, did, quiet)
	}
}

// form judges how a forward byway was written.
func (p *putServed) form() (array, bracket, quiet error) {
	p.rec.mu.Lock()
	defer p.rec.mu.Unlock()
	switch {
	case p.rec.early || errors.Is(p.rec.err, errStream):
		array = fmt.Errorf("its PUT events is no array: %v", p.rec.err)
	case p.rec.opened.IsZero() && p.ended.Sub(p.at) > 2*time.Second:
		array = errors.New("its PUT events has no opening bracket")
	case !p.rec.opened.IsZero() && p.rec.opened.Sub(p.at) > quick:
		bracket = fmt.Errorf("its opening bracket came after %v", p.rec.opened.Sub(p.at).Round(time.Millisecond))
	}
	if !p.single && p.rec.gap > 7*time.Second {
		quiet = fmt.Errorf("its PUT events was silent for %v", p.rec.gap.Round(100*time.Millisecond))
	}
	return array, bracket, quiet
}

func (c *played) standingEvents() {
	c.mu.Lock()
	said := slices.Clone(c.said)
	uris := []string{c.l.base + c.path(false), c.l.base + c.path(true)}
	c.mu.Unlock()
	const did = "read its events"
	var direction, stamp, call, kind, form error
	seen := map[uint64]string{}
	for _, e := range said {
		if e.Direction != "c2s" {
			direction = fmt.Errorf("%s has direction %q", e.Type, e.Direction)
		}
		at, err := time.Parse(time.RFC3339, e.Timestamp)
		if err != nil {
			stamp = fmt.Errorf("%s: %w", e.Type, err)
		} else if _, off := at.Zone(); off != 0 {
			stamp = fmt.Errorf("%s: timestamp %s is not UTC", e.Type, e.Timestamp)
		}
		if !slices.Contains(uris, e.Call) {
			call = fmt.Errorf("%s has call %q", e.Type, clip(e.Call, 120))
		}
		if e.Type == "" {
			kind = errors.New("an event has no type")
		}
		if e.Seq == 0 || seen[e.Seq] != "" && seen[e.Seq] != e.Type+e.Nonce {
			form = fmt.Errorf("%s has seq %d, which another event had", e.Type, e.Seq)
		}
		seen[e.Seq] = e.Type + e.Nonce
		if e.size > maxEvent {
			form = fmt.Errorf("%s has %d bytes", e.Type, e.size)
		}
	}
	if len(said) == 0 {
		return
	}
	c.judge([]string{"76"}, did, direction)
	c.judge([]string{"77"}, did, stamp)
	c.judge([]string{"78"}, did, call)
	c.judge([]string{"79"}, did, kind)
	c.judge([]string{"A18"}, did, form)
}
