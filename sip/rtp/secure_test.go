package rtp

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtp"

	"riptide/bridge"
	"riptide/sip/sdp"
)

func key(suite string, b byte) sdp.Crypto {
	s, _ := sdp.SuiteNamed(suite)
	return sdp.Crypto{Tag: 1, Suite: suite, Key: bytes.Repeat([]byte{b}, s.Key+s.Salt)}
}

const aes80 = "AES_CM_128_HMAC_SHA1_80"

func protected(a sdp.Agreed, ours, theirs sdp.Crypto) sdp.Agreed {
	a.Audio.Protection = sdp.Protection{Keying: sdp.SDES, Ours: ours, Theirs: theirs}
	return a
}

// crossing hands what one port sends to another, without sockets. It can lose
// packets, or keep them.
type crossing struct {
	to     *Port
	from   netip.AddrPort
	now    *time.Time
	drop   bool
	report bool
	kept   [][]byte
	keep   bool
}

func (c *crossing) send(b []byte, _ netip.AddrPort) error {
	if c.keep {
		c.kept = append(c.kept, slices.Clone(b))
	}
	switch {
	case c.drop:
	case c.report:
		c.to.audio.onRTCP(b, c.from, *c.now)
	default:
		c.to.audio.onRTP(b, c.from, *c.now)
	}
	return nil
}

// pair is two ports that protect what they send each other.
type pair struct {
	a, b  *Port
	now   time.Time
	ab    *crossing
	heard *counter
	n     uint64
}

// counter checks what comes without keeping it.
type counter struct{ frames, wrong int }

func (c *counter) Push(f *bridge.Frame) {
	c.frames++
	if len(f.Payload) != 160 || f.Payload[0] != 0x5a || f.Payload[159] != 0x5a {
		c.wrong++
	}
}

func newPair(ours, theirs sdp.Crypto) *pair {
	p := &pair{a: inMemory(), b: inMemory(), now: start, heard: &counter{}}
	clock := func() time.Time { return p.now }
	p.a.now, p.b.now = clock, clock
	p.a.Configure(protected(agreed(said), ours, theirs))
	p.b.Configure(protected(agreed(said), theirs, ours))
	p.b.Join(p.heard)
	p.ab = &crossing{to: p.b, from: said, now: &p.now}
	p.a.audio.tx.out = p.ab
	p.a.audio.rc.out = &crossing{to: p.b, from: said, now: &p.now, report: true}
	return p
}

var speech = bytes.Repeat([]byte{0x5a}, 160)

// talk sends n packets from a to b.
func (p *pair) talk(n int) {
	f := bridge.Frame{Codec: bridge.PCMU, Payload: speech}
	for range n {
		p.n++
		p.now = p.now.Add(20 * time.Millisecond)
		f.Seq, f.Timestamp = p.n, p.n*160
		p.a.Push(&f)
	}
}

// wrap sends 200 packets, with a wrap of the numbers after the first half.
func (p *pair) wrap() {
	p.a.audio.tx.line.seq = 1<<16 - 101
	p.talk(200)
}

func TestEverySuite(t *testing.T) {
	t.Parallel()
	for _, s := range sdp.Suites() {
		p := newPair(key(s.Name, 1), key(s.Name, 2))
		p.ab.keep = true
		p.talk(100)
		if p.heard.frames != 100 || p.heard.wrong != 0 {
			t.Errorf("%s: %d frames, %d of them wrong", s.Name, p.heard.frames, p.heard.wrong)
		}
		if bytes.Contains(p.ab.kept[0], speech[:32]) {
			t.Errorf("%s: speech is readable", s.Name)
		}
		p.a.audio.report(p.now)
		if st := p.b.Stats(); st.Undecrypted != 0 || st.Malformed != 0 || st.Security != s.Name || p.b.audio.rx.srAt.IsZero() {
			t.Errorf("%s: %+v, report at %v", s.Name, st, p.b.audio.rx.srAt)
		}
	}
}

