package conform

import (
	"errors"
	"fmt"
	"time"
)

const plainCall = "a plain call"

// scripts are all there is to play, in their order: clients remember what was
// refused to them, so refusals come late, and what disturbs other calls last.
func scripts() []*script {
	requestsOnly := []string{carrierPutGet}
	return []*script{
		{name: plainCall, ids: "82 84 85 93", run: (*played).plain},
		{name: "striped streams", ids: "A39", carriers: []string{carrierStriped, carrierPutGet}, run: (*played).byStripes},
		{name: "the 201 is lost", ids: "A11", lose201: true, run: (*played).lost201},
		{name: "the handler is forgotten", ids: "A8", forget: true, run: (*played).forgottenHandler},
		{name: "PCMA only", ids: "38 98", codec: "PCMA", run: (*played).speaksPCMA},
		{name: "events without commas, and twice", ids: "A18", bare: true, run: (*played).bareEvents},
		{name: "events nobody knows, and moved for migrate", ids: "A17", run: (*played).oddEvents},
		{name: "a slow CONNECT", ids: "A33", lateSession: 3 * time.Second, run: (*played).slowSession},
		{name: "declined", ids: "82", run: ends("declined", 603, 21)},
		{name: "failed", ids: "82", run: ends("failed", 503, 38)},
		{name: "no answer", ids: "82", run: ends("noanswer", 480, 19)},
		{name: "ended, for end", ids: "A17", run: (*played).endedForEnd},
		{name: "migrate", ids: "113 114 115 116 117 118 A41", lateHeaders: 400 * time.Millisecond, run: (*played).migrates},
		{name: "migrate to a stranger", ids: "A42", run: (*played).migratesAway},
		{name: "byways break", ids: "107 120 A6", run: (*played).bywaysBreak},
		{name: "PUT is held back", ids: "A35", run: (*played).putHeldBack},
		{name: "chunks with grease, and with unknown core tags", ids: "A20", oddChunk: greasy, run: (*played).oddChunks},
		{name: "truncated numbers", ids: "A22", oddChunk: truncated, run: (*played).truncatedNumbers},
		{name: "sealed chunks among clear ones, and comfort noise", ids: "A27 A31", oddChunk: sealedAndNoise, run: (*played).sealedAmongClear},
		{name: "a new directive", ids: "98", run: (*played).newDirective},
		{name: "no WebTransport", ids: "80 94 95 96 97 A38", carriers: requestsOnly, run: (*played).byRequests},
		{name: "slow headers", ids: "A37", lateHeaders: 700 * time.Millisecond, carriers: requestsOnly, run: (*played).slowHeaders},
		{name: "no acknowledgements", ids: "14 120 A7", run: (*played).noAcks},
		{name: "no media", ids: "120", run: (*played).noMedia},
		{name: "a silent byway", ids: "A36", run: (*played).silentByway},
		{name: "the client hangs up", ids: "82 A48", run: (*played).clientHangsUp},
		{name: "nobody is there for a while", ids: "13 108 119 A6 A44", alone: true, run: (*played).awayForAWhile},
	}
}

// standingIDs are judged in every call, and before the first.
const standingIDs = "1 2 3 6 26 27 30 31 33 34 35 36 37 39 41 45 46 47 49 51 52 53 54 67 68 69 70 71 76 77 78 79 83 89 91 " +
	"A3 A5 A12 A14 A19 A21 A23 A24 A25 A26 A29 A30 A32 A36 A40 A43 A55 A56 A61"

// answer lets the call ring and be answered, once the client has its byways. It
// tells whether there is a call at all.
func (c *played) answer(ring time.Duration) bool {
	if !c.await(10*time.Second, func() bool { return len(c.gets) > 0 && !c.gets[0].headers.IsZero() }) {
		c.judge([]string{"67"}, "", fmt.Errorf("no GET events within 10 s of the 201 (%s)", c.script.name))
		return false
	}
	c.say("alerting", nil)
	c.wait(ring)
	c.say("answered", nil)
	return true
}

// wait lets time pass, unless the call ends meanwhile.
func (c *played) wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.ending:
		return false
	}
}

// chunks are how many of the client's came on a carrier; "" = on any.
func (c *played) chunks(carrier string) int {
	c.media.mu.Lock()
	defer c.media.mu.Unlock()
	n := 0
	for _, x := range c.media.in {
		if carrier == "" || x.carrier == carrier {
			n++
		}
	}
	return n
}

func (c *played) awaitChunks(carrier string, n int, limit time.Duration) error {
	if c.await(limit, func() bool { return c.chunks(carrier) >= n }) {
		return nil
	}
	return fmt.Errorf("%d of its chunks came %swithin %v, want %d (%s)", c.chunks(carrier), on(carrier), limit, n, c.script.name)
}

func on(carrier string) string {
	if carrier == "" {
		return ""
	}
	return "on " + carrier + " "
}

// pings asks the client whether it is there.
func (c *played) pings(nonce string, limit time.Duration) error {
	c.say("ping", map[string]any{"nonce": nonce})
	ok := c.await(limit, func() bool { return c.ponged(nonce) > 0 })
	if !ok {
		return fmt.Errorf("no pong with nonce %q within %v (%s)", nonce, limit, c.script.name)
	}
	return nil
}

// ponged counts the pongs with a nonce. mu is held.
func (c *played) ponged(nonce string) int {
	n := 0
	for _, e := range c.said {
		if e.Type == "pong" && e.Nonce == nonce {
			n++
		}
	}
	return n
}

