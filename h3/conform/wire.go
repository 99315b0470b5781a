package conform

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/quic-go/quic-go/quicvarint"

	"riptide/h3/chunk"
)

// Tags and payload types of the registry, as far as we write them ourselves.
const (
	tagSeq, tagTimestamp, tagPayload, tagMedia = 1, 2, 3, 4
	tagKind, tagSource, tagSink                = 5, 6, 7
	tagControl, tagKeyID, tagClock             = 12, 13, 14
	tagAck, tagControlBody                     = 17, 18
	firstGrease                                = 33 // 33 + 31n is never given a meaning

	payloadPCMU, payloadPCMA, payloadCN, payloadDigits = 0, 8, 13, 129

	controlAck, controlHello, controlEcho = 0, 2, 3
)

// tlv is one field of a chunk, right or wrong.
type tlv struct {
	tag   uint64
	value []byte
}

func number(tag, v uint64, size int) tlv {
	b := binary.BigEndian.AppendUint64(nil, v)
	return tlv{tag, b[8-size:]}
}

func varint(tag, v uint64) tlv { return tlv{tag, quicvarint.Append(nil, v)} }

// writeChunk puts a chunk together from fields in the order in which they are given.
func writeChunk(envelope, pkg []tlv) []byte {
	head := appendTLVs(nil, envelope)
	out := quicvarint.Append([]byte{1}, uint64(len(head)))
	return appendTLVs(append(out, head...), pkg)
}

func appendTLVs(dst []byte, fields []tlv) []byte {
	for _, f := range fields {
		dst = quicvarint.Append(dst, f.tag)
		dst = quicvarint.Append(dst, uint64(len(f.value)))
		dst = append(dst, f.value...)
	}
	return dst
}

// sized is a chunk as bodies and streams hold it.
func sized(c []byte) []byte { return append(quicvarint.Append(nil, uint64(len(c))), c...) }

// mediaChunk is an ordinary chunk of audio.
type mediaChunk struct {
	seq, ms, clock uint64
	payload        uint64
	source, sink   uint8
	body           []byte
	seqLen, msLen  int // 8 = full
	extra          []tlv
	sealed         bool // with a key that nobody has
}

func (m mediaChunk) fields() []tlv {
	if m.seqLen == 0 {
		m.seqLen = 8
	}
	if m.msLen == 0 {
		m.msLen = 8
	}
	out := []tlv{
		number(tagSeq, m.seq, m.seqLen), number(tagTimestamp, m.ms, m.msLen), varint(tagPayload, m.payload),
		{tagSource, []byte{m.source}}, {tagSink, []byte{m.sink}}, number(tagClock, m.clock, 8),
	}
	return append(out, m.extra...)
}

func (m mediaChunk) bytes() []byte {
	if !m.sealed {
		return writeChunk(m.fields(), []tlv{{tagMedia, m.body}})
	}
	f := m.fields()
	f = append(f[:5:5], varint(tagKeyID, 7), f[5])
	return append(writeChunk(f, nil), make([]byte, 176)...) // opaque
}

// ackChunk acknowledges runs of numbers, the highest run first.
func ackChunk(fromClient bool, source, sink uint8, ranges ...[2]uint64) []byte {
	direction := uint64(0) // of the media that is acknowledged: what the client sent
	if fromClient {
		direction = 1
	}
	b := quicvarint.Append(nil, direction)
	for _, v := range []uint64{uint64(source), uint64(sink), ranges[0][1], 0, uint64(len(ranges) - 1)} {
		b = quicvarint.Append(b, v)
	}
	for i, r := range ranges {
		if i > 0 {
			b = quicvarint.Append(b, ranges[i-1][0]-r[1]-2)
		}
		b = quicvarint.Append(b, r[1]-r[0])
	}
	return controlChunk(controlAck, tlv{tagAck, b})
}

func controlChunk(kind uint64, body tlv) []byte {
	return writeChunk([]tlv{{tagKind, []byte{1}}}, []tlv{varint(tagControl, kind), body})
}

// heardChunk is a chunk that came, as it came.
type heardChunk struct {
	raw   []byte
	c     chunk.Chunk
	err   error
	canon error // it is not in the canonical form
}

var errForm = errors.New("not in the canonical form: ascending tags, shortest lengths, nothing at its default")

func readChunk(raw []byte) heardChunk {
	h := heardChunk{raw: append([]byte(nil), raw...)}
	h.c, h.err = chunk.Parse(h.raw)
	if h.err == nil && string(h.c.Append(nil)) != string(h.raw) && !greased(h.raw) {
		h.canon = fmt.Errorf("%w: % x", errForm, clipBytes(h.raw, 48))
	}
	return h
}

// greased tells chunks with extension tags, which a parser leaves out.
func greased(raw []byte) bool {
	size, at, err := quicvarint.Parse(raw[1:]) // it was parsed before
	if err != nil || size > uint64(len(raw)-1-at) {
		return false
	}
	env := raw[1+at : 1+at+int(size)]
	for len(env) > 0 {
		tag, n, err := quicvarint.Parse(env)
		if err != nil {
			return false
		}
		l, k, err := quicvarint.Parse(env[n:])
		if err != nil || uint64(len(env)-n-k) < l {
			return false
		}
		if tag >= 32 {
			return true
		}
		env = env[uint64(n+k)+l:]
	}
	return false
}

// splitBody takes a body apart.
func splitBody(body []byte) ([]heardChunk, error) {
	var out []heardChunk
	for len(body) > 0 {
		l, n, err := quicvarint.Parse(body)
		if err != nil || l > uint64(len(body)-n) || l == 0 {
			return out, errors.New("the body is not a sequence of chunks behind their lengths")
		}
		out = append(out, readChunk(body[n:n+int(l)]))
		body = body[n+int(l):]
	}
	return out, nil
}

func clipBytes(b []byte, n int) []byte { return b[:min(len(b), n)] }

// tone is 20 ms of PCMU, or PCMA with the other law's bits: loud, and not silence.
func tone(n int) []byte {
	out := make([]byte, 160)
	for i := range out {
		out[i] = byte(0x80 | (i*7+n)&0x3f)
		if i/8%2 == 0 {
			out[i] &= 0x7f
		}
	}
	return out
}
