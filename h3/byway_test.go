package h3

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// readAll reads events until the stream ends.
func readAll(r io.Reader) (types []string, unknown uint64, err error) {
	b := newBywayReader(r)
	for {
		ev, err := b.Next()
		if err != nil {
			return types, b.Unknown(), err
		}
		types = append(types, ev.Type)
	}
}

func TestBywayReader(t *testing.T) {
	t.Parallel()
	pad := func(n int) string { // an event of exactly n bytes
		head, tail := `{"type":"ping","nonce":"`, `"}`
		return head + strings.Repeat("x", n-len(head)-len(tail)) + tail
	}
	tests := map[string]struct {
		in      string
		want    string // types, joined by a space
		unknown uint64
		err     error
	}{
		"proper":            {`[{"type":"ping"},` + "\n" + `{"type":"end"}]`, "ping end", 0, io.EOF},
		"no commas":         {`[{"type":"ping"}{"type":"end"}]`, "ping end", 0, io.EOF},
		"heartbeats":        {"\n [ \r\n\t {\"type\":\"ping\"} \n\n\n , \n ] \n", "ping", 0, io.EOF},
		"empty":             {`[]`, "", 0, io.EOF},
		"aliases":           {`[{"type":"ended"},{"type":"moved"}]`, "end migrate", 0, io.EOF},
		"unknown types":     {`[{"type":"no-such-event"},{"type":"end"},{}]`, "end", 2, io.EOF},
		"unknown members":   {`[{"type":"ping","x":{"y":["}",{"z":"\"}\\"}]}}]`, "ping", 0, io.EOF},
		"not closed":        {`[{"type":"ping"}`, "ping", 0, errBywayBroken},
		"cut in an event":   {`[{"type":"pi`, "", 0, errBywayBroken},
		"nothing":           {``, "", 0, errBywayBroken},
		"object, no array":  {`{"type":"ping"}`, "", 0, errBywaySyntax},
		"scalar in array":   {`[1]`, "", 0, errBywaySyntax},
		"nested array":      {`[[{"type":"ping"}]]`, "", 0, errBywaySyntax},
		"not JSON":          {`[{type:ping}]`, "", 0, errBywaySyntax},
		"wrong member type": {`[{"type":"ping","seq":"1"}]`, "", 0, errBywaySyntax},
		"negative seq":      {`[{"type":"ping","seq":-1}]`, "", 0, errBywaySyntax},
		"at the limit":      {`[` + pad(maxEvent) + `]`, "ping", 0, io.EOF},
		"one past it":       {`[` + pad(maxEvent+1) + `]`, "", 0, errEventTooBig},
		"never ends":        {`[` + strings.Repeat("{", maxEvent+2), "", 0, errEventTooBig},
		"deep":              {`[` + strings.Repeat(`{"a":`, 2500) + "1" + strings.Repeat("}", 2500) + `]`, "", 1, io.EOF},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			types, unknown, err := readAll(iotest.OneByteReader(strings.NewReader(tc.in)))
			if got := strings.Join(types, " "); got != tc.want {
				t.Errorf("events %q, want %q", got, tc.want)
			}
			if unknown != tc.unknown {
				t.Errorf("unknown %d, want %d", unknown, tc.unknown)
			}
			if !errors.Is(err, tc.err) {
				t.Errorf("error %v, want %v", err, tc.err)
			}
		})
	}
}

func TestBywayReaderReportsTheTransport(t *testing.T) {
	t.Parallel()
	reset := errors.New("stream reset")
	_, _, err := readAll(io.MultiReader(strings.NewReader(`[{"type":"ping"}`), iotest.ErrReader(reset)))
	if !errors.Is(err, errBywayBroken) || !errors.Is(err, reset) {
		t.Errorf("error %v, want both errBywayBroken and the transport's own", err)
	}
}

// TestBywayRoundTrip writes what it then reads, and checks the exact bytes of
// the array's skeleton.
func TestBywayRoundTrip(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	flushed := 0
	w := newBywayWriter(&out, func() error { flushed++; return nil })
	sent := []Event{
		{Type: eventProceeding, Direction: serverToClient, Timestamp: time.Unix(1, 0).UTC(), Call: "https://a/c", Seq: 1},
		{Type: eventEnd, Direction: serverToClient, Seq: 2, Reason: &Reason{Code: "busy", SIP: 486, Q850: 17}},
	}
	must(t, w.Open())
	must(t, w.Send(sent[0]))
	must(t, w.Beat())
	must(t, w.Send(sent[1]))
	must(t, w.Close())
	if flushed != 5 {
		t.Errorf("flushed %d times, want after each of 5 writes", flushed)
	}
	if s := out.String(); !strings.HasPrefix(s, "[\n{") || !strings.Contains(s, "}\n,\n{") || !strings.HasSuffix(s, "}]\n") {
		t.Errorf("array is %q", s)
	}
	r := newBywayReader(&out)
	for i, want := range sent {
		got, err := r.Next()
		if err != nil || got.Type != want.Type || got.Seq != want.Seq || !got.Timestamp.Equal(want.Timestamp) || got.Call != want.Call {
			t.Errorf("event %d: %+v, %v; want %+v", i, got, err, want)
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last event: %v, want io.EOF", err)
	}
}

func TestBywayWriterRefusesWhatNobodyReads(t *testing.T) {
	t.Parallel()
	w := newBywayWriter(io.Discard, nil)
	if err := w.Send(Event{Type: eventPing, Nonce: strings.Repeat("x", maxEvent)}); !errors.Is(err, errEventTooBig) {
		t.Errorf("error %v, want errEventTooBig", err)
	}
}

func TestSeqFilter(t *testing.T) {
	t.Parallel()
	var f seqFilter
	for _, step := range []struct {
		seq   uint64
		fresh bool
	}{
		{0, true}, {0, true}, {2, true}, {1, true}, {1, false}, {2, false}, {5, true}, {4, true}, {4, false},
		{100, true}, {37, true}, {36, false}, {37, false}, {1 << 63, true}, {1 << 63, false}, {1<<63 + 64, true}, {1<<63 + 1, true}, {1 << 63, false},
	} {
		if got := f.Fresh(step.seq); got != step.fresh {
			t.Errorf("Fresh(%d) = %v, want %v", step.seq, got, step.fresh)
		}
	}
}

func FuzzByway(f *testing.F) {
	f.Add([]byte(`[{"type":"ping","nonce":"1"},` + "\n" + `{"type":"end","reason":{"code":"busy"}}]`))
	f.Add([]byte(`[{"type":"ended"}{"type":"\"}"}`))
	f.Add([]byte("[\n\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := newBywayReader(bytes.NewReader(in))
		var out bytes.Buffer
		w := newBywayWriter(&out, nil)
		must(t, w.Open())
		n := 0
		for {
			ev, err := r.Next()
			if err != nil {
				break
			}
			if err := w.Send(ev); errors.Is(err, errEventTooBig) {
				return // escaping can make an event grow
			}
			n++
		}
		must(t, w.Close())
		if types, _, err := readAll(&out); len(types) != n || !errors.Is(err, io.EOF) {
			t.Errorf("read back %d events and %v, want %d and io.EOF", len(types), err, n)
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
