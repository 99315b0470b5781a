package media

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"riptide/h3/chunk"
)

func TestOutboxPacksInOrder(t *testing.T) {
	t.Parallel()
	p := lanePort(t)
	o := newOutbox()
	const n, size = 20, 200
	for i := range n {
		if !o.put(uint64(i+1), p, message{body: bytes.Repeat([]byte{byte(i)}, size), packets: 1, first: uint64(i + 1), last: uint64(i + 1)}) {
			t.Fatal("a small chunk is refused")
		}
	}
	if o.put(1, p, message{body: make([]byte, maxPacket)}) {
		t.Error("a chunk that no path takes was packed")
	}
	if !o.put(1, p, message{body: make([]byte, maxDatagram+100)}) {
		t.Error("a chunk that the path may take was not")
	}
	var d parcel
	next := uint64(1)
	for datagrams := 0; ; datagrams++ {
		ok, wait := o.take(&d, 0)
		if !ok {
			if wait != 0 || datagrams != 5 {
				t.Errorf("%d datagrams, wait %v", datagrams, wait)
			}
			break
		}
		for rest := d.buf; len(rest) > 0; {
			call, one, after, err := chunk.NextBundled(rest)
			if err != nil {
				t.Fatal(err)
			}
			if len(one) == size && call != next {
				t.Errorf("call %d, want %d", call, next)
			}
			next, rest = next+1, after
		}
		if len(d.buf) > maxDatagram && len(d.items) != 1 {
			t.Errorf("a datagram of %d bytes holds %d chunks", len(d.buf), len(d.items))
		}
		d.settle(nil)
	}
	if st := p.Stats(); st.Sent != n {
		t.Errorf("%+v", st)
	}
}

func TestOutboxWaitsATickForMore(t *testing.T) {
	t.Parallel()
	o := newOutbox()
	o.put(1, nil, message{body: make([]byte, 100)})
	var d parcel
	if ok, wait := o.take(&d, time.Hour); ok || wait <= 0 || wait > time.Hour {
		t.Errorf("a datagram with room: %v %v", ok, wait)
	}
	if ok, _ := o.take(&d, 0); !ok {
		t.Error("it is kept though nothing is to be waited for")
	}
	for range 12 {
		o.put(1, nil, message{body: make([]byte, 150)})
	}
	if ok, _ := o.take(&d, time.Hour); !ok || len(d.buf) < maxDatagram/2 {
		t.Errorf("a full datagram waits: %v, %d bytes", ok, len(d.buf))
	}
}

func TestOutboxDropsTheOldest(t *testing.T) {
	t.Parallel()
	p := lanePort(t)
	o := newOutbox()
	for i := range outboxSize + 10 {
		o.put(1, p, message{body: make([]byte, maxDatagram-10), packets: 1, first: uint64(i + 1), last: uint64(i + 1)})
	}
	if st := p.Stats(); st.SendDropped != 10 {
		t.Errorf("%+v", st)
	}
	o.close()
	o.put(1, p, message{body: []byte{1}, packets: 1, first: 1, last: 1})
	if st := p.Stats(); st.SendDropped != outboxSize+11 {
		t.Errorf("at the end: %+v", st)
	}
}

