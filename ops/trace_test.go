package ops

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPcap(t *testing.T) {
	t.Parallel()
	at := time.Unix(1700000000, 999999000)
	for _, ends := range [][2]string{{"192.0.2.1:5060", "198.51.100.2:65535"}, {"[2001:db8::1]:1", "[2001:db8::2]:2"}} {
		from, to := netip.MustParseAddrPort(ends[0]), netip.MustParseAddrPort(ends[1])
		for _, payload := range []string{"odd", "even", "", strings.Repeat("x", 60000)} {
			b, err := appendPacket(appendPcapHeader(nil), at, from, to, []byte(payload))
			if err != nil {
				t.Fatal(err)
			}
			r := bytes.NewReader(b)
			if _, err := readPcapHeader(r); err != nil {
				t.Fatal(err)
			}
			record, got, err := readPacket(r, nil)
			if err != nil || string(got) != payload || !bytes.Equal(record, b[pcapHeader:]) {
				t.Errorf("%v: %d bytes come back as %d, %v", ends, len(payload), len(got), err)
			}
			if s := binary.LittleEndian.Uint32(record); s != 1700000000 || binary.LittleEndian.Uint32(record[4:]) != 999999 {
				t.Errorf("sent at %d", s)
			}
		}
	}
	four, six := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("[::1]:1")
	for _, p := range []struct {
		from, to netip.AddrPort
		size     int
	}{{four, four, 65536}, {four, six, 1}, {netip.AddrPort{}, netip.AddrPort{}, 1}} {
		if b, err := appendPacket(nil, at, p.from, p.to, make([]byte, p.size)); err == nil || len(b) > 0 {
			t.Errorf("%+v: written", p)
		}
	}
}

func FuzzReadPacket(f *testing.F) {
	b, _ := appendPacket(nil, time.Unix(1, 0), netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.1:2"), []byte("payload"))
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := readPcapHeader(bytes.NewReader(b)); err == nil && len(b) < pcapHeader {
			t.Error("a header that is cut off")
		}
		record, payload, err := readPacket(bytes.NewReader(b), nil)
		if err == nil && (!bytes.Equal(record, b[:len(record)]) || !bytes.HasSuffix(record, payload)) {
			t.Errorf("%q is read from %q", record, b)
		}
	})
}

// wire is a tracer behind a control socket.
func wire(t *testing.T, running ...RunningCall) (*Tracer, string) {
	t.Helper()
	tracer := NewTracer(nil, func() []RunningCall { return running }, slog.New(slog.DiscardHandler))
	t.Cleanup(tracer.Close)
	state := control(t, Orders{Trace: func(ctx context.Context, o TraceOrder, started func(int) io.Writer) (uint64, string, error) {
		return tracer.Trace(ctx, o, []string{"pbx", "carrier"}, started)
	}})
	return tracer, state
}

func message(callID, from, trunk string, sent bool) SIPMessage {
	return SIPMessage{
		Trunk: trunk, Sent: sent, Local: netip.MustParseAddrPort("127.0.0.1:5060"), Remote: netip.MustParseAddrPort("127.0.0.2:5060"),
		Bytes: fmt.Appendf(nil, "INVITE sip:+12025550199@h SIP/2.0\r\nFrom: <sip:%s@h>;tag=1\r\nCall-ID: %s\r\nAuthorization: Digest response=SECRET\r\n\r\n", from, callID),
	}
}

