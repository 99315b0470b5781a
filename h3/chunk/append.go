package chunk

// Append adds the chunk in its canonical form: ascending tags, shortest
// lengths, nothing that is at its default.
func (c *Chunk) Append(dst []byte) []byte {
	dst = append(dst, Version)
	dst = appendVarint(dst, uint64(c.envelopeSize()))
	if c.Control {
		dst = append(dst, byte(TagKind), 1, 1)
		dst = appendVarintTag(dst, TagControlType, c.ControlType)
		if c.Ack != nil {
			dst = appendBytes(dst, TagAck, c.Ack)
		}
		return dst
	}
	v := &c.Video
	dst = c.Seq.append(dst, TagSeq)
	dst = c.Timestamp.append(dst, TagTimestamp)
	dst = appendVarintTag(dst, TagPayloadType, c.PayloadType)
	dst = append(dst, byte(TagSource), 1, c.Source, byte(TagSink), 1, c.Sink)
	if v.has(TagReferenceFrame) {
		dst = appendVarintTag(dst, TagReferenceFrame, v.ReferenceFrame)
	}
	if v.has(TagSpatialLayer) {
		dst = append(dst, byte(TagSpatialLayer), 1, v.SpatialLayer)
	}
	if v.has(TagTemporalLayer) {
		dst = append(dst, byte(TagTemporalLayer), 1, v.TemporalLayer)
	}
	if v.has(TagAudioLevel) {
		dst = append(dst, byte(TagAudioLevel), 1, v.AudioLevel)
	}
	if v.has(TagKeyID) {
		dst = appendVarintTag(dst, TagKeyID, v.KeyID)
	}
	dst = c.Clock.append(dst, TagClock)
	if c.Marker {
		dst = append(dst, byte(TagMarker), 1, 1)
	}
	return appendBytes(dst, TagMedia, c.Media)
}

// envelopeSize is the length of what Append writes between the length and the
// package.
func (c *Chunk) envelopeSize() int {
	if c.Control {
		return 3
	}
	v := &c.Video
	n := c.Seq.size() + c.Timestamp.size() + c.Clock.size() + 2 + varintLen(c.PayloadType) + 6
	for _, t := range [...]Tag{TagSpatialLayer, TagTemporalLayer, TagAudioLevel} {
		if v.has(t) {
			n += 3
		}
	}
	if v.has(TagReferenceFrame) {
		n += 2 + varintLen(v.ReferenceFrame)
	}
	if v.has(TagKeyID) {
		n += 2 + varintLen(v.KeyID)
	}
	if c.Marker {
		n += 3
	}
	return n
}

// Size is the number of bytes Append adds.
func (c *Chunk) Size() int {
	n := c.envelopeSize()
	n += 1 + varintLen(uint64(n))
	if c.Control {
		n += 2 + varintLen(c.ControlType)
		if c.Ack != nil {
			n += 1 + varintLen(uint64(len(c.Ack))) + len(c.Ack)
		}
		return n
	}
	return n + 1 + varintLen(uint64(len(c.Media))) + len(c.Media)
}

func appendVarintTag(dst []byte, tag Tag, v uint64) []byte {
	dst = append(dst, byte(tag), byte(varintLen(v)))
	return appendVarint(dst, v)
}

func appendBytes(dst []byte, tag Tag, b []byte) []byte {
	dst = append(dst, byte(tag))
	dst = appendVarint(dst, uint64(len(b)))
	return append(dst, b...)
}
