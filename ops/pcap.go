package ops

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"
)

// A capture is a pcap file (draft-ietf-opsawg-pcap) with packets that begin with
// their IP header: SIP as it was read and written, media as it was on the wire.
// What went over TCP, TLS or WebSocket stands in it as one datagram for each
// message, readable, which is what sngrep and tshark make the most of.
const (
	pcapMagic   = 0xa1b2c3d4 // microseconds
	pcapHeader  = 24
	pcapRecord  = 16
	pcapRaw     = 101 // LINKTYPE_RAW
	pcapSnap    = 262144
	ip4Header   = 20
	ip6Header   = 40
	udpHeader   = 8
	maxDatagram = 65535
)

// appendPcapHeader begins a file.
func appendPcapHeader(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, pcapMagic)
	dst = binary.LittleEndian.AppendUint16(dst, 2)
	dst = binary.LittleEndian.AppendUint16(dst, 4)
	dst = append(dst, make([]byte, 8)...)
	dst = binary.LittleEndian.AppendUint32(dst, pcapSnap)
	return binary.LittleEndian.AppendUint32(dst, pcapRaw)
}

var errPacketSize = errors.New("too large for a datagram")

// appendPacket writes a datagram behind dst, with the headers that it had or
// could have had. from and to are of one family.
func appendPacket(dst []byte, at time.Time, from, to netip.AddrPort, payload []byte) ([]byte, error) {
	header := ip4Header
	if from.Addr().Is6() {
		header = ip6Header
	}
	size := header + udpHeader + len(payload)
	if size > maxDatagram {
		return dst, errPacketSize
	}
	if !from.IsValid() || from.Addr().Is4() != to.Addr().Is4() {
		return dst, fmt.Errorf("a packet from %v to %v", from, to)
	}
	dst = binary.LittleEndian.AppendUint32(dst, uint32(at.Unix()))                //nolint:gosec // until 2106
	dst = binary.LittleEndian.AppendUint32(dst, uint32(at.Nanosecond()/int(1e3))) //nolint:gosec // below a million
	dst = binary.LittleEndian.AppendUint32(dst, uint32(size))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(size))
	ip := len(dst)
	udpSize := uint16(udpHeader + len(payload)) //nolint:gosec // bounded above
	if header == ip4Header {
		dst = append(dst, 0x45, 0)
		dst = binary.BigEndian.AppendUint16(dst, uint16(size))
		dst = append(dst, 0, 0, 0x40, 0, 64, protoUDP, 0, 0)
		dst = append(append(dst, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
		binary.BigEndian.PutUint16(dst[ip+10:], ^sum16(0, dst[ip:]))
	} else {
		dst = append(dst, 0x60, 0, 0, 0)
		dst = binary.BigEndian.AppendUint16(dst, udpSize)
		dst = append(dst, protoUDP, 64)
		dst = append(append(dst, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	}
	udp := len(dst)
	dst = binary.BigEndian.AppendUint16(dst, from.Port())
	dst = binary.BigEndian.AppendUint16(dst, to.Port())
	dst = binary.BigEndian.AppendUint16(dst, udpSize)
	dst = append(append(dst, 0, 0), payload...)
	// The checksum is over a pseudo-header too (RFC 768, RFC 8200 section 8.1).
	sum := sum16(uint32(udpSize)+protoUDP, append(from.Addr().AsSlice(), to.Addr().AsSlice()...))
	if sum = ^sum16(uint32(sum), dst[udp:]); sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(dst[udp+6:], sum)
	return dst, nil
}

// sum16 is the one's complement sum of RFC 1071.
func sum16(sum uint32, b []byte) uint16 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
		sum = sum&0xffff + sum>>16
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

var errPcap = errors.New("not a capture of riptide's")

// readPcapHeader reads the beginning of a capture.
func readPcapHeader(r io.Reader) ([]byte, error) {
	b := make([]byte, pcapHeader)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint32(b) != pcapMagic || binary.LittleEndian.Uint32(b[20:]) != pcapRaw {
		return nil, errPcap
	}
	return b, nil
}

// readPacket reads a whole record into b, and returns it with its payload, which
// is a part of it.
func readPacket(r io.Reader, b []byte) (record, payload []byte, err error) {
	b = append(b[:0], make([]byte, pcapRecord)...)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, nil, err
	}
	size := binary.LittleEndian.Uint32(b[8:])
	if size > maxDatagram || size != binary.LittleEndian.Uint32(b[12:]) {
		return nil, nil, fmt.Errorf("%w: a packet of %d bytes", errPcap, size)
	}
	b = append(b, make([]byte, size)...)
	if _, err := io.ReadFull(r, b[pcapRecord:]); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, nil, err
	}
	header := ip4Header
	if size > 0 && b[pcapRecord]>>4 == 6 {
		header = ip6Header
	}
	if int(size) < header+udpHeader {
		return nil, nil, fmt.Errorf("%w: a packet of %d bytes", errPcap, size)
	}
	return b, b[pcapRecord+header+udpHeader:], nil
}
