package chunk

// Version is the first byte of every chunk.
const Version = 0x01

// Limits of a chunk.
const (
	MaxChunk    = 64 << 10 // bytes in all
	MaxEnvelope = 512      // bytes
	maxTags     = 32       // in the envelope, and in the package
)

// Chunk is one chunk. Slices alias the bytes it was parsed from.
type Chunk struct {
	// Control tells an acknowledgement, or another message about media, from
	// media. Of a control chunk ControlType, Ack and Body are set, and nothing
	// else.
	Control     bool
	ControlType uint64
	Ack         []byte // for ParseAck; not nil if and only if ControlType is ControlAck
	Body        []byte // of the other types; Parse has checked that of those we know

	Seq         Number // of the packets of one source, from 1
	Timestamp   Number // sender's wall clock, ms since 1970
	PayloadType uint64 // registry of docs/spec/baseline.md: 0 PCMU, 8 PCMA, 13 CN, 129 telephone-event …
	Source      uint8  // from 1
	Sink        uint8  // from 1
	Clock       Number // the codec's own media clock; may be absent
	Marker      bool   // RTP marker bit
	Media       []byte // RTP payload; empty in a chunk that only keeps the stream alive

	// Sealed, if not nil, is all that stands behind the envelope, auth tag and
	// ciphertext, of a chunk that the ends of the call encrypt between
	// themselves with the key KeyID. Who has no key never splits it; Media is nil.
	Sealed []byte
	KeyID  uint64

	Video Video
}

// Video holds the optional fields of the envelope: the layers of scalable
// video, and the audio level. They are carried, not interpreted.
type Video struct {
	Has            uint32 // bit 1<<tag says that the field is present
	ReferenceFrame uint64
	SpatialLayer   uint8
	TemporalLayer  uint8
	AudioLevel     uint8 // RFC 6464
}

func (v *Video) has(t Tag) bool { return v.Has&(1<<t) != 0 }

// split separates the envelope of a chunk from what stands behind it.
func split(b []byte) (envelope, rest []byte, err error) {
	if len(b) > MaxChunk {
		return nil, nil, errTooLong
	}
	if len(b) < 2 {
		return nil, nil, errShort
	}
	if b[0] != Version {
		return nil, nil, errVersion
	}
	l, n := varint(b[1:])
	switch b = b[1+n:]; {
	case n == 0:
		return nil, nil, errShort
	case l > MaxEnvelope:
		return nil, nil, errEnvelope
	case l > uint64(len(b)):
		return nil, nil, errShort
	}
	return b[:l], b[l:], nil
}

// Parse reads one chunk, which is all of b. The package of a sealed one is left
// as it is.
func Parse(b []byte) (Chunk, error) {
	var c Chunk
	envelope, pkg, err := split(b)
	if err != nil {
		return Chunk{}, err
	}
	if err := c.tags(envelope, false); err != nil {
		return Chunk{}, err
	}
	switch sealed := c.Video.has(TagKeyID); {
	case sealed && c.Control:
		return Chunk{}, errSealed // what the hops say to each other is not the ends'
	case sealed && len(pkg) == 0:
		return Chunk{}, errMissing
	case sealed:
		c.Sealed = pkg
	default:
		if err := c.tags(pkg, true); err != nil {
			return Chunk{}, err
		}
	}
	if c.Control {
		if err := c.checkControl(); err != nil {
			return Chunk{}, err
		}
		return c, nil
	}
	if c.Seq.Len == 0 || c.Timestamp.Len == 0 || c.Media == nil && c.Sealed == nil || c.Ack != nil || c.Body != nil ||
		c.Source == 0 || c.Sink == 0 || !c.Video.has(TagPayloadType) {
		return Chunk{}, errMissing
	}
	c.Video.Has &^= 1<<TagPayloadType | 1<<TagKeyID
	return c, nil
}

// ParsePackage reads the package of a media chunk that was sealed: all of b. It
// returns the media.
func ParsePackage(b []byte) ([]byte, error) {
	var c Chunk
	if err := c.tags(b, true); err != nil {
		return nil, err
	}
	if c.Media == nil || c.Ack != nil || c.Body != nil {
		return nil, errMissing
	}
	return c.Media, nil
}

// tags reads the TLVs of the envelope, or of the package, in their order.
func (c *Chunk) tags(b []byte, pkg bool) error {
	last := Tag(0)
	for n := 0; len(b) > 0; n++ {
		if n == maxTags {
			return errTooMany
		}
		tag, value, rest, err := tlv(b)
		if err != nil {
			return err
		}
		if tag <= last {
			if tag == 0 {
				return errUnknown
			}
			return errOrder
		}
		last = tag
		switch {
		case tag >= firstExtension:
		case pkg:
			err = c.packageTag(tag, value)
		default:
			err = c.envelopeTag(tag, value)
		}
		if err != nil {
			return err
		}
		b = rest
	}
	return nil
}

func (c *Chunk) envelopeTag(tag Tag, v []byte) (err error) {
	switch tag {
	case TagSeq:
		c.Seq, err = parseNumber(v)
	case TagTimestamp:
		c.Timestamp, err = parseNumber(v)
	case TagPayloadType:
		c.PayloadType, err = parseVarint(v)
		c.Video.Has |= 1 << TagPayloadType
	case TagKind:
		c.Control, err = parseBool(v)
	case TagSource:
		c.Source, err = parseByte(v, 1)
	case TagSink:
		c.Sink, err = parseByte(v, 1)
	case TagClock:
		c.Clock, err = parseNumber(v)
	case TagMarker:
		c.Marker, err = parseBool(v)
	case TagKeyID:
		c.KeyID, err = parseVarint(v)
		c.Video.Has |= 1 << TagKeyID
	case TagReferenceFrame, TagSpatialLayer, TagTemporalLayer, TagAudioLevel:
		return c.Video.tag(tag, v)
	case TagMedia, TagControlType, TagAck, TagBody:
		return errPlace
	default:
		return errUnknown
	}
	return err
}

func (v *Video) tag(tag Tag, b []byte) (err error) {
	v.Has |= 1 << tag
	switch tag {
	case TagReferenceFrame:
		v.ReferenceFrame, err = parseVarint(b)
	case TagSpatialLayer:
		v.SpatialLayer, err = parseByte(b, 0)
	case TagTemporalLayer:
		v.TemporalLayer, err = parseByte(b, 0)
	case TagAudioLevel:
		v.AudioLevel, err = parseByte(b, 0)
	}
	return err
}

func (c *Chunk) packageTag(tag Tag, v []byte) (err error) {
	switch tag {
	case TagMedia:
		c.Media = v
	case TagControlType:
		c.ControlType, err = parseVarint(v)
	case TagAck:
		c.Ack = v
	case TagBody:
		c.Body = v
	case TagSeq, TagTimestamp, TagPayloadType, TagKind, TagSource, TagSink, TagReferenceFrame,
		TagSpatialLayer, TagTemporalLayer, TagAudioLevel, TagKeyID, TagClock, TagMarker:
		return errPlace
	default:
		return errUnknown
	}
	return err
}

func parseVarint(b []byte) (uint64, error) {
	v, n := varint(b)
	if n == 0 || n != len(b) {
		return 0, errLength
	}
	return v, nil
}

func parseByte(b []byte, least byte) (uint8, error) {
	if len(b) != 1 {
		return 0, errLength
	}
	if b[0] < least {
		return 0, errRange
	}
	return b[0], nil
}

func parseBool(b []byte) (bool, error) {
	if len(b) != 1 {
		return false, errLength
	}
	if b[0] > 1 {
		return false, errRange
	}
	return b[0] == 1, nil
}