// https://github.com/sipwise/rtpengine/issues/1443: a re-INVITE that repeats the
// keys leaves the roll-over counters as they are.
func TestRolloverCounterSurvivesReinvite_rtpengine1443(t *testing.T) {
	t.Parallel()
	for _, s := range sdp.Suites() {
		ours, theirs := key(s.Name, 1), key(s.Name, 2)
		p := newPair(ours, theirs)
		p.wrap()
		p.a.Configure(protected(agreed(nat), ours, theirs))
		p.b.Configure(protected(agreed(said), theirs, ours))
		p.talk(100)
		if st := p.b.Stats(); p.heard.frames != 300 || p.heard.wrong != 0 || st.Undecrypted != 0 || st.Lost != 0 {
			t.Errorf("%s: %d frames, %d wrong: %+v", s.Name, p.heard.frames, p.heard.wrong, st)
		}
	}
}

// https://github.com/pjsip/pjproject/issues/2682, under SRTP: 20 minutes and more,
// with a new address of the peer after the first wrap, and loss around it.
func TestLongCallUnderSRTP_pjproject2682(t *testing.T) {
	t.Parallel()
	ours, theirs := key("AEAD_AES_128_GCM", 1), key("AEAD_AES_128_GCM", 2)
	p := newPair(ours, theirs)
	minute := 60 * 50
	lost := 0
	for m := range 30 {
		p.talk(minute - 100)
		p.ab.drop = m%3 == 1
		if p.ab.drop {
			lost += 100
		}
		p.talk(100)
		p.ab.drop = false
		switch m {
		case 5, 23: // before and after the wrap
			p.b.Configure(protected(agreed(nat), theirs, ours))
			p.ab.from = nat
		case 12, 26:
			p.b.Configure(protected(agreed(said), theirs, ours))
			p.ab.from = said
		}
	}
	st := p.b.Stats()
	if want := 30*minute - lost; p.heard.frames != want || p.heard.wrong != 0 || st.Undecrypted != 0 || st.Lost != uint64(lost) {
		t.Errorf("%d frames, want %d, %d wrong: %+v", p.heard.frames, want, p.heard.wrong, st)
	}
}

// A party that comes into a call late knows no roll-over counter: with keys of
// its own both begin at 0.
func TestNewKeysBeginAnew(t *testing.T) {
	t.Parallel()
	p := newPair(key(aes80, 1), key(aes80, 2))
	p.wrap()
	late := inMemory()
	late.now = p.a.now
	heard := &counter{}
	late.Join(heard)
	p.a.Configure(protected(agreed(nat), key(aes80, 3), key(aes80, 4)))
	late.Configure(protected(agreed(said), key(aes80, 4), key(aes80, 3)))
	p.ab.to = late
	p.talk(100)
	if heard.frames != 100 || heard.wrong != 0 {
		t.Errorf("%d frames, %d wrong: %+v", heard.frames, heard.wrong, late.Stats())
	}
}

func TestPacketsOnTheirWayWhileKeysChange(t *testing.T) {
	t.Parallel()
	p := newPair(key(aes80, 1), key(aes80, 2))
	p.talk(10)
	p.b.Configure(protected(agreed(said), key(aes80, 2), key(aes80, 5)))
	p.talk(5) // still under the old key
	if st := p.b.Stats(); p.heard.frames != 15 || st.Undecrypted != 0 {
		t.Errorf("%d frames: %+v", p.heard.frames, st)
	}
	p.now = p.now.Add(rekeyOverlap)
	p.talk(5)
	if st := p.b.Stats(); p.heard.frames != 15 || st.Undecrypted != 5 {
		t.Errorf("after the overlap %d frames: %+v", p.heard.frames, st)
	}
}

