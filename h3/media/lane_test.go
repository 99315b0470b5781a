package media

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"time"

	"riptide/h3/chunk"
)

// pieces pushes chunks of a packet each.
func pieces(l *lane, from, n, size int) {
	for i := range n {
		l.push(message{body: bytes.Repeat([]byte{byte(from + i)}, size), packets: 1, first: uint64(from + i), last: uint64(from + i)})
	}
}

// all reads what a lane has at the moment.
func all(t *testing.T, s *laneStream, buf int) []byte {
	t.Helper()
	var out []byte
	b := make([]byte, buf)
	for {
		n, err := s.take(b)
		if err != nil || n == 0 {
			return out
		}
		out = append(out, b[:n]...)
	}
}

// first are the first bytes of the chunks of a stream.
func first(t *testing.T, b []byte) (out []byte) {
	t.Helper()
	for len(b) > 0 {
		one, rest, err := chunk.Next(b)
		if err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		out, b = append(out, one[0]), rest
	}
	return out
}

func lanePort(t *testing.T) *Port {
	t.Helper()
	p := NewPort(Config{})
	t.Cleanup(p.Close)
	return p
}

func TestALaneKeepsItsOrderInSmallReads(t *testing.T) {
	t.Parallel()
	for _, buf := range []int{1, 3, 7, 64, 4096} {
		p := lanePort(t)
		l := &lane{p: p}
		s := l.open([]byte{0xff})
		pieces(l, 1, 20, 10)
		if got, want := first(t, all(t, s, buf)), append([]byte{0xff}, seq(1, 20)...); !bytes.Equal(got, want) {
			t.Errorf("reads of %d: %v", buf, got)
		}
		if st := p.Stats(); st.Sent != 20 || st.SendDropped != 0 {
			t.Errorf("reads of %d: %+v", buf, st)
		}
	}
}

func seq(from, n int) (out []byte) {
	for i := range n {
		out = append(out, byte(from+i))
	}
	return out
}

func TestALaneDropsTheOldestButNotWhatIsHalfSent(t *testing.T) {
	t.Parallel()
	p := lanePort(t)
	l := &lane{p: p}
	s := l.open(nil)
	pieces(l, 0, laneSize, 10)
	half := make([]byte, 5) // of the chunk 0
	if n, err := s.take(half); n != 5 || err != nil {
		t.Fatal(n, err)
	}
	pieces(l, laneSize, 10, 10)
	got := first(t, append(half, all(t, s, 100)...))
	if want := append([]byte{0}, seq(11, laneSize-1)...); !bytes.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if st := p.Stats(); st.Sent != laneSize || st.SendDropped != 10 {
		t.Errorf("%+v", st)
	}
}

