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
		if c.Body != nil {
			dst = appendBytes(dst, TagBody, c.Body)
		}
		return dst
	}
	v := &c.Video
	dst = c.Seq.append(dst, TagSeq)
	dst = c.Timestamp.append(dst, TagTimestamp)
	dst = appendVarintTag(dst, TagPayloadType, c.PayloadType)
	dst = append(dst, byte(TagSource), 1, c.Source, byte(TagSink), 1, c.Sink)
	dst = v.appendLayers(dst)
	if v.has(TagAudioLevel) {
		dst = append(dst, byte(TagAudioLevel), 1, v.AudioLevel)
	}
	if c.Sealed != nil {
		dst = appendVarintTag(dst, TagKeyID, c.KeyID)
	}
	dst = c.Clock.append(dst, TagClock)
	if c.Marker {
		dst = append(dst, byte(TagMarker), 1, 1)
	}
	if c.Sealed != nil {
		return append(dst, c.Sealed...)
	}
	return c.AppendPackage(dst)
}

// AppendPackage adds the package of a media chunk: what the ends of a call seal.
func (c *Chunk) AppendPackage(dst []byte) []byte { return appendBytes(dst, TagMedia, c.Media) }

// AppendAuthenticated adds the part of the envelope that belongs to the ends of
// the call, with all numbers in full, whatever was or will be written of them
// on this hop: the associated data of a sealed chunk. The numbers' values must
// be those that are meant, not the truncated ones.
func (c *Chunk) AppendAuthenticated(dst []byte) []byte {
	dst = FullNumber(c.Seq.Value).append(dst, TagSeq)
	dst = FullNumber(c.Timestamp.Value).append(dst, TagTimestamp)
	dst = appendVarintTag(dst, TagPayloadType, c.PayloadType)
	dst = c.Video.appendLayers(dst)
	dst = appendVarintTag(dst, TagKeyID, c.KeyID)
	if c.Clock.Len > 0 {
		dst = FullNumber(c.Clock.Value).append(dst, TagClock)
	}
	if c.Marker {
		dst = append(dst, byte(TagMarker), 1, 1)
	}
	return dst
}

func (v *Video) appendLayers(dst []byte) []byte {
	if v.has(TagReferenceFrame) {
		dst = appendVarintTag(dst, TagReferenceFrame, v.ReferenceFrame)
	}
	if v.has(TagSpatialLayer) {
		dst = append(dst, byte(TagSpatialLayer), 1, v.SpatialLayer)
	}
	if v.has(TagTemporalLayer) {
		dst = append(dst, byte(TagTemporalLayer), 1, v.TemporalLayer)
	}
	return dst
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
	if c.Sealed != nil {
		n += 2 + varintLen(c.KeyID)
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
		if c.Body != nil {
			n += 1 + varintLen(uint64(len(c.Body))) + len(c.Body)
		}
		return n
	}
	if c.Sealed != nil {
		return n + len(c.Sealed)
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
