package media

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"riptide/bridge"
)

var (
	errTooManyChunks = errors.New("more chunks than a body may have")
	errClosed        = errors.New("the call's media has ended")
)

// A carrier takes messages to the peer. Its methods are called by the pump.
type carrier interface {
	// ready tells whether send would take a message now. A carrier that becomes
	// ready pokes the port.
	ready() bool

	// send takes a message, of which it keeps nothing after it returns. It calls
	// Port.settle once its fate is known, perhaps later, from any goroutine.
	send(m message)

	about() traits
}

// traits are what the pump has to know of a kind of carrier.
type traits struct {
	rung   Rung // among those of one epoch the highest is used
	framed bool // a message is a body that holds several chunks behind their lengths
	limit  int  // bytes of a message
	starve bool // to be not ready for long is for the peer to mend: panic, and drop
}

// message is what goes out at once: chunks first to last of one stream, of which
// packets are packets. One that is longer than the carrier's limit is a single
// chunk of video, for a stream of its own: send must not wait for that.
type message struct {
	body        []byte
	kind        bridge.Kind
	packets     int
	first, last uint64
}

// carriers are those a port has at the moment.
type carriers struct {
	mu    sync.Mutex
	all   []attached // of one epoch; the one in use is the last
	epoch uint64     // the highest so far
	name  string     // of the latest in use
	peer  string     // address it comes from

	carried atomic.Uint32 // 1 + rung of the last one that had a packet
}

// carry notes that a packet went or came by a carrier of this rung.
func (cs *carriers) carry(r Rung) { cs.carried.Store(uint32(r) + 1) }

type attached struct {
	carrier
	epoch uint64
	peer  string
}

// attach gives the port a carrier. The one with the highest epoch is used, of
// equals the one of the highest rung, then the latest. Those of lower epochs are
// let go of: the client has gone elsewhere, and what is sent after it there is
// lost, where it could wait for the client to come back.
func (p *Port) attach(c carrier, epoch uint64, peer string) {
	cs := &p.carriers
	cs.mu.Lock()
	a := attached{c, epoch, peer}
	cs.all = slices.DeleteFunc(cs.all, func(a attached) bool { return a.carrier == c || a.epoch < epoch })
	if cs.epoch = max(cs.epoch, epoch); epoch == cs.epoch {
		at := len(cs.all)
		for at > 0 && cs.all[at-1].about().rung > c.about().rung {
			at--
		}
		cs.all = slices.Insert(cs.all, at, a)
	}
	cs.changed()
	cs.mu.Unlock()
	p.detour.Store(nil)
	p.Renumber()
}

// detach takes a carrier back.
func (p *Port) detach(c carrier) {
	cs := &p.carriers
	cs.mu.Lock()
	cs.all = slices.DeleteFunc(cs.all, func(a attached) bool { return a.carrier == c })
	cs.changed()
	cs.mu.Unlock()
	p.Renumber()
}

// takeOver attaches a carrier of a server that the client has opened beside its
// requests: the GETs parked so far have done their duty.
func (p *Port) takeOver(c carrier, epoch uint64, peer string) {
	p.attach(c, epoch, peer)
	if p.carriers.uses(c) {
		p.lot.retire()
	}
}

// handBack takes it back. If the client has parked no GET, packets wait in the
// ring until it is here again.
func (p *Port) handBack(c carrier) {
	p.detach(c)
	if !p.lot.ready() {
		p.lot.retire()
	}
}

func (cs *carriers) changed() {
	if n := len(cs.all); n > 0 {
		cs.name, cs.peer = cs.all[n-1].about().rung.Carrier(), cs.all[n-1].peer
	}
}

// current is the carrier in use, or nil.
func (cs *carriers) current() carrier {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if n := len(cs.all); n > 0 {
		return cs.all[n-1].carrier
	}
	return nil
}

// uses tells whether c is the carrier in use.
func (cs *carriers) uses(c carrier) bool { return cs.current() == c }

// describe names the carrier in use or, when the call is over, the one that
// carried its last packet: what it fell back to at the end tells nothing.
func (cs *carriers) describe(over bool) (name, peer string) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if n := cs.carried.Load(); over && n > 0 {
		return Rung(n - 1).Carrier(), cs.peer
	}
	return cs.name, cs.peer
}