func TestALaneGoesOnWithTheChunkThatBroke(t *testing.T) {
	t.Parallel()
	p := lanePort(t)
	l := &lane{p: p}
	old := l.open(nil)
	pieces(l, 1, 3, 10)
	if _, err := old.take(make([]byte, 15)); err != nil { // 1, and half of 2
		t.Fatal(err)
	}
	s := l.open([]byte{0xff})
	if _, err := old.Read(make([]byte, 100)); !errors.Is(err, errReplaced) {
		t.Errorf("the stream that was replaced: %v", err)
	}
	_ = old.Close() // harms nobody
	if got := first(t, all(t, s, 100)); !bytes.Equal(got, []byte{0xff, 2, 3}) {
		t.Errorf("got %v", got)
	}
	// What is left goes back, in whole chunks.
	pieces(l, 4, 2, 10)
	if _, err := s.take(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	left := l.abandon()
	if len(left) != 2 || left[0].body[0] != 4 || len(left[0].body) != 10 || left[1].first != 5 {
		t.Errorf("left over: %+v", left)
	}
	if _, err := s.Read(make([]byte, 100)); !errors.Is(err, errReplaced) {
		t.Errorf("after the end: %v", err)
	}
	pieces(l, 6, 1, 10)
	if st := p.Stats(); st.SendDropped != 1 {
		t.Errorf("%+v", st)
	}
}

func TestALaneEndsWhenItIsEmpty(t *testing.T) {
	t.Parallel()
	l := &lane{p: lanePort(t)}
	s := l.open(nil)
	pieces(l, 1, 2, 10)
	got := make(chan []byte, 1)
	go func() {
		b, err := io.ReadAll(s)
		if err != nil {
			t.Error(err)
		}
		got <- b
	}()
	time.Sleep(time.Millisecond)
	l.end()
	if b := first(t, <-got); !bytes.Equal(b, []byte{1, 2}) {
		t.Errorf("got %v", b)
	}
}

func TestLeftOversGoOutFirst(t *testing.T) {
	t.Parallel()
	p := lanePort(t)
	p.out.mu.Lock()
	p.out.streams[0].inFlight = 3
	p.out.mu.Unlock()
	p.giveBack([]message{
		{body: []byte{1, 2}, packets: 1, first: 1, last: 1}, {body: []byte{3}, packets: 1, first: 2, last: 2}, {body: []byte{4}, packets: 1, first: 3, last: 3},
	})
	if m, ok := p.left.take(true); !ok || !bytes.Equal(m.body, []byte{2, 1, 2}) {
		t.Errorf("as a body holds it: %+v", m)
	}
	if m, ok := p.left.take(false); !ok || !bytes.Equal(m.body, []byte{3}) {
		t.Errorf("as a datagram holds it: %+v", m)
	}
	p.Close()
	if _, ok := p.left.take(false); ok {
		t.Error("the call is over")
	}
	if st := p.Stats(); st.SendDropped != 1 {
		t.Errorf("%+v", st)
	}
}

func TestChunkStream(t *testing.T) {
	t.Parallel()
	var whole []byte
	for i := range 50 {
		whole = chunk.AppendPrefixed(whole, bytes.Repeat([]byte{byte(i)}, 1+97*i))
	}
	for name, r := range map[string]io.Reader{
		"at once":     bytes.NewReader(whole),
		"byte wise":   iotest.OneByteReader(bytes.NewReader(whole)),
		"with errors": iotest.DataErrReader(bytes.NewReader(whole)),
	} {
		heard := 0
		s := newChunkStream(r, func() { heard++ })
		for i := range 50 {
			b, err := s.next()
			if err != nil || len(b) != 1+97*i || b[0] != byte(i) {
				t.Fatalf("%s: chunk %d: %d bytes, %v", name, i, len(b), err)
			}
		}
		if _, err := s.next(); !errors.Is(err, io.EOF) || heard == 0 {
			t.Errorf("%s: at the end %v, heard %d times", name, err, heard)
		}
	}
	for name, tc := range map[string]struct {
		in   []byte
		want error
	}{
		"within a length": {[]byte{0x40}, io.ErrUnexpectedEOF},
		"within a chunk":  {[]byte{5, 1, 2}, io.ErrUnexpectedEOF},
		"of no bytes":     {[]byte{0}, chunk.ErrMalformed},
		"too long":        {[]byte{0x80, 1, 0, 1}, chunk.ErrMalformed},
	} {
		if _, err := newChunkStream(bytes.NewReader(tc.in), nil).next(); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzChunkStream(f *testing.F) {
	f.Add([]byte{}, uint8(1))
	f.Add([]byte{1, 1, 2, 1, 2}, uint8(3))
	f.Add([]byte{0x40, 0x05, 1, 2, 3, 4, 5}, uint8(2))
	f.Add([]byte{0x80, 1, 0, 1}, uint8(9))
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		// In pieces or at once, the chunks are the same.
		pieces := newChunkStream(stepReader{bytes.NewReader(b), 1 + int(step)}, nil)
		rest := b
		for {
			got, err := pieces.next()
			want, after, wantErr := chunk.Next(rest)
			if err != nil {
				if wantErr == nil && len(want) > 0 {
					t.Fatalf("%x of %x: %v", rest, b, err)
				}
				return
			}
			if wantErr != nil || !bytes.Equal(got, want) {
				t.Fatalf("%x, want %x, %v", got, want, wantErr)
			}
			rest = after
		}
	})
}

type stepReader struct {
	r    io.Reader
	step int
}

func (s stepReader) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.step)]) }
