package rtp

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"riptide/bridge"
	"riptide/sip/sdp"
)

// reborn is a port without sockets that goes on from a record, as another
// process reads it.
func reborn(t *testing.T, st State, now func() time.Time, a sdp.Agreed) *Port {
	t.Helper()
	text, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	var read State
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	p := inMemory()
	p.now = now
	p.audio = p.newStream(bridge.Audio)
	p.audio.rc.out, p.audio.tx.out = full{}, full{}
	p.audio.tx.restored(read, now(), false)
	p.audio.rx.restored(read)
	p.audio.rc.inherits, p.audio.rc.first = true, p.audio.tx.line.seq+1
	p.audio.kept = &read
	p.Configure(a)
	return p
}

// A crash takes one end of a protected call, at every place around a wrap of its
// numbers, and another process goes on from a record that is up to a minute old:
// each end opens what the other sends.
func TestProtectedStreamGoesOnFromARecord(t *testing.T) {
	t.Parallel()
	for _, suite := range []string{aes80, "AEAD_AES_256_GCM"} {
		for _, before := range []int{5, 100, 101, 3100} {
			for _, stale := range []int{0, 98, 2950} {
				for _, down := range []time.Duration{0, 20 * time.Second} {
					name := fmt.Sprintf("%s: record at %d, %d packets after it, down for %v", suite, before, stale, down)
					ours, theirs := key(suite, 1), key(suite, 2)
					p := newPair(ours, theirs)
					back := &crossing{to: p.a, from: said, now: &p.now}
					p.b.audio.tx.out = back
					p.a.audio.tx.line.seq, p.b.audio.tx.line.seq = 1<<16-101, 1<<16-101
					reply := func(n int) {
						for i := range n {
							p.b.Push(&bridge.Frame{Codec: bridge.PCMU, Seq: p.n - uint64(n) + uint64(i), Timestamp: (p.n - uint64(n) + uint64(i)) * 160, Payload: speech})
						}
					}
					p.talk(before)
					reply(before)
					st := p.a.State()
					p.talk(stale)
					reply(stale)
					if p.heard.frames != before+stale {
						t.Fatalf("%s: %d heard before", name, p.heard.frames)
					}
					p.now = p.now.Add(down)
					lost := int(down / (20 * time.Millisecond))
					p.n += uint64(lost)
					back.drop = true
					reply(lost)
					back.drop = false
					clock := p.a.now
					p.a = reborn(t, st, clock, protected(agreed(said), ours, theirs))
					p.a.audio.tx.out = p.ab
					heard := &counter{}
					p.a.Join(heard)
					back.to = p.a
					was := p.heard.frames
					p.talk(30)
					reply(30)
					if got := p.heard.frames - was; got != 30 || p.b.Stats().Undecrypted > 0 || p.heard.wrong > 0 {
						t.Errorf("%s: the peer hears %d, %+v", name, got, p.b.Stats())
					}
					if heard.frames != 30 || heard.wrong > 0 {
						t.Errorf("%s: we hear %d, %+v", name, heard.frames, p.a.Stats())
					}
					if again := p.a.State(); again.Cycles != 1 && (before+stale > 100) {
						t.Errorf("%s: next record has roll-over %d, was %d", name, again.Cycles, st.Cycles)
					}
				}
			}
		}
	}
}

// The record is from before the peer's first packet, whose numbers wrap before the
// crash.
func TestRecordOfBeforeThePeerSpoke(t *testing.T) {
	t.Parallel()
	for _, before := range []int{0, 50, 100, 200} { // 100: the next number is 0
		ours, theirs := key(aes80, 1), key(aes80, 2)
		p := newPair(theirs, ours)
		st := p.b.State()
		p.a.audio.tx.line.seq = 1<<16 - 101
		p.talk(before)
		again := reborn(t, st, p.a.now, protected(agreed(said), ours, theirs))
		heard := &counter{}
		again.Join(heard)
		p.ab.to = again
		p.talk(30)
		if heard.frames != 30 {
			t.Errorf("after %d packets: %d heard, %+v", before, heard.frames, again.Stats())
		}
	}
}

// The gap that a crash leaves is not loss of what the new process sends.
func TestLossBeforeTheRecordIsNotOurs(t *testing.T) {
	t.Parallel()
	p := newPair(key(aes80, 1), key(aes80, 2))
	p.talk(100)
	st := p.a.State()
	again := reborn(t, st, p.a.now, protected(agreed(said), key(aes80, 1), key(aes80, 2)))
	p.a = again
	p.a.audio.tx.out = p.ab
	report := func() uint64 {
		p.b.audio.rc.out = &crossing{to: p.a, from: said, now: &p.now, report: true}
		p.b.audio.report(p.now)
		return p.a.Stats().PeerLost
	}
	if lost := report(); lost != 0 { // it has not heard us yet
		t.Errorf("%d lost before anything was sent", lost)
	}
	p.now = p.now.Add(time.Second)
	p.talk(50)
	if lost := report(); lost != 0 {
		t.Errorf("%d lost by the gap", lost)
	}
	p.ab.drop = true
	p.talk(10)
	p.ab.drop = false
	p.talk(1)
	if lost := report(); lost != 10 {
		t.Errorf("%d lost, want 10", lost)
	}
}

