package media

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"riptide/bridge"
	"riptide/h3/chunk"
)

// While there is no carrier five seconds of speech are kept. When there is one
// again, what is said goes out at once, what was said lately before it, and the
// rest behind it at such a pace that all of it is four times real time. Toward
// the telephone goes what can still be played.
func TestAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := NewPort(Config{}), NewPort(Config{Server: true})
		var heard listener
		server.Join(&heard)
		var wg sync.WaitGroup
		var mu sync.Mutex
		var crossed []time.Time // packets, since the carrier is back
		connect := func(epoch uint64) (cut func()) {
			a, b := wires()
			a.lose = func(b []byte) bool {
				if c, err := chunk.Parse(b); err == nil && !c.Control && len(c.Media) > 0 {
					mu.Lock()
					crossed = append(crossed, time.Now())
					mu.Unlock()
				}
				return false
			}
			for p, w := range map[*Port]*wire{client: a, server: b} {
				d := p.begin(w, epoch, "peer")
				wg.Go(func() { _ = p.carry(d) })
			}
			return a.close
		}
		n := 0
		say := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); n++ {
				client.Push(speech(n))
				time.Sleep(20 * time.Millisecond)
			}
		}
		cut := connect(0)
		say(2 * time.Second)
		cut()
		wg.Wait()
		synctest.Wait()
		before := len(heard.heard())
		say(8 * time.Second)
		outage := n
		if s := client.Stats(); s.SendDropped < 125 || s.SendDropped > 150 {
			t.Errorf("8 s without a carrier: %+v", s)
		}
		mu.Lock()
		crossed = nil
		mu.Unlock()
		back := time.Now()
		cut = connect(1)
		say(3 * time.Second)
		cut()
		client.Close()
		server.Close()
		wg.Wait()

		got := heard.heard()[before:]
		if first := int(got[0].Seq) - 1; outage-first > 12 || outage-first < 8 {
			t.Errorf("the first frame after the outage is %d before its end", outage-first)
		}
		for i, f := range got {
			if i > 0 && f.Seq != got[i-1].Seq+1 {
				t.Errorf("frame %d behind %d", f.Seq, got[i-1].Seq)
			}
		}
		s := server.Stats()
		if s.Late < 225 || s.Late > 250 || s.Received+s.Late+s.Lost != uint64(n) {
			t.Errorf("of %d: %+v", n, s)
		}
		// Four times real time: 240 packets of before and 50 a second of now.
		in := func(from, to time.Duration) (n int) {
			for _, at := range crossed {
				if d := at.Sub(back); d >= from && d < to {
					n++
				}
			}
			return n
		}
		if n := in(0, time.Second); n < 190 || n > 215 {
			t.Errorf("%d packets in the first second", n)
		}
		if n := in(2*time.Second, 3*time.Second); n != 50 {
			t.Errorf("%d packets in the third", n)
		}
	})
}

// A queue stays short while there is a carrier, however slow that is.
func TestACarrierThatIsSlowGetsNoBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPort(Config{})
		c := &slow{p: p, takes: make(chan struct{})}
		p.attach(c, 0, "peer")
		for n := range 500 {
			p.Push(speech(n))
			time.Sleep(20 * time.Millisecond)
		}
		if s := p.Stats(); s.SendDropped < 500-queueMost-1 {
			t.Errorf("%+v", s)
		}
		close(c.takes)
		p.Close()
	})
}

