package main_test

import (
	"context"
	"fmt"
	"math"
	"net"
	"strings"
	"testing"
	"time"

	"riptide/bridge/bridgetest"
	"riptide/sip/siptest"
)

// peers are the programs at the SIP ends of everything: sipp, which places and
// answers calls by the dozen, and baresips, each of which records what it hears.
type peers struct {
	t     *testing.T
	netns *siptest.Namespace
	out   *way // from the office to the telco
	in    *way // the other way; nil = no such calls

	nodes func() []node // that share a store
}

// way is the calls of one direction: so many of sipp, and one of baresip.
type way struct {
	*peers
	name    string
	numbers [2]string // of the calls of sipp: from, to
	phone   [2]string // of that of the baresips
	calls   int
	called  *siptest.SippRun
	calling *siptest.SippRun
	phones  [2]*siptest.BaresipRun // the one that calls, and the one that is called
	ears    [2]*siptest.Ear
	hz      [2]float64
	sipp    string // address of the sipp that calls
}

// The numbers of the baresips.
const (
	telcoPhone  = "+12025550177"
	officePhone = "+12025550166"
)

// toneFor is for how long a baresip has something to say.
const toneFor = 5 * time.Minute

// startPeers starts those that are called.
func startPeers(t *testing.T, both bool) *peers {
	t.Helper()
	p := &peers{t: t, netns: siptest.NewNamespace(t)}
	p.out = &way{peers: p, name: "office to telco", numbers: [2]string{officeNumber, telcoNumber}, phone: [2]string{officePhone, telcoPhone}}
	p.out.answer("127.0.0.1", 0, siptest.Baresip{Netns: p.netns})
	if both {
		p.in = &way{peers: p, name: "telco to office", numbers: [2]string{telcoNumber, officeNumber}, phone: [2]string{telcoPhone, officePhone}}
		p.in.answer("127.0.0.1", 0, siptest.Baresip{Netns: p.netns})
	}
	return p
}

// answer starts those that are called: sipp at an address, and a baresip.
func (w *way) answer(sipp string, port int, phone siptest.Baresip) {
	w.t.Helper()
	w.calls, w.hz, w.sipp = size(3, number("PEERS_CALLS", 50)), [2]float64{620, 1040}, sipp
	w.called = siptest.Sipp{
		Scenario: siptest.UASGoesOn, Script: siptest.Script{RingMS: 20}, Calls: w.calls, Echo: true, Host: sipp, Port: port, Netns: w.netns, Timeout: 2 * toneFor,
	}.Start(w.t)
	w.phones[1] = w.start(phone, 1)
}

// start starts the baresip that calls, 0, or is called, 1.
func (w *way) start(phone siptest.Baresip, i int) *siptest.BaresipRun {
	w.t.Helper()
	phone.User, phone.Hz, phone.Tone = w.phone[i], w.hz[i], int(toneFor.Seconds())
	return phone.Start(w.t)
}

// ways are the directions in which there are calls.
func (p *peers) ways() []*way {
	if p.in == nil {
		return []*way{p.out}
	}
	return []*way{p.out, p.in}
}

// edit gives a node one more trunk, to the baresip behind it.
func (p *peers) edit(node, text string) string {
	if strings.HasSuffix(node, "witness") {
		return text
	}
	other, phone := "office", p.out
	if strings.HasPrefix(node, "office") {
		other, phone = "telco", p.in
	}
	number, addr := officePhone, net.JoinHostPort(p.netns.Addr, "9") // nobody
	if phone != nil {
		number, addr = phone.phone[1], phone.phones[1].Addr
	}
	text = replace(p.t, text, "\ntrunks:\n", fmt.Sprintf("\ntrunks:\n  phone:\n    sip: {peer: %q, callers: \"*\"}\n", addr))
	return replace(p.t, text, "\nroutes:\n", fmt.Sprintf("\nroutes:\n  - {from: %[1]s, to: %[2]q, trunk: phone}\n  - {from: phone, to: \"+*\", trunk: %[1]s}\n", other, number))
}

