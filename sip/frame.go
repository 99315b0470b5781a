package sip

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	sipgo "github.com/emiago/sipgo/sip"
)

// maxMessage is the largest SIP message taken or sent, over any transport.
const maxMessage = 60 << 10

// maxCallID bounds the key of a mailbox.
const maxCallID = 256

var (
	errTooLarge = fmt.Errorf("message is larger than %d bytes", maxMessage)
	errFraming  = errors.New("end of message is not known")
)

// frame finds the first message in a stream (RFC 3261 section 18.3). It
// returns how many bytes of keep-alives (CRLF) precede it and how long it is;
// size 0 means that more is needed. After an error the stream cannot be
// followed any further.
func frame(b []byte) (skip, size int, err error) {
	for skip+1 < len(b) && b[skip] == '\r' && b[skip+1] == '\n' {
		skip += 2
	}
	msg := b[skip:]
	head := bytes.Index(msg, []byte("\r\n\r\n"))
	if head < 0 {
		if len(msg) > maxMessage {
			return skip, 0, errTooLarge
		}
		return skip, 0, nil
	}
	length, err := contentLength(msg[:head+2])
	if err != nil {
		return skip, 0, err
	}
	size = head + 4 + length
	if length > maxMessage || size > maxMessage {
		return skip, 0, errTooLarge
	}
	if size > len(msg) {
		return skip, 0, nil
	}
	return skip, size, nil
}

// contentLength finds the Content-Length of a header section. Two that differ
// would let one peer hide a message from another: that stream ends here.
func contentLength(head []byte) (int, error) {
	length := -1
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			continue
		}
		name = bytes.TrimSpace(name)
		if !bytes.EqualFold(name, []byte("content-length")) && !bytes.EqualFold(name, []byte("l")) {
			continue
		}
		n, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 31)
		if err != nil {
			return 0, fmt.Errorf("%w: Content-Length %q", errFraming, clip(string(value), 32))
		}
		if length >= 0 && int(n) != length {
			return 0, fmt.Errorf("%w: two different Content-Lengths", errFraming)
		}
		length = int(n)
	}
	if length < 0 {
		return 0, fmt.Errorf("%w: no Content-Length", errFraming)
	}
	return length, nil
}

// plausible tells what could be a SIP message from noise, before anything is
// spent on parsing it.
func plausible(b []byte) bool {
	line, _, ok := bytes.Cut(b, []byte("\r\n"))
	return ok && len(line) <= 8<<10 && bytes.Contains(line, []byte("SIP/")) && bytes.IndexByte(line, 0) < 0
}

// parser reads messages. Header fields that do not parse are kept as text
// instead of failing the message, so that it can be answered.
var parser = sipgo.NewParser(sipgo.WithHeadersParsers(lenientHeaders()))

// parse reads one message. A message can come back together with an error: it
// then is good enough to be refused.
func parse(b []byte) (msg sipgo.Message, err error) {
	defer func() {
		if r := recover(); r != nil { // a parser of others, on input from anyone
			msg, err = nil, fmt.Errorf("parser failed: %v", r)
		}
	}()
	if len(b) > maxMessage {
		return nil, errTooLarge
	}
	msg, err = parser.ParseSIP(b)
	if msg == nil {
		return salvage(b, err)
	}
	if err != nil && !errors.Is(err, sipgo.ErrParseReadBodyIncomplete) && !errors.Is(err, sipgo.ErrMessageTooLarge) {
		return nil, err
	}
	return msg, err
}