// TestTrace: a capture has what belongs to the calls that were asked for, on both
// sides, and nothing else.
func TestTrace(t *testing.T) {
	t.Parallel()
	running := []RunningCall{
		{ID: "one", From: "+12025550101", To: "+12025550199", Trunks: []string{"pbx", "carrier"}, Legs: []string{"one-a", "one-b"}},
		{ID: "two", From: "+12025550102", To: "+12025550199", Trunks: []string{"pbx"}, Legs: []string{"two-a"}},
	}
	for name, c := range map[string]struct {
		order TraceOrder
		want  string // Call-IDs of messages
		media int
	}{
		"call":              {TraceOrder{Call: "two", Media: true}, "two-a two-b", 1},
		"call, by its leg":  {TraceOrder{Call: "one-b"}, "one-a", 0},
		"number":            {TraceOrder{Number: "2025550101", Media: true}, "one-a new", 1},
		"number of a leg":   {TraceOrder{Number: "+442079460000"}, "two-a two-b", 0},
		"trunk":             {TraceOrder{Trunk: "carrier"}, "one-a two-a two-b", 0},
		"who has no number": {TraceOrder{Number: "anna"}, "options", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tracer, state := wire(t, running...)
			c.order.For, c.order.Size = "1m", 1<<20
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var file bytes.Buffer
			done, err := Trace(ctx, state, c.order, func() (io.Writer, error) { return &file, nil }, func(now Traced) {
				if now.Messages == 0 && now.Media == 0 { // it has begun
					tracer.Placed(PlacedLeg{Leg: "two-b", Call: "two", From: "+12025550102", To: "+442079460000", Trunk: "carrier"})
					tracer.Message(message("one-a", "+12025550101", "pbx", false))
					tracer.Message(message("new", "+12025550101", "pbx", false))
					tracer.Message(message("two-a", "+12025550102", "pbx", false))
					tracer.Message(message("two-b", "+12025550102", "carrier", true))
					tracer.Message(message("options", "anna", "pbx", false))
					for _, leg := range []string{"one-a", "two-a", "three"} {
						tracer.Media(MediaPacket{Leg: leg, Local: netip.MustParseAddrPort("0.0.0.0:4000"), Remote: netip.MustParseAddrPort("127.0.0.1:4002"), Bytes: make([]byte, 172)})
					}
				}
				if now.Messages == len(strings.Fields(c.want)) && now.Media == c.media {
					stop()
				}
			})
			if err != nil || done.End != "stop" || done.Media != c.media {
				t.Errorf("%+v, %v", done, err)
			}
			var got []string
			r := bytes.NewReader(file.Bytes()[pcapHeader:])
			for {
				_, payload, err := readPacket(r, nil)
				if err != nil {
					break
				}
				if s := scan(payload); s.callID != "" {
					got = append(got, s.callID)
				}
			}
			if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(strings.Fields(c.want)))) {
				t.Errorf("captured %v, want %s", got, c.want)
			}
			if bytes.Contains(file.Bytes(), []byte("SECRET")) {
				t.Error("a secret is in the file")
			}
		})
	}
}