// pbx is where an office's calls go, if there are any.
func (p *peers) pbx() string {
	if p.in == nil {
		return net.JoinHostPort("127.0.0.1", "9")
	}
	return p.in.called.Addr
}

// ring has a baresip call the other, through a node, and both talk.
func (w *way) ring(ctx context.Context, through string, phone siptest.Baresip) {
	t := w.t
	t.Helper()
	w.phones[0] = w.start(phone, 0)
	if err := w.phones[0].Dial(fmt.Sprintf("sip:%s@%s", w.phone[1], through)); err != nil {
		t.Fatal(err)
	}
	for i, phone := range w.phones {
		if _, err := phone.Await(ctx, "CALL_ESTABLISHED", 0); err != nil {
			t.Fatalf("%s: %v", w.name, err)
		}
		w.ears[i] = phone.Ear(t)
	}
	for _, ear := range w.ears {
		w.await(ctx, "a baresip hears the other", func() bool { return ear.Heard() > time.Second })
	}
}

// call has sipp place its calls through a node, and waits until all are answered.
func (w *way) call(ctx context.Context, through string) {
	w.t.Helper()
	w.calling = siptest.Sipp{
		Scenario: siptest.UACGoesOn, Script: siptest.Script{From: w.numbers[0], MediaFile: siptest.ToneFile(w.t, 440, 0)},
		Remote: through, Service: w.numbers[1], Calls: w.calls, AtOnce: w.calls, Rate: 20, Host: w.sipp, Netns: w.netns, Timeout: 2 * toneFor,
	}.Start(w.t)
	w.await(ctx, "all calls of sipp are answered", func() bool { return w.calling.Noted(siptest.NoteAnswered) == w.calls })
}

// await waits for something that must happen, for a minute.
func (p *peers) await(ctx context.Context, what string, happened func() bool) {
	p.t.Helper()
	if !p.happens(ctx, happened) {
		p.fail("not for a minute: %s", what)
		p.t.FailNow()
	}
}

// fail is for what must not be. A short run shares its machine with other tests:
// when that has not let a node run for as long as it may be unheard, so that it was
// cut off and let go of its calls, which is another fault, nothing is said.
func (p *peers) fail(format string, args ...any) {
	p.t.Helper()
	if p.nodes != nil && size(1, 0) == 1 {
		for _, n := range p.nodes() {
			if strings.Contains(n.logText(p.t), "fenced: this node hears no majority") {
				p.t.Skipf("%s was cut off from its cluster, because this machine did not let it run: %s", n.name, fmt.Sprintf(format, args...))
			}
		}
	}
	p.t.Errorf(format, args...)
}

func (p *peers) happens(ctx context.Context, what func() bool) bool {
	for end := time.Now().Add(time.Minute); !what(); {
		if ctx.Err() != nil || time.Now().After(end) {
			return false
		}
		time.Sleep(20 * time.Millisecond)
	}
	return true
}

// followed is how often calls of sipp, that of these it has, went elsewhere.
func followed(ends ...*siptest.SippRun) (n int) {
	for _, end := range ends {
		n += end.Noted(siptest.NoteFollowed)
	}
	return n
}

// anew begins to measure what is not heard, when all answers are acknowledged and
// on record.
func (p *peers) anew() {
	time.Sleep(3 * time.Second)
	for _, w := range p.ways() {
		for _, ear := range w.ears {
			ear.Anew()
		}
	}
}

// goOn waits until every baresip hears the other again.
func (p *peers) goOn(ctx context.Context) {
	p.t.Helper()
	marks := map[*siptest.Ear]time.Duration{}
	for _, w := range p.ways() {
		for _, ear := range w.ears {
			marks[ear] = ear.Heard()
		}
	}
	for _, w := range p.ways() {
		for i, ear := range w.ears {
			if !p.happens(ctx, func() bool { return ear.Heard() > marks[ear]+2*time.Second }) {
				p.fail("%s: the %s of baresip hears nothing any more\n%s", w.name, endNames[i], w.phones[i].Log())
			}
		}
	}
}

// endNames are those of a call's ends.
var endNames = [2]string{"caller", "callee"}

