package main_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"riptide/sip/siptest"
)

// conversations are calls between telephones that never stop speaking, at both ends.
type conversations struct {
	t     *testing.T
	mu    sync.Mutex
	calls []conversation
	stop  func()
}

// conversation is one call.
type conversation struct {
	caller, callee *siptest.Phone
	ends           [2]*siptest.Speech // what the caller and the callee say, and hear
}

// startConversations calls the callees of the boxes, but for the last, by way of a node.
func (b *boxes) startConversations(ctx context.Context, by string) *conversations {
	b.t.Helper()
	w := &conversations{t: b.t}
	for i := range len(b.callees) - 1 {
		w.calls = append(w.calls, b.call(ctx, by, i))
	}
	w.speak()
	return w
}

// call calls one callee.
func (b *boxes) call(ctx context.Context, by string, callee int) conversation {
	b.t.Helper()
	host, _, _ := net.SplitHostPort(b.callees[callee])
	c := conversation{
		caller: (&siptest.Phone{User: officeNumber, Host: b.pbx, Netns: b.phones}).Start(b.t),
		callee: (&siptest.Phone{User: b.number(callee), Host: host, Port: 5060, Netns: b.phones}).Start(b.t),
	}
	if err := c.caller.Call(ctx, b.nodes[by].sip, b.number(callee)); err != nil {
		b.t.Fatal(err)
	}
	if err := c.callee.Talks(ctx); err != nil {
		b.t.Fatal(err)
	}
	c.ends = [2]*siptest.Speech{c.caller.Speech(b.t, 1), c.callee.Speech(b.t, 1)}
	return c
}

// speak begins to send what every end says, one packet each 20 ms.
func (w *conversations) speak() {
	over := make(chan struct{})
	var speaking sync.WaitGroup
	speaking.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			for _, c := range w.all() {
				for _, end := range c.ends {
					_ = end.Say() // what is not sent is not heard
				}
			}
			select {
			case <-tick.C:
			case <-over:
				return
			}
		}
	})
	w.stop = sync.OnceFunc(func() {
		close(over)
		speaking.Wait()
	})
	w.t.Cleanup(w.stop)
}

// add has one more go on with the others.
func (w *conversations) add(c conversation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, c)
}

func (w *conversations) all() []conversation {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls
}

// heard waits until every end has heard so many packets more.
func (w *conversations) heard(ctx context.Context, more uint64) {
	w.t.Helper()
	var before [][2]uint64
	for _, c := range w.calls {
		before = append(before, [2]uint64{c.ends[0].Heard().Packets, c.ends[1].Heard().Packets})
	}
	for i, c := range w.calls {
		for s, end := range c.ends {
			for end.Heard().Packets < before[i][s]+more {
				select {
				case <-time.After(20 * time.Millisecond):
				case <-ctx.Done():
					w.t.Fatalf("call %d: the %s hears nothing: %+v", i, [2]string{"caller", "callee"}[s], end.Heard())
				}
			}
		}
	}
}

// longest says how long each end heard nothing at most.
func (w *conversations) longest() string {
	text := ""
	for _, c := range w.calls {
		text += fmt.Sprintf("%v and %v; ", c.ends[0].Heard().Longest.Round(time.Millisecond), c.ends[1].Heard().Longest.Round(time.Millisecond))
	}
	return text
}

// hangUp ends every call, by its caller.
func (w *conversations) hangUp(ctx context.Context) {
	w.t.Helper()
	w.stop()
	for _, c := range w.calls {
		if err := c.caller.HangUp(ctx); err != nil {
			w.t.Fatal(err)
		}
		if err := c.callee.Over(ctx); err != nil {
			w.t.Fatal(err)
		}
	}
}
