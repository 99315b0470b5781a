package media

import (
	"riptide/bridge"
)

// NAL unit types of H.264 (RFC 6184 section 5.4, table 7-1 of H.264).
const (
	nalIDR   = 5
	nalSPS   = 7
	nalPPS   = 8
	nalSTAPA = 24
	nalFUA   = 28
)

// intra tells whether an RTP payload begins, or announces, a picture that can be
// decoded without the ones before it. It looks at codecs it knows, and takes
// nothing for granted about what is in them.
func intra(c bridge.Codec, payload []byte) bool {
	switch c {
	case bridge.H264:
		return intraH264(payload)
	case bridge.VP8:
		return intraVP8(payload)
	}
	return false
}

// intraH264 knows single NAL units, STAP-A (RFC 6184 section 5.7.1) and the
// first fragment of an FU-A (section 5.8).
func intraH264(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	switch kind := b[0] & 0x1f; kind {
	case nalSTAPA:
		for b = b[1:]; len(b) > 2; {
			size := int(b[0])<<8 | int(b[1])
			if size == 0 || size > len(b)-2 {
				return false
			}
			if intraNAL(b[2]) {
				return true
			}
			b = b[2+size:]
		}
		return false
	case nalFUA:
		return len(b) > 1 && b[1]&0x80 != 0 && intraNAL(b[1])
	default:
		return intraNAL(kind)
	}
}

func intraNAL(b byte) bool {
	switch b & 0x1f {
	case nalIDR, nalSPS, nalPPS:
		return true
	}
	return false
}

// intraVP8 looks behind the payload descriptor of a first partition for the
// inverse key frame flag (RFC 7741 sections 4.2 and 4.3).
func intraVP8(b []byte) bool {
	const (
		extended = 0x80 // X: one more byte
		start    = 0x10 // S: start of a partition
		index    = 0x07 // PID
	)
	if len(b) == 0 || b[0]&start == 0 || b[0]&index != 0 {
		return false
	}
	n := 1
	if b[0]&extended != 0 {
		if len(b) < 2 {
			return false
		}
		more := b[1]
		n++
		if more&0x80 != 0 { // I: picture id, of 7 or 15 bits
			if len(b) <= n {
				return false
			}
			if b[n]&0x80 != 0 {
				n++
			}
			n++
		}
		if more&0x40 != 0 { // L: TL0PICIDX
			n++
		}
		if more&0x30 != 0 { // T or K: TID, Y and KEYIDX share a byte
			n++
		}
	}
	return len(b) > n && b[n]&1 == 0
}
