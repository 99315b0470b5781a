package conform

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"riptide/h3/advert"
)

// script is what the listener does with one call of the client's, and which
// requirements that judges.
type script struct {
	name string
	ids  string // numbers that this script judges, and no other
	run  func(*played)

	codec       string        // of the directives; "" = PCMU
	carriers    []string      // that are to be had; nil = WebTransport and PUT/GET
	lose201     bool          // the response to the first POST is lost
	forget      bool          // the first POST gets 500 handler-not-registered
	bare        bool          // events come twice and without commas
	lateHeaders time.Duration // of GET events
	lateSession time.Duration // of CONNECT
	oddChunk    func(*mediaChunk)
	alone       bool // no other call meanwhile
}

func (s *script) allows(carrier string) bool {
	if s.carriers == nil {
		return carrier != carrierStriped
	}
	return slices.Contains(s.carriers, carrier)
}

// chosenScripts are those that judge what was asked for.
func (l *Listener) chosenScripts() []*script {
	all := scripts()
	if len(l.opt.Only) > 0 {
		all = slices.DeleteFunc(all, func(s *script) bool {
			return !s.always() && !slices.ContainsFunc(strings.Fields(s.ids), func(id string) bool { return wanted(l.opt.Only, id) })
		})
	}
	if l.opt.Calls > 0 && l.opt.Calls < len(all) {
		all = all[:l.opt.Calls]
	}
	return all
}

// always tells the script without which there is nothing to look at.
func (s *script) always() bool { return s.name == plainCall }

func (l *Listener) nextScript() *script {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	if len(l.state.scripts) == 0 {
		return nil
	}
	s := l.state.scripts[0]
	l.state.scripts = l.state.scripts[1:]
	l.state.running++
	return s
}

// start plays the script.
func (c *played) start() {
	c.mu.Lock()
	c.eventLocked("proceeding", nil)
	c.mu.Unlock()
	c.wg.Add(2)
	go func() {
		defer c.wg.Done()
		c.media.play()
	}()
	go func() {
		defer c.wg.Done()
		c.script.run(c)
		c.over("end", map[string]any{"code": "normal", "sip": 200, "q850": 16})
		c.leaves()
		c.judgeStanding()
		c.l.callDone()
	}()
}

// callDone counts, and ends the run when every script was played.
func (l *Listener) callDone() {
	l.state.mu.Lock()
	l.state.running--
	l.state.ended++
	over := l.state.running == 0 && len(l.state.scripts) == 0
	l.state.mu.Unlock()
	if over {
		l.finish.Do(func() { close(l.done) })
	}
}

// leaves waits until the client has let go of a call that is over.
func (c *played) leaves() {
	ok := c.await(5*time.Second, func() bool {
		for _, g := range c.gets {
			if g.ended.IsZero() {
				return false
			}
		}
		for _, p := range c.puts {
			if p.ended.IsZero() {
				return false
			}
		}
		return true
	})
	var err error
	if !ok {
		err = fmt.Errorf("5 s after %s the client still holds byways (%s)", c.state, c.script.name)
	}
	c.judge([]string{"82"}, "", err)
}

func (c *played) judge(ids []string, did string, err error) { c.l.note(ids, did, err) }

// report completes what was found with what was never seen.
func (l *Listener) report() *Report {
	l.state.mu.Lock()
	left := append([]*script(nil), l.state.scripts...)
	seen := map[string]bool{}
	for k, v := range l.state.seen {
		seen[k] = !v.IsZero()
	}
	l.state.mu.Unlock()
	for _, s := range left {
		l.note(strings.Fields(s.ids), "", skip("no call was placed for it (%s): the client must place %d", s.name, len(scripts())))
	}
	l.judgeDiscovery(seen)
	for id := range clientChecks {
		l.found.mu.Lock()
		_, ok := l.found.m[id]
		l.found.mu.Unlock()
		if !ok {
			l.note([]string{id}, "", skip("the client never got as far"))
		}
	}
	return l.found.report("the client at " + l.base)
}

func (l *Listener) judgeDiscovery(seen map[string]bool) {
	for id, x := range map[string]struct{ what, why string }{
		"2":   {"root", "it never asked for /.well-known/ript"},
		"A5":  {"list", "it did not follow the redirect of /.well-known/ript to the list of TGs"},
		"A55": {"certs polled", "it did not come back for a certificate that was promised with 202"},
	} {
		var err error
		if !seen[x.what] {
			err = fmt.Errorf("%s", x.why)
		}
		l.note([]string{id}, "", err)
	}
	l.note([]string{"35"}, "looked for each codec in all its handlers", l.mandatoryCodecs())
	l.note([]string{"93"}, "offered WebTransport in most calls", l.anyDatagrams())
	l.note([]string{"A3"}, "put members that nobody knows into every document and event", nil)
	l.note([]string{"83"}, "waited for DELETE", nil)
}

// mandatoryCodecs wants each codec in some handler, in both directions: a client
// may have several, and choose the one that fits the call.
func (l *Listener) mandatoryCodecs() error {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	for _, name := range []string{"PCMU", "PCMA", "opus"} {
		some := false
		for _, h := range l.state.handlers {
			a, err := advert.ParseAdvert(h.adv)
			some = some || err == nil && everyDirectionHas(a, []string{name}) == nil
		}
		if !some {
			return fmt.Errorf("none of its handlers has %s in both directions", name)
		}
	}
	return nil
}

// anyDatagrams wants media on WebTransport in at least one call: a session that
// comes too late may send some to other carriers.
func (l *Listener) anyDatagrams() error {
	for _, c := range l.calls() {
		if c.chunks(carrierWebTransport)+c.chunks(carrierTrunk) > 0 {
			return nil
		}
	}
	return errors.New("no chunk came as a datagram, in none of the calls")
}

// clientChecks are the requirements that clients are judged by.
var clientChecks = func() map[string]bool {
	out := map[string]bool{}
	for _, id := range strings.Fields(standingIDs) {
		out[id] = true
	}
	for _, s := range scripts() {
		for _, id := range strings.Fields(s.ids) {
			out[id] = true
		}
	}
	return out
}()
