package conform

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// maxEvent is the largest event that may be sent.
const maxEvent = 16 << 10

// event is one object of an event stream, and all that was in it.
type event struct {
	Type      string  `json:"type"`
	Direction string  `json:"direction"`
	Timestamp string  `json:"timestamp"`
	Call      string  `json:"call"`
	Seq       uint64  `json:"seq"`
	Nonce     string  `json:"nonce"`
	URI       string  `json:"uri"`
	Media     bool    `json:"media"`
	Reason    *reason `json:"reason"`
	EndedBy   string  `json:"endedBy"`
	Handler   string  `json:"handler"`
	ETag      string  `json:"etag"`

	at   time.Time
	size int
}

// reason says why a call ended.
type reason struct {
	Code string `json:"code"`
	SIP  int    `json:"sip"`
	Q850 int    `json:"q850"`
	Text string `json:"text"`
}

// ends tells the events after which there is no call.
func (e event) ends() bool {
	switch e.Type {
	case "end", "ended", "declined", "failed", "noanswer":
		return true
	}
	return false
}

// token is what an event stream is made of.
type token uint8

const (
	tokenOpen  token = iota // [
	tokenClose              // ]
	tokenComma
	tokenSpace
	tokenEvent
)

// Errors of a tokenizer. io.EOF is a stream that ended without its bracket.
var errStream = errors.New("the event stream is no JSON array of objects")

// tokenizer reads an event stream as it is written, wrong or right: what stands
// between the events is for the caller to judge.
type tokenizer struct {
	r   *bufio.Reader
	buf []byte
}

func newTokenizer(r io.Reader) *tokenizer { return &tokenizer{r: bufio.NewReaderSize(r, 4<<10)} }

// next returns the next token, with the object of a tokenEvent.
func (t *tokenizer) next() (token, []byte, error) {
	c, err := t.r.ReadByte()
	if err != nil {
		return 0, nil, err
	}
	switch c {
	case '[':
		return tokenOpen, nil, nil
	case ']':
		return tokenClose, nil, nil
	case ',':
		return tokenComma, nil, nil
	case ' ', '\t', '\r', '\n':
		return tokenSpace, nil, nil
	case '{':
		return tokenEvent, nil, t.object()
	}
	return 0, nil, fmt.Errorf("%w: %q between events", errStream, c)
}

// object reads up to the matching brace.
func (t *tokenizer) object() error {
	t.buf = append(t.buf[:0], '{')
	depth, text, escaped := 1, false, false
	for depth > 0 {
		c, err := t.r.ReadByte()
		if err != nil {
			return err
		}
		if t.buf = append(t.buf, c); len(t.buf) > 4*maxEvent {
			return fmt.Errorf("%w: an event of more than %d bytes", errStream, 4*maxEvent)
		}
		switch {
		case escaped:
			escaped = false
		case text && c == '\\':
			escaped = true
		case c == '"':
			text = !text
		case !text && c == '{':
			depth++
		case !text && c == '}':
			depth--
		}
	}
	return nil
}

// recording is an event stream as it came. It may be read while it grows.
type recording struct {
	stop context.CancelFunc // ends the stream
	watched
	began    time.Time     // when reading began
	opened   time.Time     // when the bracket came
	heard    time.Time     // when anything came last
	gap      time.Duration // the longest silence
	events   []event
	bare     int // events not separated by a comma
	early    bool
	over     bool // nothing more will come
	closed   bool // it ended with its bracket
	err      error
	readDone chan struct{}
}

func newRecording() *recording {
	return &recording{watched: watched{changed: make(chan struct{})}, began: time.Now(), heard: time.Now(), readDone: make(chan struct{})}
}

// read records the stream to its end.
func (s *recording) read(r io.Reader) {
	defer close(s.readDone)
	t := newTokenizer(r)
	comma := true // before the first
	for {
		tok, _, err := t.next()
		s.mu.Lock()
		now := time.Now()
		s.gap = max(s.gap, now.Sub(s.heard))
		s.heard = now
		switch {
		case err != nil:
			s.over, s.err = true, err
		case tok == tokenOpen:
			s.opened = now
		case tok == tokenClose:
			s.closed, s.over = true, true
		case tok == tokenComma:
			comma = true
		case tok == tokenEvent:
			s.early = s.early || s.opened.IsZero()
			if !comma {
				s.bare++
			}
			comma = false
			ev := event{at: now, size: len(t.buf)}
			if err := json.Unmarshal(t.buf, &ev); err != nil {
				s.over, s.err = true, fmt.Errorf("event %s: %w", clip(string(t.buf), 120), err)
			}
			s.events = append(s.events, ev)
		}
		over := s.over
		s.bump()
		s.mu.Unlock()
		if over {
			return
		}
	}
}

// all is what came so far.
func (s *recording) all() []event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]event(nil), s.events...)
}

// silence is the longest silence up to now.
func (s *recording) silence() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return s.gap
	}
	return max(s.gap, time.Since(s.heard))
}

func (s *recording) state() (opened, over, closed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.opened.IsZero(), s.over, s.closed, s.err
}

// await waits until cond holds; it is called with every change. false: the time
// is up, or the stream is over and will not change any more.
func (s *recording) await(limit time.Duration, cond func() bool) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		s.mu.Lock()
		changed, over := s.changed, s.over
		s.mu.Unlock()
		if cond() {
			return true
		}
		if over {
			return false
		}
		select {
		case <-changed:
		case <-timer.C:
			return cond()
		}
	}
}

// find waits for an event that matches, and returns the first.
func (s *recording) find(limit time.Duration, match func(event) bool) (event, bool) {
	var out event
	ok := s.await(limit, func() bool {
		for _, ev := range s.all() {
			if match(ev) {
				out = ev
				return true
			}
		}
		return false
	})
	return out, ok
}

func typed(names ...string) func(event) bool {
	return func(e event) bool {
		for _, n := range names {
			if e.Type == n {
				return true
			}
		}
		return false
	}
}
