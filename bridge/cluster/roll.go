package cluster

import (
	"maps"
	"slices"
	"time"
)

// The times of the rules.
const (
	beatEvery = 200 * time.Millisecond
	// leaseTime leaves machines that stand still for a moment, all at once, their
	// calls; what it is shorter than deadAfter is what clocks may differ by, and the
	// time that a node has to fall silent.
	leaseTime = 2200 * time.Millisecond
	deadAfter = 3 * time.Second
	// Others' grants of the last process are forgotten: who holds calls says so
	// when it hears us, well within this.
	quietTime = 3 * time.Second
	// A call that was got is on record long before: the store is without a leader
	// for seconds.
	grantTime = 10 * time.Minute
	maxGrants = 200_000
	// A process begins with the time of day as its term. If the clock was set back
	// since the process before it began, it hears of the term of that one, which is
	// higher, and goes on from there: nobody listens to a lower one.
	maxTerm = 1 << 63
)

// outcome is what a node says to a claim.
type outcome string

const (
	granted outcome = "granted"
	lives   outcome = "lives" // the owner does
	taken   outcome = "taken" // this epoch or a higher one is another's
	quiet   outcome = "quiet" // we have just begun, and do not know yet
)

// verdict is a node's answer to a claim.
type verdict struct {
	Outcome outcome       `json:"o,omitempty"`
	Wait    time.Duration `json:"w,omitempty"` // of lives and quiet: when it may be another
	Owner   string        `json:"n,omitempty"` // of taken: whose it is
	Epoch   uint64        `json:"e,omitempty"`
}

// roll is what one node knows of the others, and the rules of doc.go. It has no
// clock and sends nothing. Times of one roll are of one clock.
type roll struct {
	self  string
	nodes []string // all that are configured, self among them
	began time.Time
	term  uint64
	since time.Time // when the term began

	peers  map[string]*peer
	grants map[string]grant // by call
	gifts  map[string]gift  // calls that others gave us
	gave   map[string]gave  // calls that we gave away
	held   bool             // the lease, at the last look
}

// peer is what we heard of another node.
type peer struct {
	term    uint64
	sent    int64     // of its last beat, by its clock
	heard   time.Time // when, by ours
	goodbye bool
	retires bool
	keys    []string  // by which it seals and opens; none = it did not say
	buried  uint64    // terms up to this one are confirmed no more
	echo    time.Time // when we had sent the last of our beats that it confirmed; zero = none of this term
}

// grant is that a node has a call, as far as we are concerned.
type grant struct {
	claim
	at     time.Time
	before *grant // what withdrawing it brings back
}

func newRoll(self string, nodes []string, term uint64, now time.Time) *roll {
	return &roll{self: self, nodes: nodes, began: now, term: term, since: now, peers: map[string]*peer{}, grants: map[string]grant{}, gifts: map[string]gift{}, gave: map[string]gave{}}
}

// peer finds or notes a node. One that we never heard has been missing since we
// began.
func (r *roll) peer(name string) *peer {
	p := r.peers[name]
	if p == nil {
		p = &peer{heard: r.began}
		if len(r.peers) < 2*maxNodes { // more than are configured: a node that was taken out of the configuration
			r.peers[name] = p
		}
	}
	return p
}

func (r *roll) majority() int { return len(r.nodes)/2 + 1 }

// beat is what to send now.
func (r *roll) beat(now time.Time) beat {
	b := beat{Node: r.self, Term: r.term, Sent: int64(now.Sub(r.began)), Heard: map[string]echo{}, Latest: map[string]uint64{}}
	for name, p := range r.peers {
		if p.term == 0 || !slices.Contains(r.nodes, name) {
			continue
		}
		b.Latest[name] = p.term
		if p.term > p.buried {
			b.Heard[name] = echo{p.term, p.sent}
		}
	}
	return b
}

// hear notes another's beat. It tells one of a process that we did not know.
func (r *roll) hear(now time.Time, b beat) (stranger bool) {
	if b.Node == r.self {
		return false
	}
	r.lease(now) // a lease that has ended unnoticed does not go on
	p := r.peer(b.Node)
	if b.Term < p.term || b.Term == p.term && b.Sent < p.sent {
		return false // of a process that is gone, or late
	}
	stranger = b.Term > p.term
	if stranger {
		p.echo = time.Time{}
	}
	if of := b.Latest[r.self]; of > r.term && of < maxTerm {
		r.held = false
		r.begin(now, of+1)
	}
	p.retires = b.Retires
	p.goodbye = b.Goodbye || p.goodbye && !stranger // a beat of the same moment takes nothing back
	p.term, p.sent, p.heard, p.keys = b.Term, b.Sent, now, b.Keys
	if e := b.Heard[r.self]; e.Term == r.term && e.Sent <= int64(now.Sub(r.began)) {
		if sent := r.began.Add(time.Duration(e.Sent)); sent.After(p.echo) {
			p.echo = sent
		}
	}
	return stranger
}

// leaseEnd is until when we have the lease, by what was confirmed so far. It is
// in the past where we have none.
func (r *roll) leaseEnd(now time.Time) time.Time {
	confirmed := []time.Time{now} // by ourselves
	for _, name := range r.nodes {
		if name != r.self {
			confirmed = append(confirmed, r.peer(name).echo)
		}
	}
	slices.SortFunc(confirmed, func(a, b time.Time) int { return b.Compare(a) })
	return confirmed[r.majority()-1].Add(leaseTime)
}

// lease tells whether we hold the lease, and begins a new term when it was lost,
// or was not to be had: others may have buried this one.
func (r *roll) lease(now time.Time) bool {
	had := r.held
	r.held = r.leaseEnd(now).After(now)
	if had && !r.held || !r.held && now.Sub(r.since) > deadAfter {
		r.begin(now, r.term+1)
	}
	return r.held
}

