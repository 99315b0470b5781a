package chunk

// The control types. A receiver ignores others, and counts them.
const (
	ControlAck      = 0 // Ack: which chunks of a stream arrived
	ControlKeyframe = 1 // Body is that of Keyframe: the receiver of a stream wants a picture to start from
	ControlHello    = 2 // Body is MinHello to MaxHello opaque bytes: is anybody there?
	ControlEcho     = 3 // Body is that of the hello it answers
)

// Length of the body of a hello, and of its echo.
const (
	MinHello = 8
	MaxHello = 32
)

// Keyframe is the body of a request for a keyframe: the stream that is asked
// for one, in the words of the end that sends that stream.
//
//	source, sink; both varints
type Keyframe struct{ Source, Sink uint8 }

// Append adds the body.
func (k Keyframe) Append(dst []byte) []byte {
	return appendVarint(appendVarint(dst, uint64(k.Source)), uint64(k.Sink))
}

// ParseKeyframe reads a body, which is all of b.
func ParseKeyframe(b []byte) (Keyframe, error) {
	source, n := varint(b)
	if n == 0 {
		return Keyframe{}, errShort
	}
	sink, m := varint(b[n:])
	switch {
	case m == 0:
		return Keyframe{}, errShort
	case n+m < len(b):
		return Keyframe{}, errLength
	case source < 1 || source > 255 || sink < 1 || sink > 255:
		return Keyframe{}, errRange
	}
	return Keyframe{Source: uint8(source), Sink: uint8(sink)}, nil
}

// checkControl tells whether a control chunk of a type we know has what that
// needs, and nothing else.
func (c *Chunk) checkControl() error {
	if c.Media != nil {
		return errMissing
	}
	switch c.ControlType {
	case ControlAck:
		if c.Ack == nil || c.Body != nil {
			return errMissing
		}
	case ControlKeyframe:
		if c.Body == nil || c.Ack != nil {
			return errMissing
		}
		_, err := ParseKeyframe(c.Body)
		return err
	case ControlHello, ControlEcho:
		if c.Body == nil || c.Ack != nil {
			return errMissing
		}
		if len(c.Body) < MinHello || len(c.Body) > MaxHello {
			return errBody
		}
	}
	return nil
}
