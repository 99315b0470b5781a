package sip

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
)

// A peer and a bridge that do anything at any time: glare, CANCEL across 200, a
// re-INVITE during a REFER, BYE during PRACK, answers that never come, numbers
// that were used before. Whatever they do, nothing panics, every leg ends, and
// nothing is left of it. The seed is logged.

// chaosCalls is how many there are, and chaosAtOnce how many of them at a time.
const (
	chaosCalls  = 160
	chaosAtOnce = 80
)

// chaos is the peer's side.
type chaos struct {
	*peer
	agent *Agent
	mu    sync.Mutex
	rnd   *rand.Rand
	calls map[string]*dlg
	soon  atomic.Int64 // what is to be done later
}

// roll is a number below n.
func (c *chaos) roll(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rnd.IntN(n)
}

// pick is one of several.
func pick[T any](c *chaos, all ...T) T { return all[c.roll(len(all))] }

// later does something soon, or now.
func (c *chaos) later(f func()) {
	wait := time.Duration(pick(c, 0, 0, 1, 5, 20, 60, 200)) * time.Millisecond
	c.soon.Add(1)
	time.AfterFunc(wait, func() { defer c.soon.Add(-1); f() })
}

// rest waits until nothing is to be done. What the agent still sends may bring
// something new, so that this is no WaitGroup.
func (c *chaos) rest() {
	for c.soon.Load() > 0 {
		time.Sleep(10 * time.Millisecond)
	}
}

// with has a dialog for itself.
func (c *chaos) with(callID string, f func(d *dlg)) {
	c.mu.Lock()
	d := c.calls[callID]
	c.mu.Unlock()
	if d == nil {
		return
	}
	d.mu2.Lock()
	defer d.mu2.Unlock()
	f(d)
}

// call begins a call to the agent, and does things to it.
func (c *chaos) call() string {
	d := c.caller(c.agent)
	c.mu.Lock()
	c.calls[d.callID] = d
	c.mu.Unlock()
	c.with(d.callID, func(d *dlg) {
		d.invite(pick(c, offerSDP(1, 40000), offerSDP(1, 40000), muLaw(1), dtlsSDP, "", "v=0\r\nrubbish"),
			pick(c, "X-A: b", "Require: 100rel", "Supported: 100rel, timer", "Session-Expires: 90;refresher=uas", "Allow: INVITE, ACK, BYE, UPDATE"))
	})
	for range 2 + c.roll(8) {
		c.later(func() { c.with(d.callID, c.act) })
	}
	return d.callID
}

// act does one thing in a dialog, whether or not it makes sense.
func (c *chaos) act(d *dlg) {
	body := pick(c, "", offerSDP(2+c.roll(9), 40000+2*c.roll(9)), muLaw(2+c.roll(9)), offerSDP(2, 40000, "a=inactive"), "rubbish")
	switch c.roll(16) {
	case 0, 1, 2:
		d.do("INVITE", body)
		d.branch = d.last
	case 3, 4:
		d.do("UPDATE", body, pick(c, "X-A: b", "Session-Expires: 90;refresher=uas", "Session-Expires: 10"))
	case 5:
		d.do("REFER", "", "Refer-To: "+pick(c, "<sip:+12025550111@example.com>", "<sip:x?Replaces=a%3Bto-tag%3Db%3Bfrom-tag%3Dc>", "<sip:+1@b?Replaces="+escape(d.callID)+"%3Bto-tag%3Db%3Bfrom-tag%3Dc>", "rubbish"))
	case 6:
		d.do("INFO", "Signal=5\r\nDuration=100\r\n")
	case 7:
		d.do("PRACK", pick(c, "", body), fmt.Sprintf("RAck: %d %d INVITE", c.roll(1<<30), 1+c.roll(3)))
	case 8:
		d.do("BYE", "", pick(c, "X-A: b", `Reason: Q.850;cause=16;text="x"`))
	case 9, 10:
		d.cancel()
	case 11:
		d.ack(body)
	case 12:
		d.send(d.make("UPDATE", 1, newBranch(), "")) // a number that was used before
	case 13:
		d.do("SUBSCRIBE", "", "Event: refer", "Expires: 0")
	case 14:
		d.do("OPTIONS", "")
	case 15:
		d.send(d.make("INVITE", d.seq, d.branch, offerSDP(1, 40000))) // again
	}
}

// serve takes what the agent sends.
func (c *chaos) serve() {
	for m := range c.inbox {
		switch m := m.(type) {
		case *sipgo.Request:
			c.asked(m)
		case *sipgo.Response:
			c.with(m.CallID().Value(), func(d *dlg) { c.answered(d, m) })
		}
	}
}