func TestInboxDropsTheOldest(t *testing.T) {
	t.Parallel()
	b := newInbox()
	for i := range inboxSize + 5 {
		b.put([]byte{byte(i), byte(i >> 8)})
	}
	if got := b.take(t.Context()); got[0] != 5 || b.drops() != 5 {
		t.Errorf("%v is the oldest, %d dropped", got, b.drops())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range inboxSize - 1 {
		if b.take(ctx) == nil {
			t.Fatal("it is empty too early")
		}
	}
	if b.take(ctx) != nil {
		t.Error("there is one too many")
	}
}

func TestJudgeOfPaths(t *testing.T) {
	t.Parallel()
	now := time.Now()
	a := path{limit: fewSeats}
	judge := func(after time.Duration, crossed, lost uint64) bool {
		now = now.Add(after)
		return a.judge(books{crossed, lost}, now)
	}
	judge(time.Second, 500, 0)
	for want := 2 * fewSeats; want <= mostSeats; want *= 2 {
		for range 5 {
			if judge(time.Second, 500, 0) {
				t.Fatal("a clean path is called lossy")
			}
		}
		if a.limit != want {
			t.Errorf("clean for five seconds more: %d, want %d", a.limit, want)
		}
	}
	if judge(time.Second, 500, 20); a.limit == fewSeats {
		t.Error("one bad second made it lossy")
	}
	if judge(time.Second, 500, 1); a.limit == fewSeats || a.row != 0 {
		t.Error("two of a thousand are none too many")
	}
	judge(time.Second, 990, 10)
	if !judge(time.Second, 990, 10) || a.limit != fewSeats {
		t.Errorf("two bad seconds: %+v", a)
	}
	a.limit = mostSeats
	if !judge(time.Second, 400, 300) || a.limit != fewSeats {
		t.Errorf("a session that has collapsed: %+v", a)
	}
	for range 100 {
		if judge(time.Second, 1, 0); a.limit != fewSeats {
			t.Fatal("a path that nobody uses was called clean")
		}
	}
}

// TestCallsSpreadAndGather: calls change their sessions while they talk, and
// nothing is lost by it.
func TestCallsSpreadAndGather(t *testing.T) {
	t.Parallel()
	const calls = 25
	s := newSite(t, true)
	pool := s.connect(t)
	sessions := pool.sessions(t)
	sessions.full(calls)
	c := newCrowd(t, s, pool, sessions, calls)
	var talking sync.WaitGroup
	talking.Go(func() { c.talk(5 * time.Second) })
	held := func() (sizes []int) {
		sessions.mu.Lock()
		defer sessions.mu.Unlock()
		for _, x := range sessions.all {
			sizes = append(sizes, len(x.held))
		}
		return sizes
	}
	sessions.mu.Lock()
	sessions.path.limit = fewSeats
	sessions.spread()
	sessions.mu.Unlock()
	eventually(t, "calls spread", func() bool {
		sum, most := 0, 0
		for _, n := range held() {
			sum, most = sum+n, max(most, n)
		}
		return sum == calls && most <= fewSeats // the old seats are given back
	})
	eventually(t, "calls gathered", func() bool {
		sessions.mu.Lock()
		sessions.path.limit = 2 * calls
		sessions.gather()
		sessions.closeIdle(time.Now())
		sessions.mu.Unlock()
		sizes := held()
		return len(sizes) == 1 && sizes[0] == calls
	})
	talking.Wait()
	if a := c.settle(); c.worst < stalled && (a.lost != 0 || a.dropped != 0) {
		t.Errorf("%v", a)
	}
	for i := range c.clients {
		if st := c.clients[i].Stats(); st.Carrier != "trunk-session" {
			t.Errorf("call %d is on %s", i, st.Carrier)
		}
	}
}

// TestABlockedSessionStopsNobody: the congestion window of one session is
// closed; calls on the other do not notice, and no call's pump waits.
func TestABlockedSessionStopsNobody(t *testing.T) {
	t.Parallel()
	blockedOne, open := newTrunkSession("blocked"), newTrunkSession("open")
	until := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { blockedOne.run(&stuckSession{until: until}, "peer") })
	flowing := &stuckSession{sent: make(chan []byte, 1000)}
	running.Go(func() { open.run(flowing, "peer") })
	defer running.Wait()
	defer blockedOne.cancel()
	defer open.cancel()
	defer close(until)
	var ports []*Port
	for n := range 20 {
		p := lanePort(t)
		ports = append(ports, p)
		on := blockedOne
		if n%2 == 1 {
			on = open
		}
		at := &seat{t: on, tag: uint64(n + 1), p: p}
		if !on.sit(at) {
			t.Fatal("no place")
		}
		p.attach(at, 0, "peer")
	}
	const frames = 1000
	for n := range frames {
		for _, p := range ports {
			p.Push(speech(n))
		}
		if n%50 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	eventually(t, "the open session is empty", func() bool {
		for n := 1; n < len(ports); n += 2 {
			if st := ports[n].Stats(); st.Sent+st.SendDropped != frames {
				return false
			}
		}
		return true
	})
	for n, p := range ports {
		st := p.Stats()
		if n%2 == 1 && st.Sent == 0 {
			t.Errorf("call %d on the open session: %+v", n, st)
		}
		if n%2 == 0 && st.SendDropped == 0 {
			t.Errorf("call %d on the blocked one has dropped nothing: %+v", n, st)
		}
	}
}

// stuckSession sends when it may, and receives nothing.
type stuckSession struct {
	until chan struct{} // nil: at once
	sent  chan []byte
}

func (s *stuckSession) SendDatagram(b []byte) error {
	if s.until != nil {
		<-s.until
	}
	select {
	case s.sent <- bytes.Clone(b):
	default:
	}
	return nil
}

func (s *stuckSession) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestSeats(t *testing.T) {
	t.Parallel()
	var srv Server
	mine, ok := srv.trunks.add("me")
	if !ok {
		t.Fatal("no session")
	}
	p := NewPort(Config{Server: true})
	defer p.Close()
	if _, err := srv.Join("other", mine.id, p, 0); !errors.Is(err, ErrNoSession) {
		t.Errorf("a stranger: %v", err)
	}
	if _, err := srv.Join("me", "nonsense", p, 0); !errors.Is(err, ErrNoSession) {
		t.Errorf("a session that is none: %v", err)
	}
	var last uint64
	for n := range 5 {
		tag, err := srv.Join("me", mine.id, p, uint64(n))
		if err != nil || tag != last+1 {
			t.Errorf("tag %d, %v", tag, err)
		}
		last = tag
		if p.carriers.current() != nil {
			t.Error("nothing has come, and it is used already")
		}
	}
	if n := mine.taken.Load(); n != maxHeldSeats {
		t.Errorf("a call holds %d seats", n)
	}
	// The first chunk makes it the carrier; one of another tag is strange.
	one := chunk.Chunk{Seq: chunk.FullNumber(1), Timestamp: chunk.FullNumber(1), Source: 1, Sink: 1, Media: []byte{1}}
	mine.give(last+1, one.Append(nil))
	mine.give(last, one.Append(nil))
	if c, _ := p.carriers.current().(*seat); c == nil || c.tag != last || mine.strange.Load() != 1 {
		t.Errorf("carrier %v, %d strange", p.carriers.current(), mine.strange.Load())
	}
	if st := p.Stats(); st.Received != 1 {
		t.Errorf("%+v", st)
	}
	mine.end()
	if p.carriers.current() != nil {
		t.Error("the session is over, and carries")
	}
	if _, err := srv.Join("me", mine.id, p, 9); !errors.Is(err, ErrNoSession) {
		t.Errorf("of a session that is over: %v", err)
	}
	for range maxOwnedSessions - 1 {
		if _, ok := srv.trunks.add("me"); !ok {
			t.Fatal("too few sessions")
		}
	}
	if _, ok := srv.trunks.add("me"); ok {
		t.Error("one session too many")
	}
	if _, ok := srv.trunks.add("other"); !ok {
		t.Error("and nobody else gets one")
	}
	srv.trunks.remove(mine, "me")
	if _, ok := srv.trunks.add("me"); !ok {
		t.Error("a place that is free again")
	}
}

// TestRubbishOnATrunkSession harms no call of it.
func TestRubbishOnATrunkSession(t *testing.T) {
	t.Parallel()
	s := newSite(t, true)
	pool := s.connect(t)
	sessions := pool.sessions(t)
	c := newCrowd(t, s, pool, sessions, 3)
	sessions.mu.Lock()
	wt := sessions.all[0].s
	sessions.mu.Unlock()
	for n := range 200 {
		for _, b := range [][]byte{
			{}, {0}, {1}, {0xff}, fmt.Appendf(nil, "rubbish %d", n), {1, 3, 1, 2, 3},
			chunk.AppendBundled(nil, 0, []byte{1, 2, 3}), chunk.AppendBundled(nil, 77, []byte{1}),
		} {
			if err := wt.SendDatagram(b); err != nil {
				t.Fatal(err)
			}
		}
	}
	// A flood fills the receiver's queues, and what comes next is dropped. When
	// rubbish for another call is counted the flood has been read.
	eventually(t, "the flood is read", func() bool {
		if err := wt.SendDatagram([]byte{2, 3, 1, 2, 3}); err != nil {
			t.Fatal(err)
		}
		calls := 0
		for _, p := range c.servers {
			if p.Stats().Malformed > 0 {
				calls++
			}
		}
		return calls == 2
	})
	c.talk(500 * time.Millisecond)
	if a := c.settle(); a.lost != 0 && c.worst < stalled {
		t.Errorf("%v", a)
	}
}

func TestStripesThatAreRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, true)
	server := s.call("1", nil)
	pool := s.connect(t)
	ask := func(method, stripe, stripes, epoch string) int {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, method, s.url("1")+"/stripes/"+stripe, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(StripesHeader, stripes)
		r.Header.Set(EpochHeader, epoch)
		resp, err := pool.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusOK { // which has no end
			_, _ = io.Copy(io.Discard, resp.Body)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	for name, tc := range map[string]struct {
		method, stripe, stripes, epoch string
		want                           int
	}{
		"no number of stripes":    {"PUT", "0", "", "0", http.StatusBadRequest},
		"no stripes":              {"PUT", "0", "0", "0", http.StatusBadRequest},
		"one more than there may": {"PUT", "0", "9", "0", http.StatusBadRequest},
		"beyond the last":         {"PUT", "4", "4", "0", http.StatusNotFound},
		"no number":               {"PUT", "x", "4", "0", http.StatusNotFound},
		"no epoch":                {"PUT", "0", "4", "x", http.StatusBadRequest},
		"another method":          {"DELETE", "0", "4", "0", http.StatusMethodNotAllowed},
	} {
		if got := ask(tc.method, tc.stripe, tc.stripes, tc.epoch); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
	if got := ask("GET", "7", "8", "3"); got != http.StatusOK {
		t.Errorf("the last of the most: %d", got)
	}
	if got := ask("GET", "0", "4", "3"); got != http.StatusConflict {
		t.Errorf("another number in the same epoch: %d", got)
	}
	if got := ask("GET", "0", "4", "2"); got != http.StatusNoContent {
		t.Errorf("an older epoch: %d", got)
	}
	server.Close()
	if got := ask("GET", "0", "4", "4"); got != http.StatusNotFound {
		t.Errorf("a call that is over: %d", got)
	}
	r, err := http.NewRequest(http.MethodGet, "https://"+s.addr+"/media", nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := pool.Do(r); err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET of a TG's media: %v, %v", resp, err)
	} else {
		_ = resp.Body.Close()
	}
}

func TestDrainFindsTheSession(t *testing.T) {
	t.Parallel()
	from := make(pipe, 10)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	type got struct {
		session uint64
		text    string
	}
	out := make(chan got, 10)
	var drained sync.WaitGroup
	drained.Go(func() { drain(ctx, from, func(s uint64, b []byte) { out <- got{s, string(b)} }) })
	from <- []byte("\x05five")
	from <- []byte{0x40} // rubbish
	from <- []byte("\x40\x41sixty-five")
	want := map[got]bool{{5, "five"}: true, {65, "sixty-five"}: true}
	for range 2 {
		if g := <-out; !want[g] {
			t.Errorf("%+v", g)
		}
	}
	cancel()
	drained.Wait()
	// A server's connection: what belongs to no session is dropped.
	c := &connection{sessions: map[uint64]func([]byte){1: func(b []byte) { out <- got{1, string(b)} }}}
	c.give(2, []byte("nobody's"))
	c.give(1, []byte("mine"))
	if g := <-out; g.text != "mine" {
		t.Errorf("%+v", g)
	}
}

type pipe chan []byte

func (p pipe) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	select {
	case b := <-p:
		return b, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