// What was heard before the record is not heard again by the process that goes
// on from it.
func TestRecordKeepsOutWhatWasHeard(t *testing.T) {
	t.Parallel()
	ours, theirs := key(aes80, 1), key(aes80, 2)
	p := newPair(theirs, ours)
	p.ab.keep = true
	p.talk(50)
	old := slices.Clone(p.ab.kept)
	again := reborn(t, p.b.State(), p.a.now, protected(agreed(said), ours, theirs))
	heard := &counter{}
	again.Join(heard)
	for _, b := range old {
		again.audio.onRTP(b, said, p.now)
	}
	if st := again.Stats(); heard.frames != 0 || st.Undecrypted != 50 {
		t.Errorf("%d heard, %+v", heard.frames, st)
	}
	p.ab.to = again
	p.talk(1)
	if heard.frames != 1 {
		t.Errorf("and then %d", heard.frames)
	}
}

// Two processes never protect two packets under one index, even if nobody hears
// of the first one's.
func TestNoIndexIsUsedTwice(t *testing.T) {
	t.Parallel()
	k := key(aes80, 1)
	p := newPair(k, key(aes80, 2))
	p.ab.keep = true
	p.talk(10)
	st := p.a.State()
	p.talk(500)
	last := p.a.audio.tx.left
	index := p.a.State().Reports
	p.a.audio.report(p.now)
	again := reborn(t, st, p.a.now, protected(agreed(said), k, key(aes80, 2)))
	if next := again.State(); int16(next.Seq-last) <= 0 || next.Reports <= index {
		t.Errorf("goes on at %d and %d, the one before had come to %d and %d", next.Seq, next.Reports, last, index)
	}
}

// Opus counts 48000 Hz: the stream of a record goes on in that clock, under its SSRC.
func TestRecordHasAClock(t *testing.T) {
	t.Parallel()
	a := agreed(said)
	opus := sdp.Format{Payload: 96, Name: "opus", Clock: 48000, Channels: 2}
	a.Audio.Send, a.Audio.Receive = []sdp.Format{opus}, []sdp.Format{opus}
	p := inMemory()
	p.Configure(a)
	p.audio.tx.out = &crossing{to: inMemory(), from: said, now: &time.Time{}, drop: true}
	p.Push(&bridge.Frame{Codec: bridge.Opus, Seq: 1, Timestamp: 960, Payload: []byte{1}})
	st := p.State()
	again := reborn(t, st, p.now, a)
	if next := again.State(); next.SSRC != st.SSRC || next.Clock != 48000 {
		t.Errorf("%+v goes on as %+v", st, next)
	}
}

// Keys from a handshake are in the record: the call goes on without another one.
func TestDTLSGoesOnFromARecord(t *testing.T) {
	t.Parallel()
	for name, muxed := range map[string]bool{"reports on the media's port": true, "reports on their own": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b, configure := dtlsPair(t, muxed)
			configure(true)
			waitFor(t, func() bool { return a.Stats().Security != "" && b.Stats().Security != "" })
			if !muxed {
				waitFor(t, func() bool { return a.State().DTLSReports != nil })
			}
			agreedOn := agreed(b.Local())
			agreedOn.Audio.RTCPMux = muxed
			agreedOn.Audio.RemoteRTCP = netip.AddrPortFrom(loopback, b.Local().Port()+1)
			agreedOn.Audio.Protection = sdp.Protection{Keying: sdp.DTLS, Fingerprint: sdp.Fingerprint{Hash: "sha-256"}, Active: true}
			st := a.State()
			if text := fmt.Sprintf("%v %+v %#v", st, *st.DTLS, st.DTLS.Ours); strings.Contains(text, fmt.Sprint([]byte(st.DTLS.Ours[:4]))) || !strings.Contains(text, "redacted") {
				t.Errorf("keys are printed: %s", text)
			}
			silence(a)
			rec := newRecorder()
			b.Join(rec)
			again, err := a.pool.Open(Options{Restore: &st, Reports: 20 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { again.Close() })
			again.Configure(agreedOn)
			for i := range 20 {
				again.Push(frame(uint64(i + 1)))
			}
			rec.wait(t, 20)
			heard := newRecorder()
			again.Join(heard)
			for i := range 20 {
				b.Push(frame(uint64(i + 1)))
			}
			heard.wait(t, 20)
			next := uint64(21)
			waitFor(t, func() bool {
				again.Push(frame(next))
				next++
				b.audio.rx.mu.Lock()
				defer b.audio.rx.mu.Unlock()
				return !b.audio.rx.srAt.IsZero()
			})
		})
	}
}

// silence ends a port as a crash does: without a goodbye.
func silence(p *Port) {
	p.audio.tx.mu.Lock()
	p.audio.tx.out = full{}
	p.audio.tx.mu.Unlock()
	p.audio.rc.outMu.Lock()
	p.audio.rc.out = full{}
	p.audio.rc.outMu.Unlock()
	p.Close()
}

// The port of a record that is taken goes to nobody twice.
func TestPortOfARecordIsTaken(t *testing.T) {
	t.Parallel()
	port, _, _ := openPort(t)
	st := port.State()
	pool := &Pool{addr: loopback, lo: st.Local.Port(), hi: st.Local.Port() + 1, now: time.Now}
	if _, err := pool.Open(Options{Restore: &st}); err == nil || len(pool.free) != 0 {
		t.Errorf("error %v, free %v", err, pool.free)
	}
	pool.free = []resting{{port: st.Local.Port(), since: time.Now()}}
	if _, err := pool.Open(Options{Restore: &st}); err == nil || len(pool.free) != 1 {
		t.Errorf("error %v, free %v", err, pool.free)
	}
	moved, err := port.pool.Open(Options{Restore: &st, Moved: true})
	if err != nil {
		t.Fatal(err)
	}
	defer moved.Close()
	if next := moved.State(); next.SSRC != st.SSRC || next.Local == st.Local {
		t.Errorf("%+v moved to %+v", st, next)
	}
}