func TestTraceEnds(t *testing.T) {
	t.Parallel()
	tracer, state := wire(t)
	nothing := func() (io.Writer, error) { return io.Discard, nil }
	quiet := func(Traced) {}
	if done, err := Trace(t.Context(), state, TraceOrder{Trunk: "pbx", For: "1ms", Size: 1 << 20}, nothing, quiet); err != nil || done.End != "time" {
		t.Errorf("after its time: %+v, %v", done, err)
	}
	done, err := Trace(t.Context(), state, TraceOrder{Trunk: "pbx", For: "1m", Size: 1000}, nothing, func(Traced) { tracer.Message(message("a", "b", "pbx", true)) })
	if err != nil || done.End != "size" || done.Bytes > 1000 {
		t.Errorf("when it is large: %+v, %v", done, err)
	}
	full := errors.New("no space left")
	if _, err := Trace(t.Context(), state, TraceOrder{Trunk: "pbx", For: "1m", Size: 1000}, func() (io.Writer, error) { return nil, full }, quiet); !errors.Is(err, full) {
		t.Errorf("a file that cannot be written: %v", err)
	}
	for want, o := range map[string]TraceOrder{
		"no call x is running":          {Call: "x", For: "1m", Size: 1},
		`no SIP trunk is called "ript"`: {Trunk: "ript", For: "1m", Size: 1},
		"exactly one":                   {Trunk: "pbx", Call: "x", For: "1m", Size: 1},
		"want exactly":                  {For: "1m", Size: 1},
		`for "soon"`:                    {Trunk: "pbx", For: "soon", Size: 1},
		"size 0":                        {Trunk: "pbx", For: "1m"},
		"at least 6 digits":             {Number: "123", For: "1m", Size: 1},
	} {
		if _, err := Trace(t.Context(), state, o, nothing, quiet); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if tracer.Watching() {
		t.Error("a capture is left")
	}
	if _, err := Trace(t.Context(), t.TempDir(), TraceOrder{Trunk: "pbx"}, nothing, quiet); err == nil || !strings.Contains(err.Error(), "no riptide serve is running") {
		t.Errorf("nobody there: %v", err)
	}
}

// TestTraceNeverBlocks: a reader that does not read loses packets, and nobody
// else waits.
func TestTraceNeverBlocks(t *testing.T) {
	t.Parallel()
	tracer := NewTracer(nil, func() []RunningCall { return nil }, slog.New(slog.DiscardHandler))
	c := newCapture(TraceOrder{Trunk: "pbx"}, nil)
	tracer.add(c)
	for range captureQueued + 10 {
		tracer.Message(message("a", "b", "pbx", true))
	}
	if c.lost.Load() != 10 || len(c.queue) != captureQueued {
		t.Errorf("%d lost, %d waiting", c.lost.Load(), len(c.queue))
	}
}

// TestHEPCollector: a collector gets every message, whoever it is of; one that is
// not there costs nobody anything.
func TestHEPCollector(t *testing.T) {
	t.Parallel()
	l, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tracer := NewTracer(&Collector{Address: l.LocalAddr().String(), Node: 7, Password: "sesame"}, nil, slog.New(slog.DiscardHandler))
	defer tracer.Close()
	for _, sent := range []bool{true, false} {
		m := message("a@b", "c", "pbx", sent)
		m.Local = netip.MustParseAddrPort("0.0.0.0:5060")
		tracer.Message(m)
		b := make([]byte, 65536)
		_ = l.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, err := l.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		p, err := ParseHEP(b[:n])
		ours, theirs := p.From, p.To
		if !sent {
			ours, theirs = theirs, ours
		}
		if err != nil || p.Node != 7 || p.Password != "sesame" || p.Correlation != "a@b" || theirs != m.Remote || !ours.Addr().IsLoopback() || ours.Port() != 5060 {
			t.Errorf("%+v, %v", p, err)
		}
		if bytes.Contains(p.Payload, []byte("SECRET")) || !bytes.Contains(m.Bytes, []byte("SECRET")) {
			t.Errorf("sent %q", p.Payload)
		}
	}
	nobody := NewTracer(&Collector{Address: "127.0.0.1:x"}, nil, slog.New(slog.DiscardHandler))
	for range 3 * hepQueued {
		nobody.Message(message("a", "b", "pbx", true))
	}
	nobody.Close()
	if nobody.hep.sent.Load() > 0 || nobody.hep.full.Load()+nobody.hep.lost.Load()+uint64(len(nobody.hep.queue)) != 3*hepQueued {
		t.Errorf("%d sent, %d and %d dropped", nobody.hep.sent.Load(), nobody.hep.full.Load(), nobody.hep.lost.Load())
	}
}

// TestUnwatchedMediaCostsNothing: without a capture, a packet costs no memory.
func TestUnwatchedMediaCostsNothing(t *testing.T) {
	tracer := NewTracer(nil, nil, slog.New(slog.DiscardHandler))
	p := MediaPacket{Leg: "a", Bytes: make([]byte, 172)}
	if n := testing.AllocsPerRun(100, func() { tracer.Media(p) }); n > 0 || tracer.Watching() {
		t.Errorf("%v allocations", n)
	}
}