// end hangs up, tells what became of everything, and asks that nothing was lost.
func (p *peers) end(ctx context.Context, row string) {
	p.t.Helper()
	calls, lost, dialogs, asked, moves, gaps := 0, 0, 0, 0, 0, ""
	for _, w := range p.ways() {
		for i, ear := range w.ears {
			longest, now := ear.Silence()
			gaps += fmt.Sprintf("; %s, %s: %v silent at once, %v missing", w.name, endNames[i], round(max(longest, now)), round(ear.Missing()))
		}
		calls += w.calls + 1
		gone := w.hangUp(ctx)
		lost += gone
		placed, came, err := w.results(ctx)
		if err != nil {
			p.fail("%s: %v", w.name, err)
		}
		lost += max(w.calls-placed.Successful, w.calls-came.Successful)
		dialogs += max(0, came.Created-w.calls) + w.more()
		for _, end := range []*siptest.SippRun{w.calling, w.called} {
			asked += end.Noted(siptest.NoteAsked)
			moves += end.Noted(siptest.NoteFollowed)
		}
		w.listen()
	}
	p.t.Logf("%s: %d calls, %d lost; SIP peers saw %d new dialogs, of sipp's calls %d times one followed a re-INVITE, and %d were asked by OPTIONS%s", row, calls, lost, dialogs, moves, asked, gaps)
	if lost > 0 || dialogs > 0 {
		p.fail("%d of %d calls were lost, %d new dialogs", lost, calls, dialogs)
	}
}

// hangUp ends the calls, by those who placed them. It returns how many calls of
// baresip were over before.
func (w *way) hangUp(ctx context.Context) (gone int) {
	w.t.Helper()
	for _, phone := range w.phones {
		for _, e := range phone.Events() {
			if e.Type == "CALL_CLOSED" {
				w.fail("%s: the call of a baresip ended: %+v\n%s", w.name, e, phone.Log())
				gone = 1
			}
		}
	}
	if gone == 0 {
		if err := w.phones[0].HangUp(); err != nil {
			w.t.Fatal(err)
		}
		if _, err := w.phones[1].Await(ctx, "CALL_CLOSED", 0); err != nil {
			w.fail("%s: a baresip was not hung up: %v", w.name, err)
			gone = 1
		}
	}
	w.calling.HangUp(w.t)
	return gone
}

// results are what sipp says of the calls at either end. Where the caller has lost
// some, the callee waits for ever.
func (w *way) results(ctx context.Context) (placed, came siptest.SippResult, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if placed, err = w.calling.Result(ctx); err != nil {
		return placed, came, fmt.Errorf("caller: %w", err)
	}
	if placed.Failed > 0 {
		return placed, siptest.SippResult{Created: w.calls, Successful: placed.Successful}, fmt.Errorf("sipp has lost calls: %s\n%s", w.calling.Trouble(), w.calling.Messages())
	}
	if came, err = w.called.Result(ctx); err != nil {
		return placed, came, fmt.Errorf("callee: %w", err)
	}
	if came.Failed > 0 {
		err = fmt.Errorf("sipp has lost calls that it answered: %s\n%s", w.called.Trouble(), w.called.Messages())
	}
	return placed, came, err
}

// more is how many calls too many the baresip had that is called.
func (w *way) more() (n int) {
	for _, e := range w.phones[1].Events() {
		if e.Type == "CALL_INCOMING" {
			n++
		}
	}
	return max(0, n-1)
}

// listen asks that what each baresip heard in the end is the other's tone; how pure
// it is depends on how much this machine has to do.
func (w *way) listen() {
	w.t.Helper()
	for i, ear := range w.ears {
		samples, rate, err := ear.End(time.Second)
		if err != nil {
			w.t.Error(err)
			continue
		}
		if tone := bridgetest.ToneLevel(samples, rate); math.Abs(tone.Hz-w.hz[1-i]) > 10 {
			w.fail("%s: at the end the %s of baresip heard %v, want %.0f Hz", w.name, endNames[i], tone, w.hz[1-i])
		}
	}
}