func (c *played) plain() {
	if !c.answer(time.Second) {
		return
	}
	if err := c.awaitChunks("", 50, 6*time.Second); err != nil {
		c.judge([]string{"93"}, "", err)
	}
	for _, nonce := range []string{"1", "Ä \"\\ 中", "conform-conform-conform-conform"} {
		c.judge([]string{"84", "85"}, "sent it pings", c.pings(nonce, 3*time.Second))
	}
	c.wait(3 * time.Second)
}

func (c *played) lost201() {
	ok := c.await(12*time.Second, func() bool {
		for _, r := range c.requests {
			if r.what == "again" {
				return true
			}
		}
		return false
	})
	var err error
	if !ok {
		err = errors.New("the response to POST calls was lost, and it did not ask again with the same Idempotency-Key")
	}
	c.judge([]string{"A11"}, "lost the response to POST calls", err)
	if ok && c.answer(200*time.Millisecond) {
		c.wait(time.Second)
	}
}

func (c *played) forgottenHandler() {
	c.l.state.mu.Lock()
	at, h := c.l.state.seen["500"], c.l.state.handlers[c.posted.Handler]
	c.l.state.mu.Unlock()
	var err error
	if h.at.Before(at) {
		err = errors.New("after 500 handler-not-registered it did not register the handler again")
	}
	c.judge([]string{"A8"}, "answered POST calls with 500 handler-not-registered", err)
	if !c.answer(200 * time.Millisecond) {
		return
	}
	c.wait(2 * time.Second)
}

func (c *played) speaksPCMA() {
	if !c.answer(200 * time.Millisecond) {
		return
	}
	err := c.awaitChunks("", 30, 6*time.Second)
	if err == nil {
		c.media.mu.Lock()
		for _, x := range c.media.in {
			if pt := x.c.PayloadType; pt != payloadPCMA && pt != payloadCN && pt != payloadDigits {
				err = fmt.Errorf("it sends payload type %d (%d bytes), the directive is %q", pt, len(x.c.Media), c.directives())
			}
		}
		c.media.mu.Unlock()
	}
	c.judge([]string{"98", "38"}, "gave it a directive with PCMA only", err)
}

func (c *played) bareEvents() {
	if !c.answer(200 * time.Millisecond) {
		return
	}
	err := c.pings("bare", 3*time.Second)
	if err == nil {
		c.wait(time.Second)
		c.mu.Lock()
		if n := c.ponged("bare"); n != 1 {
			err = fmt.Errorf("a ping that came twice with the same seq was answered %d times", n)
		}
		c.mu.Unlock()
	}
	c.judge([]string{"A18"}, "sent it events without commas, and each one twice", err)
}

func (c *played) oddEvents() {
	if !c.answer(200 * time.Millisecond) {
		return
	}
	for _, kind := range []string{"x-conform", "", "media-panic", "handler"} {
		c.say(kind, nil)
	}
	err := c.pings("odd", 3*time.Second)
	c.judge([]string{"A17"}, "sent it events nobody knows", err)
	before := c.opened()
	c.say("moved", nil)
	if !c.await(4*time.Second, func() bool { return len(c.gets) > before }) {
		err = errors.New("moved, which means migrate, did not make it attach anew")
	}
	c.judge([]string{"A17"}, "said moved for migrate", err)
	c.wait(500 * time.Millisecond)
}

// opened is how many GETs there were.
func (c *played) opened() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.gets)
}

func (c *played) endedForEnd() {
	if !c.answer(200 * time.Millisecond) {
		return
	}
	c.wait(time.Second)
	c.over("ended", map[string]any{"code": "normal"})
	ok := c.await(4*time.Second, func() bool {
		for _, g := range c.gets {
			if g.ended.IsZero() {
				return false
			}
		}
		return true
	})
	var err error
	if !ok {
		err = errors.New("after ended, which means end, it holds its byways")
	}
	c.judge([]string{"A17"}, "said ended for end", err)
}

// ends is a call that is never answered.
func ends(kind string, sip, q850 int) func(*played) {
	return func(c *played) {
		if !c.await(10*time.Second, func() bool { return len(c.gets) > 0 && !c.gets[0].headers.IsZero() }) {
			return
		}
		c.say("alerting", nil)
		c.wait(500 * time.Millisecond)
		c.over(kind, map[string]any{"code": map[string]string{"declined": "declined", "failed": "unreachable", "noanswer": "no-answer"}[kind], "sip": sip, "q850": q850})
		c.judge([]string{"82"}, "ended a call by "+kind, nil)
	}
}

// clientHangsUp waits for the caller, who must be patient: all other scripts are
// shorter.
func (c *played) clientHangsUp() {
	if !c.answer(200 * time.Millisecond) {
		return
	}
	c.l.say("waiting for the caller to hang up")
	var end event
	ok := c.await(90*time.Second, func() bool {
		for _, e := range c.said {
			if e.ends() {
				end = e
				return true
			}
		}
		return false
	})
	if !ok {
		c.judge([]string{"A48"}, "waited for it to hang up", skip("nobody hung up within 90 s"))
		return
	}
	var err error
	switch {
	case end.Type != "end":
		err = fmt.Errorf("it ends a call by %q, want end", end.Type)
	case end.Reason == nil || end.Reason.Code == "":
		err = errors.New("its end has no reason with a code")
	}
	c.judge([]string{"82", "A48"}, "waited for it to hang up", err)
	c.l.revokeAll() // the next call needs another token
}
