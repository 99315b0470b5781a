package h3

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"riptide/bridge"
)

// TestALostCallIsSought: the node of a call is gone, and the balancer lets whoever
// comes with its cookie wait, and some that come without. The call finds the node
// that has it now, and its byways and media go there.
func TestALostCallIsSought(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	var gone atomic.Bool
	var asked, byways atomic.Int32
	p.onRequest = func(r *http.Request) {
		if !gone.Load() || r.Method == http.MethodPut || strings.HasSuffix(r.URL.Path, "/media") {
			return
		}
		cookie, err := r.Cookie("node")
		dead := err == nil && cookie.Value == "n0"
		if !strings.HasSuffix(r.URL.Path, "/events") {
			dead = asked.Add(1) <= 3 // the first with the cookie, then the balancer's choice
		} else if dead {
			byways.Add(1)
		}
		if dead {
			<-r.Context().Done()
		}
	}
	leg := mustDial(t, p.client(t), testIntent())
	call := p.Call("0")
	expect(t, leg, bridge.Proceeding, false)
	call.Await(t, eventPing)
	p.onlyCookieless(call)
	gone.Store(true)
	p.Drop()
	call.Await(t, eventPing)
	if asked.Load() < 2 {
		t.Error("only the node that is gone was asked")
	}
	t.Logf("asked for %d times; %d byways to the node that is gone", asked.Load(), byways.Load())
	if _, epoch := leg.(*clientLeg).place(); epoch == 0 {
		t.Error("its media do not know that it is somewhere else")
	}
	if err := leg.End(t.Context(), bridge.CauseNormal); err != nil {
		t.Error(err)
	}
}

// TestALostCallStaysAtItsNode: where the node of a call still answers for it, no
// other is asked, and its media stay.
func TestALostCallStaysAtItsNode(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	leg := mustDial(t, p.client(t), testIntent())
	call := p.Call("0")
	expect(t, leg, bridge.Proceeding, false)
	call.Await(t, eventPing)
	p.Drop()
	call.Await(t, eventPing)
	if _, epoch := leg.(*clientLeg).place(); epoch != 0 {
		t.Error("it went elsewhere")
	}
	if err := leg.End(t.Context(), bridge.CauseNormal); err != nil {
		t.Error(err)
	}
}

// TestACallThatWasLedElsewhereIsFollowed: a response of before the loss has brought the
// cookie of another node, which answers for the call. Its media are not there yet.
func TestACallThatWasLedElsewhereIsFollowed(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	leg := mustDial(t, p.client(t), testIntent())
	call := p.Call("0")
	expect(t, leg, bridge.Proceeding, false)
	call.Await(t, eventPing)
	l := leg.(*clientLeg)
	l.jar.Restore(mustURL(t, l.callURI()), map[string]string{"balancer": "another"})
	p.Drop()
	call.Await(t, eventPing)
	if _, epoch := l.place(); epoch == 0 {
		t.Error("its media do not know that it is somewhere else")
	}
	if err := leg.End(t.Context(), bridge.CauseNormal); err != nil {
		t.Error(err)
	}
}

// TestThePeerIsAskedWhenItCanAnswer: a ping that comes before the peer has a byway to
// answer on would say that the stream to it is held up.
func TestThePeerIsAskedWhenItCanAnswer(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	attach := make(chan struct{})
	p.onGet = func(_ http.ResponseWriter, r *http.Request, _ *fakeCall) bool {
		select {
		case <-attach:
		case <-r.Context().Done():
		}
		return false
	}
	leg := mustDial(t, p.client(t), testIntent())
	call := p.Call("0")
	time.Sleep(100 * time.Millisecond)
	call.mu.Lock()
	early := len(call.got)
	call.mu.Unlock()
	close(attach)
	call.Await(t, eventPing)
	if early != 0 {
		t.Errorf("%d events came before", early)
	}
	expect(t, leg, bridge.Proceeding, false)
	if err := leg.End(t.Context(), bridge.CauseNormal); err != nil {
		t.Error(err)
	}
}