func TestWhatIsNotThePeers(t *testing.T) {
	t.Parallel()
	p := newPair(key(aes80, 1), key(aes80, 2))
	p.ab.keep = true
	p.talk(20)
	b := p.b.audio
	replayed := p.ab.kept[12]
	b.onRTP(replayed, said, p.now)
	forged := slices.Clone(p.ab.kept[19])
	forged[3]++
	b.onRTP(forged, said, p.now)
	clear := rtp.Packet{Header: rtp.Header{Version: 2, SSRC: 77, SequenceNumber: 1}, Payload: speech}
	plain, err := clear.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	b.onRTP(plain, said, p.now)
	b.onRTP(plain, spoof, p.now)
	b.onRTCP([]byte{0x80, 201, 0, 1, 0, 0, 0, 7}, said, p.now)
	if st := p.b.Stats(); p.heard.frames != 20 || st.Duplicate != 1 || st.Undecrypted != 3 || st.Foreign != 1 || st.Malformed != 0 {
		t.Errorf("%d frames: %+v", p.heard.frames, st)
	}
	if st := p.b.Stats(); st.Lost != 0 || b.rx.src.ssrc != p.a.audio.tx.ssrc {
		t.Errorf("what was not the peer's left a trace: %+v", st)
	}
}

// Before the answer to our offer nobody knows a key: nothing leaves, and what
// comes is not taken for speech.
func TestNothingWithoutAKey(t *testing.T) {
	t.Parallel()
	p := newPair(key(aes80, 1), key(aes80, 2))
	early := agreed(said)
	early.Audio.Protection.Keying = sdp.Pending
	p.b.Configure(early)
	p.talk(3)
	p.b.Push(frame(1))
	if st := p.b.Stats(); p.heard.frames != 0 || st.Undecrypted != 3 || st.Sent != 0 || st.SendDropped != 1 {
		t.Errorf("%d frames: %+v", p.heard.frames, st)
	}
	p.b.Configure(agreed(said))
	if p.a.Configure(agreed(said)); p.a.Stats().Security != "" {
		t.Error("still protected")
	}
	if p.talk(3); p.heard.frames != 3 {
		t.Errorf("%d frames in the clear, want 3", p.heard.frames)
	}
}

func TestNoAllocationsUnderSRTP(t *testing.T) {
	for _, s := range sdp.Suites() {
		p := newPair(key(s.Name, 1), key(s.Name, 2))
		p.talk(lockAfter)
		f := bridge.Frame{Codec: bridge.PCMU, Payload: speech}
		limit := 0.0
		if raceDetector {
			limit = 1 // the hash keeps its states in a sync.Pool, which the race detector makes forgetful
		}
		if n := testing.AllocsPerRun(1000, func() {
			p.n++
			p.now = p.now.Add(20 * time.Millisecond)
			f.Seq, f.Timestamp = p.n, p.n*160
			p.a.Push(&f)
		}); n > limit {
			t.Errorf("%s: %v allocations per packet, protected and opened", s.Name, n)
		}
		if p.heard.frames < 1000 {
			t.Errorf("%s: only %d frames", s.Name, p.heard.frames)
		}
	}
}

func BenchmarkSRTP(b *testing.B) {
	for _, s := range sdp.Suites() {
		b.Run(s.Name, func(b *testing.B) {
			p := newPair(key(s.Name, 1), key(s.Name, 2))
			b.ReportAllocs()
			b.ResetTimer()
			p.talk(b.N)
		})
	}
}

// FuzzSecureMedia: whatever comes where SRTP is expected is counted once, and
// never handed on.
func FuzzSecureMedia(f *testing.F) {
	p := newPair(key(aes80, 1), key(aes80, 2))
	p.ab.keep = true
	p.talk(3)
	f.Add(p.ab.kept[0], p.ab.kept[1])
	f.Add([]byte{0x80, 200, 0, 1, 0, 0, 0, 7}, []byte{22, 254, 255, 0, 0})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		for _, s := range sdp.Suites() {
			p := newPair(key(s.Name, 3), key(s.Name, 4))
			for _, packet := range [][]byte{a, b, a} {
				p.b.audio.onRTP(packet, said, start)
				p.b.audio.onReports(packet, said, start)
			}
			st := p.b.Stats()
			if p.heard.frames != 0 || st.Received != 0 {
				t.Fatalf("%s: took %x", s.Name, a)
			}
			if sum := st.Undecrypted + st.Malformed + st.Duplicate + st.Foreign + st.UnknownPayload; sum > 6 {
				t.Fatalf("%s: six packets are counted %d times: %+v", s.Name, sum, st)
			}
		}
	})
}