// begin begins a term, which nobody has confirmed yet.
func (r *roll) begin(now time.Time, term uint64) {
	r.term, r.since = term, now
	for _, p := range r.peers {
		p.echo = time.Time{}
	}
}

// vote answers a claim. refused is that the owner's address refuses connections
// now, so that its process is gone.
func (r *roll) vote(now time.Time, c claim, refused bool) verdict {
	if young := now.Sub(r.began); young < quietTime && len(r.nodes) > 1 {
		return verdict{Outcome: quiet, Wait: quietTime - young}
	}
	owner, free := c.Owner, c.given()
	if g, ok := r.grants[c.Call]; ok {
		again := g.Claimant == c.Claimant && c.Term >= g.Term && c.Epoch >= g.Epoch
		if !again && c.Epoch <= g.Epoch {
			return verdict{Outcome: taken, Owner: g.Claimant, Epoch: g.Epoch}
		}
		owner, free = g.Claimant, free && c.Given.covers(c.Owner, g)
	}
	if owner != c.Claimant && !free {
		if wait := r.alive(now, owner, refused && owner == c.Owner); wait > 0 {
			return verdict{Outcome: lives, Wait: wait, Owner: owner}
		}
		r.bury(owner)
	}
	if !r.note(now, c) {
		return verdict{Outcome: quiet, Wait: time.Second} // full: another may have room
	}
	return verdict{Outcome: granted}
}

// alive says for how long a node counts as alive without another beat; 0 = it is
// dead.
func (r *roll) alive(now time.Time, name string, refused bool) time.Duration {
	if name == r.self {
		return deadAfter // we are
	}
	p := r.peer(name)
	if p.goodbye || refused {
		return 0
	}
	return max(0, deadAfter-now.Sub(p.heard))
}

// missing are the others that do not count as alive.
func (r *roll) missing(now time.Time) (names []string) {
	for _, name := range r.nodes {
		if r.alive(now, name, false) == 0 {
			names = append(names, name)
		}
	}
	return names
}

// bury makes that no lease of a node's present term is confirmed by us any more.
func (r *roll) bury(name string) {
	p := r.peer(name)
	p.buried = max(p.buried, p.term)
}

// note keeps a grant.
func (r *roll) note(now time.Time, c claim) bool {
	var before *grant
	if g, ok := r.grants[c.Call]; ok {
		before = &g
		if g.Claimant == c.Claimant && g.Epoch == c.Epoch {
			before = g.before // asked again
		}
		if before != nil {
			before.before = nil // one step back is all that a claimant takes
		}
	} else if len(r.grants) >= maxGrants {
		return false
	}
	r.grants[c.Call] = grant{claim: c, at: now, before: before}
	return true
}

// withdraw takes a grant back that was of no use to the claimant.
func (r *roll) withdraw(c claim) {
	g, ok := r.grants[c.Call]
	switch {
	case !ok || g.Epoch != c.Epoch || g.Claimant != c.Claimant || g.Term != c.Term:
	case g.before != nil:
		r.grants[c.Call] = *g.before
	default:
		delete(r.grants, c.Call)
	}
}

// learn notes that a node has a call: a majority granted it.
func (r *roll) learn(now time.Time, c claim) {
	if g, ok := r.grants[c.Call]; !ok || g.Epoch < c.Epoch || g.Epoch == c.Epoch && g.Claimant != c.Claimant {
		r.note(now, c)
	}
}

// forget drops grants that are on record by now.
func (r *roll) forget(now time.Time) {
	maps.DeleteFunc(r.grants, func(_ string, g grant) bool { return now.Sub(g.at) > grantTime })
	r.forgetGifts(now)
}

// ours are the calls that this process was granted.
func (r *roll) ours() []claim {
	var calls []claim
	for _, g := range r.grants {
		if g.Claimant == r.self && g.Term <= r.term {
			calls = append(calls, g.claim)
		}
	}
	return calls
}

// tally counts the verdicts on one claim.
type tally struct {
	majority int
	nodes    []string
	owner    string             // whose the call was, unless it was the claimant's own
	verdicts map[string]verdict // by node
}

func newTally(majority int, nodes []string, c claim) tally {
	t := tally{majority: majority, nodes: nodes, verdicts: map[string]verdict{}}
	if c.Owner != c.Claimant {
		t.owner = c.Owner
	}
	return t
}

// count notes a verdict. Strangers and repetitions do not count.
func (t *tally) count(from string, v verdict) {
	if slices.Contains(t.nodes, from) {
		t.verdicts[from] = v
	}
}

// result says how it stands: granted, or the reason why it cannot be any more;
// "" = wait for more verdicts. Who grants has found the owner dead: nobody waits
// for the owner's verdict then, so that of two who ask at once both learn it at
// once.
func (t *tally) result() verdict {
	yes, answered := 0, len(t.verdicts)
	var no verdict
	for _, v := range t.verdicts {
		switch {
		case v.Outcome == granted:
			yes++
		case rank(v.Outcome) > rank(no.Outcome) || v.Outcome == no.Outcome && v.Epoch > no.Epoch:
			no = v
		case v.Outcome == no.Outcome && v.Wait < no.Wait:
			no.Wait = v.Wait
		}
	}
	if _, spoke := t.verdicts[t.owner]; yes > 0 && !spoke && slices.Contains(t.nodes, t.owner) {
		answered++
	}
	switch silent := len(t.nodes) - answered; {
	case yes >= t.majority:
		return verdict{Outcome: granted}
	case yes+silent < t.majority:
		return no
	}
	return verdict{}
}

// rank orders reasons by what they tell the claimant.
func rank(o outcome) int {
	return slices.Index([]outcome{"", quiet, lives, taken}, o)
}
