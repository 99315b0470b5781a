package sdp

import (
	"net/netip"
	"strconv"
	"time"
)

// Append writes the description in the order of RFC 8866 section 5.
func (d Description) Append(dst []byte) []byte {
	dst = append(dst, "v=0\r\no="...)
	dst = append(dst, d.Origin.User...)
	dst = append(dst, ' ')
	dst = append(dst, d.Origin.ID...)
	dst = append(dst, ' ')
	dst = append(dst, d.Origin.Version...)
	dst = append(dst, ' ')
	dst = d.Origin.Host.append(dst)
	dst = append(dst, "\r\ns=-\r\n"...)
	if d.Connection != "" {
		dst = append(dst, "c="...)
		dst = d.Connection.append(dst)
		dst = append(dst, "\r\n"...)
	}
	dst = append(dst, "t=0 0\r\n"...)
	for _, m := range d.Media {
		dst = m.append(dst, d.Connection)
	}
	return dst
}

// Bytes is the description as a message body.
func (d Description) Bytes() []byte { return d.Append(make([]byte, 0, 512)) }

func (h Host) append(dst []byte) []byte {
	family := "IN IP4 "
	if a, err := netip.ParseAddr(string(h)); err == nil && a.Is6() {
		family = "IN IP6 "
	}
	dst = append(dst, family...)
	return append(dst, h...)
}

func (m Media) append(dst []byte, session Host) []byte {
	dst = append(dst, "m="...)
	dst = append(dst, m.Type...)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, uint64(m.Port), 10)
	dst = append(dst, ' ')
	dst = append(dst, m.Proto...)
	if m.List != "" {
		dst = append(dst, ' ')
		dst = append(dst, m.List...)
	}
	for _, f := range m.Formats {
		dst = append(dst, ' ')
		dst = strconv.AppendUint(dst, uint64(f.Payload), 10)
	}
	dst = append(dst, "\r\n"...)
	if m.Connection != "" && m.Connection != session {
		dst = append(dst, "c="...)
		dst = m.Connection.append(dst)
		dst = append(dst, "\r\n"...)
	}
	if m.List != "" {
		return dst // refused, or not ours to describe
	}
	return m.appendAttributes(dst)
}

func (m Media) appendAttributes(dst []byte) []byte {
	for _, f := range m.Formats {
		dst = f.append(dst)
	}
	dst = appendMilliseconds(dst, "a=ptime:", m.Ptime)
	dst = appendMilliseconds(dst, "a=maxptime:", m.MaxPtime)
	if m.RTCP.IsValid() && m.RTCP != netip.AddrPortFrom(m.Connection.Addr(), m.Port+1) {
		dst = append(dst, "a=rtcp:"...)
		dst = strconv.AppendUint(dst, uint64(m.RTCP.Port()), 10)
		dst = append(dst, ' ')
		dst = Host(m.RTCP.Addr().String()).append(dst)
		dst = append(dst, "\r\n"...)
	}
	if m.RTCPMux {
		dst = append(dst, "a=rtcp-mux\r\n"...)
	}
	for _, c := range m.Crypto {
		dst = c.append(dst)
	}
	if !m.Fingerprint.IsZero() {
		dst = m.Setup.append(m.Fingerprint.append(dst))
	}
	dst = append(dst, "a="...)
	dst = append(dst, m.Direction.String()...)
	return append(dst, "\r\n"...)
}

func (f Format) append(dst []byte) []byte {
	if f.Name != "" {
		dst = append(dst, "a=rtpmap:"...)
		dst = strconv.AppendUint(dst, uint64(f.Payload), 10)
		dst = append(dst, ' ')
		dst = append(dst, f.Name...)
		dst = append(dst, '/')
		dst = strconv.AppendInt(dst, int64(f.Clock), 10)
		if f.Channels > 1 {
			dst = append(dst, '/')
			dst = strconv.AppendInt(dst, int64(f.Channels), 10)
		}
		dst = append(dst, "\r\n"...)
	}
	if f.Params != "" {
		dst = append(dst, "a=fmtp:"...)
		dst = strconv.AppendUint(dst, uint64(f.Payload), 10)
		dst = append(dst, ' ')
		dst = append(dst, f.Params...)
		dst = append(dst, "\r\n"...)
	}
	return f.Feedback.append(dst, f.Payload)
}

func appendMilliseconds(dst []byte, name string, d time.Duration) []byte {
	if d <= 0 {
		return dst
	}
	dst = append(dst, name...)
	dst = strconv.AppendInt(dst, d.Milliseconds(), 10)
	return append(dst, "\r\n"...)
}
