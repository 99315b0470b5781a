package sip

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"

	"riptide/bridge"
)

// maxQueued is how many messages from the network wait in one mailbox. Beyond
// it a datagram is dropped, as the network might have done, and the reader of
// a stream waits, so that TCP slows the sender down.
const maxQueued = 256

// errOver says that a mailbox has nothing left to work for.
var errOver = errors.New("the call is over")

// mailbox serialises everything that happens under one Call-ID. Its fields
// below the queue belong to whoever works on the queue.
type mailbox struct {
	agent  *Agent
	callID string

	mu       sync.Mutex
	room     sync.Cond
	queue    []task
	messages int // part of queue that came from the network
	running  bool
	dead     bool

	server map[string]*serverTx
	client map[string]*clientTx
	legs   []*Leg
	claims *claiming            // nil: nothing waits for a call of another node
	away   map[string]*serverTx // what another node answers, for as long as it may
}

type task struct {
	run     func()
	message bool
}

func newMailbox(a *Agent, callID string) *mailbox {
	m := &mailbox{agent: a, callID: callID, server: map[string]*serverTx{}, client: map[string]*clientTx{}}
	m.room.L = &m.mu
	return m
}

// post queues work of our own: timers, transactions that end, what the bridge
// asks. There is one such task at most for each of them, so they need no limit.
func (m *mailbox) post(f func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.add(task{run: f})
}

// deliver queues a message from the network. wait says that its sender can be
// made to wait. It returns errOver if the mailbox died meanwhile, errFull if
// the message was not taken.
func (m *mailbox) deliver(f func(), wait bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.messages >= maxQueued && !m.dead {
		if !wait {
			return errFull
		}
		m.room.Wait()
	}
	if !m.add(task{run: f, message: true}) {
		return errOver
	}
	return nil
}

var errFull = errors.New("too many messages are waiting")

func (m *mailbox) add(t task) bool {
	if !m.running && !m.dead {
		m.dead = !m.agent.work.Go(m.run) // false: the agent is gone
		m.running = !m.dead
	}
	if m.dead {
		return false
	}
	m.queue = append(m.queue, t)
	if t.message {
		m.messages++
	}
	return true
}

// run works off the queue, and ends with it. When nothing is left to work for,
// the mailbox is forgotten.
func (m *mailbox) run() {
	for {
		m.mu.Lock()
		if len(m.queue) == 0 {
			m.queue, m.running = nil, false
			m.dead = len(m.server) == 0 && len(m.client) == 0 && len(m.legs) == 0 && m.claims == nil && len(m.away) == 0
			dead := m.dead
			m.room.Broadcast()
			m.mu.Unlock()
			if dead {
				m.agent.forget(m)
			}
			return
		}
		t := m.queue[0]
		m.queue = m.queue[1:]
		if t.message {
			m.messages--
			m.room.Signal()
		}
		m.mu.Unlock()
		m.work(t)
	}
}

// work does one task. Should it panic, that is the end of what is under this
// Call-ID, and of nothing else.
func (m *mailbox) work(t task) {
	defer func() {
		if r := recover(); r != nil {
			m.broke(r)
		}
	}()
	t.run()
}

func (m *mailbox) broke(why any) {
	m.agent.cfg.Logger.Error("a call ends because of a fault in riptide; please report it", "callId", clip(m.callID, 128), "panic", why, "stack", string(debug.Stack()))
	for _, l := range append([]*Leg{}, m.legs...) {
		l.ended(bridge.CauseInternal.With("a fault in riptide ended the call; the log has it").EndedBy(bridge.ByBridge), nil)
		if l.dlg != nil && (l.state == confirmed || l.state == answered) {
			_ = l.bye(bridge.CauseInternal)
		}
	}
	m.clear()
}

// do runs f in the mailbox and waits for it. It must not be called from there.
func (m *mailbox) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	if !m.post(func() { f(); close(done) }) {
		return errOver
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leg finds the leg of a dialog by its tags.
func (m *mailbox) leg(localTag, remoteTag string) *Leg {
	for _, l := range m.legs {
		if l.dialogOf(localTag, remoteTag) != nil {
			return l
		}
	}
	return nil
}

// dropLeg forgets a leg, and in the end whatever INVITE of it has no answer.
func (m *mailbox) dropLeg(l *Leg) {
	for i, x := range m.legs {
		if x == l {
			m.legs = append(m.legs[:i], m.legs[i+1:]...)
			break
		}
	}
	for _, c := range m.client {
		if len(m.legs) == 0 && c.req.IsInvite() && c.final == 0 {
			c.forsake()
		}
	}
}