// asked answers a request somehow, perhaps not at all, perhaps twice.
func (c *chaos) asked(req *sipgo.Request) {
	id := req.CallID().Value()
	first := req.IsInvite() && toTagOf(req) == ""
	if first {
		c.mu.Lock()
		if c.calls[id] == nil {
			c.calls[id] = answeredBy(c.peer, c.agent, req, "a")
		}
		c.mu.Unlock()
		for range c.roll(6) {
			c.later(func() { c.with(id, c.act) })
		}
	}
	answer := func(status int, tag string) {
		body := ""
		if req.IsInvite() && status > 100 && status < 300 {
			body = pick(c, offerSDP(1, 41000), offerSDP(1, 41000), muLaw(3), "", "rubbish")
		}
		headers := []string{"Min-SE: 200", "Allow: INVITE, ACK, BYE, UPDATE, INFO"}
		if status > 100 && status < 200 && c.roll(2) == 0 {
			headers = append(headers, "Require: 100rel", fmt.Sprintf("RSeq: %d", 1+c.roll(3)))
		}
		if status == 401 {
			headers = append(headers, `WWW-Authenticate: Digest realm="x", nonce="n`+newBranch()+`", qop="auth"`)
		}
		c.respond(req, status, "Whatever", tag, body, headers...)
	}
	switch {
	case req.Method == sipgo.ACK:
	case first:
		for range c.roll(4) {
			c.later(func() { answer(pick(c, 100, 180, 183), pick(c, "a", "a", "b")) })
		}
		c.later(func() {
			answer(pick(c, 200, 200, 200, 200, 486, 302, 401, 422, 503, 408, 180), pick(c, "a", "a", "a", "b"))
		})
		if c.roll(4) == 0 {
			c.later(func() { answer(pick(c, 200, 487), pick(c, "a", "b")) })
		}
	case c.roll(8) == 0: // and silence
	default:
		c.later(func() { answer(pick(c, 200, 200, 200, 200, 200, 491, 500, 481, 408, 422, 401, 405), "a") })
	}
}

// answered acknowledges what wants it, mostly.
func (c *chaos) answered(d *dlg, res *sipgo.Response) {
	seq := int(res.CSeq().SeqNo)
	invite := res.CSeq().MethodName == sipgo.INVITE
	if invite && res.StatusCode > 100 && strings.HasPrefix(d.local, "<sip:+12025550100") {
		d.learn(res)
	}
	switch {
	case c.roll(8) == 0, !invite:
	case res.StatusCode >= 300:
		old, now := d.remote, d.seq
		d.remote, d.seq = res.To().Value(), seq
		branch, _ := res.Via().Params.Get("branch")
		d.send(d.make("ACK", seq, branch, ""))
		d.remote, d.seq = old, now
	case res.StatusCode >= 200:
		d.send(d.make("ACK", seq, newBranch(), pick(c, "", offerSDP(1, 40000), muLaw(2))))
	default:
		if rseq, ok := rseqOf(res); ok {
			d.do("PRACK", pick(c, "", "", offerSDP(2, 40000)), fmt.Sprintf("RAck: %d %d INVITE", rseq, seq))
		}
	}
}

// play is the bridge's side of one leg. A bridge answers every wish for a transfer,
// but not every wish for a record.
func (c *chaos) play(l bridge.Leg, incoming bool) error {
	over := make(chan struct{})
	go func() {
		defer close(over)
		for ev := range l.Events() {
			if ev.Stored != nil && c.roll(3) > 0 {
				c.later(ev.Stored)
			}
			if ev.Kind == bridge.Transfer {
				c.later(func() { ev.Transferred(pick(c, nil, error(bridge.CauseBusy))) })
			}
		}
	}()
	for range c.roll(7) {
		time.Sleep(time.Duration(pick(c, 0, 1, 5, 20, 60)) * time.Millisecond)
		switch c.roll(6) {
		case 0, 1:
			if incoming {
				_ = l.Answer(ctx, bridge.Answer{Media: pcma})
			}
		case 2:
			if incoming {
				_ = l.Progress(ctx, bridge.Progress{Alerting: c.roll(2) == 0, Early: pick(c, nil, &pcma)})
			}
		case 3, 4:
			_ = l.(*Leg).Adapt(ctx, bridge.MediaOffer{Speech: []bridge.Codec{pick(c, bridge.PCMU, bridge.PCMA)}})
		case 5:
			l.(*Leg).box.post(l.(*Leg).refresh)
		}
	}
	_ = l.End(ctx, pick(c, bridge.CauseNormal, bridge.CauseBusy, bridge.CauseCancelled))
	select {
	case <-over:
		return nil
	case <-time.After(4*64*sipgo.T1 + patience):
		return fmt.Errorf("leg %s does not end: state %d", l.Info().ID, l.(*Leg).state)
	}
}

// TestChaos is not parallel: it counts the goroutines of the whole process.
func TestChaos(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	p := newPeer(t)
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{Peer: p.addr().String(), RingTimeout: 2 * time.Second, Login: &Login{User: "alice", Password: "secret"}, FollowRedirects: true})
	p.to = a.Addr()
	c := &chaos{peer: p, agent: a, rnd: rand.New(rand.NewPCG(seed, 1)), calls: map[string]*dlg{}}
	go c.serve()                         // ends with the socket
	before := runtime.NumGoroutine() + 5 // the agent's readers may not run yet
	var legs sync.WaitGroup
	room := make(chan struct{}, chaosAtOnce)
	run := func(l bridge.Leg, incoming bool) {
		legs.Go(func() {
			if err := c.play(l, incoming); err != nil {
				t.Error(err)
			}
			<-room
		})
	}
	for i := range chaosCalls {
		room <- struct{}{}
		if i%2 == 0 {
			if l, err := a.Dial(ctx, intent); err == nil {
				run(l, false)
			} else {
				<-room // the trunk rests
			}
			continue
		}
		c.call()
		select {
		case l := <-acc.legs:
			run(l, true)
		case <-time.After(20 * time.Millisecond): // it was refused, or comes late
			<-room
		}
	}
	done := make(chan struct{})
	go func() { legs.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("legs are left")
	}
	for len(acc.legs) > 0 {
		if err := c.play(<-acc.legs, true); err != nil {
			t.Error(err)
		}
	}
	c.rest()
	for len(acc.legs) > 0 {
		if err := c.play(<-acc.legs, true); err != nil {
			t.Error(err)
		}
	}
	nothingLeft(t, a, before)
	if n := a.Legs(); n != 0 {
		t.Errorf("%d legs are left", n)
	}
}
