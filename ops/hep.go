package ops

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// HEP is a packet of the Homer Encapsulation Protocol, version 3: a SIP message
// as it went over the wire, on its way to a collector such as Homer
// (https://github.com/sipcapture/HEP, "HEP3 Network Protocol Specification").
type HEP struct {
	TCP         bool           // what the message travelled by, under TLS and WebSocket too; else UDP
	From, To    netip.AddrPort // of one family
	At          time.Time      // to the microsecond
	Node        uint32         // who captured it
	Password    string         // that the collector wants; "" = none
	Correlation string         // what belongs together: the Call-ID
	Payload     []byte         // the message
}

// The generic chunks (vendor 0) that we write and read.
const (
	hepFamily      = 1
	hepProtocol    = 2
	hepFrom4       = 3
	hepTo4         = 4
	hepFrom6       = 5
	hepTo6         = 6
	hepFromPort    = 7
	hepToPort      = 8
	hepSeconds     = 9
	hepMicros      = 10
	hepType        = 11
	hepNode        = 12
	hepPassword    = 14
	hepPayload     = 15
	hepCorrelation = 17
)

const (
	hepMagic   = "HEP3"
	hepHeader  = 6 // magic and length
	hepChunk   = 6 // vendor, type, length
	hepSIP     = 1 // the protocol type of SIP
	familyIPv4 = 2
	familyIPv6 = 10
	protoTCP   = 6
	protoUDP   = 17
)

// maxHEP is what fits into a datagram over IPv4.
const maxHEP = 65507

// Errors of ParseHEP and HEP.Append.
var (
	errHEP      = errors.New("not a HEP3 packet")
	errHEPLarge = fmt.Errorf("a HEP3 packet of more than %d bytes", maxHEP)
)

// Append writes the packet behind dst.
func (p HEP) Append(dst []byte) ([]byte, error) {
	start := len(dst)
	dst = append(dst, hepMagic...)
	dst = append(dst, 0, 0)
	family, from, to := byte(familyIPv4), uint16(hepFrom4), uint16(hepTo4)
	if p.From.Addr().Is6() {
		family, from, to = familyIPv6, hepFrom6, hepTo6
	}
	protocol := byte(protoUDP)
	if p.TCP {
		protocol = protoTCP
	}
	dst = appendChunk(dst, hepFamily, []byte{family})
	dst = appendChunk(dst, hepProtocol, []byte{protocol})
	dst = appendChunk(dst, from, p.From.Addr().AsSlice())
	dst = appendChunk(dst, to, p.To.Addr().AsSlice())
	dst = appendChunk(dst, hepFromPort, binary.BigEndian.AppendUint16(nil, p.From.Port()))
	dst = appendChunk(dst, hepToPort, binary.BigEndian.AppendUint16(nil, p.To.Port()))
	dst = appendChunk(dst, hepSeconds, binary.BigEndian.AppendUint32(nil, uint32(p.At.Unix())))               //nolint:gosec // until 2106
	dst = appendChunk(dst, hepMicros, binary.BigEndian.AppendUint32(nil, uint32(p.At.Nanosecond()/int(1e3)))) //nolint:gosec // below a million
	dst = appendChunk(dst, hepType, []byte{hepSIP})
	dst = appendChunk(dst, hepNode, binary.BigEndian.AppendUint32(nil, p.Node))
	if p.Password != "" {
		dst = appendChunk(dst, hepPassword, []byte(p.Password))
	}
	if p.Correlation != "" {
		dst = appendChunk(dst, hepCorrelation, []byte(p.Correlation))
	}
	size := len(dst) - start + hepChunk + len(p.Payload)
	if size > maxHEP {
		return dst[:start], errHEPLarge
	}
	dst = appendChunk(dst, hepPayload, p.Payload)
	binary.BigEndian.PutUint16(dst[start+len(hepMagic):], uint16(size))
	return dst, nil
}