func TestTooOld(t *testing.T) {
	type packet struct {
		at, millis int // ms
		behind     bool
		old        bool
	}
	steadily := func(from, to, delay int) (out []packet) {
		for m := from; m < to; m += 20 {
			out = append(out, packet{at: m + delay, millis: m})
		}
		return out
	}
	// burst is what was said between from and to and comes at four times the pace.
	burst := func(from, to, at int, old func(late int) bool) (out []packet) {
		for m := from; m < to; m += 20 {
			out = append(out, packet{at: at, millis: m, old: old(at - m)})
			at += 5
		}
		return out
	}
	all := func(ps ...[]packet) (out []packet) {
		for _, p := range ps {
			out = append(out, p...)
		}
		return out
	}
	overPlayable := func(late int) bool { return late > 30+200 }
	for name, packets := range map[string][]packet{
		"steady":                      steadily(0, 10000, 30),
		"a clock that is an hour off": steadily(3600000, 3610000, -3600000+30),
		"a path that becomes slower":  all(steadily(0, 3000, 30), []packet{{at: 3000 + 430, millis: 3000}}, steadily(3020, 9000, 430)),
		"a path that becomes faster":  all(steadily(0, 3000, 430), steadily(3000, 9000, 30)),
		"a busy moment":               all(steadily(0, 1000, 30), burst(1000, 1400, 1430, func(int) bool { return false })),
		"held back for 5 s, in order": all(steadily(0, 1000, 30), burst(1000, 7600, 6030, overPlayable)),
		"behind what is newer":        all(steadily(0, 1000, 30), []packet{{at: 6030, millis: 6000}, {at: 6031, millis: 1020, behind: true, old: true}, {at: 6050, millis: 6020}, {at: 6051, millis: 5900, behind: true}}),
		"silence":                     all(steadily(0, 1000, 30), steadily(9000, 12000, 30)),
		"nonsense":                    {{at: 0, millis: 1}, {at: 1, millis: 1 << 62}, {at: 2, millis: -1 << 62}, {at: 3, millis: 0}},
	} {
		t.Run(name, func(t *testing.T) {
			var l lateness
			began := time.Unix(1e9, 0)
			for i, p := range packets {
				got := l.tooOld(uint64(1e12+p.millis), !p.behind, began.Add(time.Duration(p.at)*time.Millisecond))
				if got != p.old && name != "nonsense" {
					t.Fatalf("packet %d %+v: too old %v", i, p, got)
				}
			}
		})
	}
}

// Speech that is late for good, at its own pace, is handed on: the path is what
// it is.
func TestAPathThatStaysSlowIsHeardAgain(t *testing.T) {
	var l lateness
	began := time.Unix(1e9, 0)
	dropped := 0
	for n := range 500 {
		at := time.Duration(20*n) * time.Millisecond
		if n > 100 {
			at += 2 * time.Second // for good
		}
		if l.tooOld(uint64(1e12)+uint64(20*n), true, began.Add(at)) {
			dropped++
		}
	}
	if dropped == 0 || dropped > steady {
		t.Errorf("%d packets dropped", dropped)
	}
}

// Digits are not dropped: what they mean does not become old.
func TestLateDigitsAreHandedOn(t *testing.T) {
	p := NewPort(Config{})
	defer p.Close()
	var heard listener
	p.Join(&heard)
	say := func(seq, millis uint64, pt bridge.Codec) {
		c := chunk.Chunk{
			Seq: chunk.FullNumber(seq), Timestamp: chunk.FullNumber(millis), Clock: chunk.FullNumber(8 * millis),
			PayloadType: uint64(pt), Source: 1, Sink: 1, Media: []byte{5, 10, 0, 160},
		}
		p.receive(c.Append(nil), WebTransport, 0)
	}
	say(1, 1e6, bridge.PCMU)
	say(400, 1e6+8000, bridge.PCMU)
	say(2, 1e6+20, bridge.TelephoneEvent)
	say(3, 1e6+40, bridge.PCMU)
	if s := p.Stats(); s.Received != 3 || s.Late != 1 {
		t.Errorf("%+v", s)
	}
}

// Digits beside Opus count in their own clock, also where numbers are truncated.
func TestDigitsBesideOpus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server, end := pairOf(both(false), both(true), nil)
		defer end()
		var heard listener
		server.Join(&heard)
		var want []*bridge.Frame
		push := func(c bridge.Codec, ts uint64) {
			f := &bridge.Frame{Codec: c, Seq: uint64(9000 + len(want)), Timestamp: ts, Payload: []byte{5, 10, 0, 160}}
			want = append(want, f)
			client.Push(f)
			time.Sleep(20 * time.Millisecond)
		}
		const start = 1 << 33 // beyond what a truncated clock holds
		for n := range uint64(300) {
			if n%100 > 90 {
				push(bridge.TelephoneEvent, start+160*(n-n%10))
			} else {
				push(bridge.Opus, 6*start+960*n)
			}
		}
		time.Sleep(time.Second)
		got := heard.heard()
		if len(got) != len(want) {
			t.Fatalf("%d of %d", len(got), len(want))
		}
		for i, f := range got {
			if f.Codec != want[i].Codec || f.Timestamp != want[i].Timestamp {
				t.Fatalf("frame %d: %v at %d, want %v at %d", i, f.Codec, f.Timestamp, want[i].Codec, want[i].Timestamp)
			}
		}
		if s := server.Stats(); s.Jitter > 5*time.Millisecond {
			t.Errorf("%+v", s)
		}
	})
}
