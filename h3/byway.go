package h3

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// An event byway is one never-ending JSON array of events: the body of PUT
// events, and of the response to GET events. The drafts do not mention commas;
// we write a proper array and read one with or without them.

// Errors of a bywayReader. io.EOF means that the peer closed the array.
var (
	// errBywayBroken: the stream ended without `]`. Some balancers turn a lost
	// origin into a clean end of the body, so the bracket is the only proof.
	errBywayBroken = errors.New("event stream ended without its closing bracket")
	// errBywaySyntax: what came is not an array of events.
	errBywaySyntax = errors.New("event stream is not a JSON array of events")
	// errEventTooBig: an event is larger than maxEvent.
	errEventTooBig = fmt.Errorf("event larger than %d bytes", maxEvent)
)

// bywayWriter writes an event stream. It belongs to one goroutine. Every
// method flushes, so that nothing waits in a buffer for the next event.
type bywayWriter struct {
	w     io.Writer
	flush func() error // of the HTTP response; nil where writes are not buffered
	buf   []byte
	any   bool // an event was written: the next one needs a comma
}

func newBywayWriter(w io.Writer, flush func() error) *bywayWriter {
	return &bywayWriter{w: w, flush: flush}
}

// Open writes the opening bracket, which both sides send at once.
func (b *bywayWriter) Open() error { return b.put([]byte("[\n")) }

// Send writes one event.
func (b *bywayWriter) Send(ev Event) error {
	body, err := json.Marshal(ev)
	if err != nil {
		return fmt.Errorf("encode event %s: %w", ev.Type, err)
	}
	if len(body) > maxEvent {
		return fmt.Errorf("send event %s of %d bytes: %w", ev.Type, len(body), errEventTooBig)
	}
	b.buf = b.buf[:0]
	if b.any {
		b.buf = append(b.buf, ",\n"...)
	}
	b.any = true
	b.buf = append(b.buf, body...)
	return b.put(b.buf)
}

// Beat writes white space, which keeps balancers from ending a silent body.
func (b *bywayWriter) Beat() error { return b.put([]byte("\n")) }

// Close writes the closing bracket: the stream ends on purpose.
func (b *bywayWriter) Close() error { return b.put([]byte("]\n")) }

func (b *bywayWriter) put(p []byte) error {
	if _, err := b.w.Write(p); err != nil {
		return fmt.Errorf("write event stream: %w", err)
	}
	if b.flush == nil {
		return nil
	}
	if err := b.flush(); err != nil {
		return fmt.Errorf("flush event stream: %w", err)
	}
	return nil
}

// bywayReader reads an event stream. It belongs to one goroutine. To watch for
// silence, hand it a heardReader: white space is invisible here.
type bywayReader struct {
	r       *bufio.Reader
	buf     []byte
	opened  bool
	closed  bool
	unknown uint64
}

func newBywayReader(r io.Reader) *bywayReader {
	return &bywayReader{r: bufio.NewReaderSize(r, 2<<10)}
}

// Open reads the opening bracket. Next does it too; who has something to say as
// soon as the stream is open calls this first.
func (b *bywayReader) Open() error {
	for !b.opened {
		if err := b.step(); err != nil {
			return err
		}
	}
	return nil
}

// Next returns the next event of a type in the registry, under its canonical
// name. It returns io.EOF after the closing bracket and errBywayBroken when
// the stream ends without one. After an error the stream is of no more use.
func (b *bywayReader) Next() (Event, error) {
	for {
		raw, err := b.object()
		if err != nil {
			return Event{}, err
		}
		var ev Event
		if err := json.Unmarshal(raw, &ev); err != nil {
			return Event{}, fmt.Errorf("%w: %w", errBywaySyntax, err)
		}
		if name, ok := canonicalEvent(ev.Type); ok {
			ev.Type = name
			return ev, nil
		}
		b.unknown++
	}
}

// Unknown is how many events of types outside the registry were skipped.
func (b *bywayReader) Unknown() uint64 { return b.unknown }

// object returns the bytes of the next JSON object of the array, valid until
// the next call.
func (b *bywayReader) object() ([]byte, error) {
	b.buf = b.buf[:0]
	for len(b.buf) == 0 {
		if b.closed {
			return nil, io.EOF
		}
		if err := b.step(); err != nil {
			return nil, err
		}
	}
	return b.buf, nil
}

// step reads one token between events: a bracket, a comma, white space, or a
// whole object.
func (b *bywayReader) step() error {
	c, err := b.readByte()
	if err != nil {
		return err
	}
	switch {
	case c == ' ' || c == '\t' || c == '\r' || c == '\n':
	case !b.opened && c == '[':
		b.opened = true
	case !b.opened:
		return fmt.Errorf("%w: it begins with %q, want '['", errBywaySyntax, c)
	case c == ',':
	case c == ']':
		b.closed = true
	case c == '{':
		return b.rest()
	default:
		return fmt.Errorf("%w: %q between events", errBywaySyntax, c)
	}
	return nil
}

// rest reads an object whose opening brace was consumed. It only finds the
// matching brace; whether what lies between is JSON, the decoder says.
func (b *bywayReader) rest() error {
	b.buf = append(b.buf[:0], '{')
	depth, inString, escaped := 1, false, false
	for depth > 0 {
		c, err := b.readByte()
		if err != nil {
			return err
		}
		if len(b.buf) == maxEvent {
			return errEventTooBig
		}
		b.buf = append(b.buf, c)
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped = c == '\\'
			inString = c != '"'
		case c == '"':
			inString = true
		case c == '{':
			depth++
		case c == '}':
			depth--
		}
	}
	return nil
}

func (b *bywayReader) readByte() (byte, error) {
	c, err := b.r.ReadByte()
	if errors.Is(err, io.EOF) {
		return 0, errBywayBroken
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errBywayBroken, err)
	}
	return c, nil
}

// canonicalEvent is the registry: it maps the names the drafts use to the one
// we use, and tells whether there is such an event at all.
func canonicalEvent(name string) (string, bool) {
	switch name {
	case eventProceeding, eventAlerting, eventAnswered, eventDeclined, eventFailed, eventNoAnswer,
		eventEnd, eventMigrate, eventPing, eventPong, eventMediaPanic, eventHandlerChanged,
		eventTransfer, eventTransferDone, eventTransferRefused:
		return name, true
	case "ended":
		return eventEnd, true
	case "moved":
		return eventMigrate, true
	}
	return "", false
}

// heardReader calls heard whenever bytes arrive, heartbeats included.
type heardReader struct {
	r     io.Reader
	heard func()
}

func (h heardReader) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	if n > 0 {
		h.heard()
	}
	return n, err
}

// seqFilter drops events that another byway has already brought. It remembers
// the 64 numbers up to the highest, so that two byways may overtake each other.
type seqFilter struct {
	highest uint64
	seen    uint64 // bit i: highest-i was seen
}

// Fresh tells whether seq is new, and notes it. A peer that does not number its
// events (seq 0) gets every one of them handled.
func (f *seqFilter) Fresh(seq uint64) bool {
	switch {
	case seq == 0:
		return true
	case seq > f.highest:
		f.seen = f.seen<<min(seq-f.highest, 64) | 1
		f.highest = seq
		return true
	case f.highest-seq >= 64:
		return false
	}
	bit := uint64(1) << (f.highest - seq)
	fresh := f.seen&bit == 0
	f.seen |= bit
	return fresh
}