// appendChunk writes a chunk; values longer than the packet may be are found by
// the packet's size.
func appendChunk(dst []byte, kind uint16, value []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, 0)
	dst = binary.BigEndian.AppendUint16(dst, kind)
	dst = binary.BigEndian.AppendUint16(dst, uint16(hepChunk+len(value))) //nolint:gosec // bounded with the packet
	return append(dst, value...)
}

// ParseHEP reads a packet. Chunks of vendors, and those that say nothing of SIP,
// are skipped.
func ParseHEP(b []byte) (HEP, error) {
	if len(b) < hepHeader || string(b[:len(hepMagic)]) != hepMagic {
		return HEP{}, errHEP
	}
	if size := int(binary.BigEndian.Uint16(b[len(hepMagic):])); size != len(b) || size > maxHEP {
		return HEP{}, fmt.Errorf("%w: it says it has %d bytes, and has %d", errHEP, size, len(b))
	}
	var f hepFields
	for b = b[hepHeader:]; len(b) > 0; {
		if len(b) < hepChunk {
			return HEP{}, fmt.Errorf("%w: cut off", errHEP)
		}
		vendor, kind, size := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), int(binary.BigEndian.Uint16(b[4:]))
		if size < hepChunk || size > len(b) {
			return HEP{}, fmt.Errorf("%w: chunk %d has %d bytes", errHEP, kind, size)
		}
		v := b[hepChunk:size]
		b = b[size:]
		if vendor != 0 {
			continue
		}
		if want := hepSizes[kind]; want > 0 && len(v) != want {
			return HEP{}, fmt.Errorf("%w: chunk %d holds %d bytes", errHEP, kind, len(v))
		}
		f.take(kind, v)
	}
	switch {
	case f.of != hepSIP:
		return HEP{}, fmt.Errorf("%w of SIP: protocol type %d", errHEP, f.of)
	case !f.from.IsValid() || f.from.Is4() != f.to.Is4() || len(f.p.Payload) == 0 || f.micros >= 1e6:
		return HEP{}, fmt.Errorf("%w: addresses, time or payload are missing", errHEP)
	}
	f.p.From, f.p.To = netip.AddrPortFrom(f.from, f.fromPort), netip.AddrPortFrom(f.to, f.toPort)
	f.p.At = time.Unix(int64(f.seconds), int64(f.micros)*1000)
	return f.p, nil
}

// hepFields are what the chunks of a packet say.
type hepFields struct {
	p                HEP
	of               byte
	from, to         netip.Addr
	fromPort, toPort uint16
	seconds, micros  uint32
}

// take reads a chunk, whose size is right.
func (f *hepFields) take(kind uint16, v []byte) {
	switch kind {
	case hepProtocol:
		f.p.TCP = v[0] == protoTCP
	case hepFrom4, hepFrom6:
		f.from, _ = netip.AddrFromSlice(v)
	case hepTo4, hepTo6:
		f.to, _ = netip.AddrFromSlice(v)
	case hepFromPort:
		f.fromPort = binary.BigEndian.Uint16(v)
	case hepToPort:
		f.toPort = binary.BigEndian.Uint16(v)
	case hepSeconds:
		f.seconds = binary.BigEndian.Uint32(v)
	case hepMicros:
		f.micros = binary.BigEndian.Uint32(v)
	case hepType:
		f.of = v[0]
	case hepNode:
		f.p.Node = binary.BigEndian.Uint32(v)
	case hepPassword:
		f.p.Password = string(v)
	case hepCorrelation:
		f.p.Correlation = string(v)
	case hepPayload:
		f.p.Payload = v
	}
}

// hepSizes are the sizes of chunks that have only one.
var hepSizes = map[uint16]int{
	hepFamily: 1, hepProtocol: 1, hepFrom4: 4, hepTo4: 4, hepFrom6: 16, hepTo6: 16, hepFromPort: 2, hepToPort: 2,
	hepSeconds: 4, hepMicros: 4, hepType: 1, hepNode: 4,
}
