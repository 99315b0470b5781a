package sdp

import (
	"net/netip"
	"strings"
	"time"
)

// Description is one session description.
type Description struct {
	Origin     Origin
	Connection Host    // session level c=, "" if there is none
	Media      []Media // every m= section, in order
}

// Origin identifies the session and its version. Two descriptions of a session
// with equal Origins say the same (RFC 3264 section 8).
type Origin struct {
	User    string
	ID      string // digits
	Version string // digits
	Host    Host
}

// Host is what a c= or o= line names: an IP address or a domain name.
type Host string

// Addr is the address, invalid if the host is a domain name.
func (h Host) Addr() netip.Addr {
	a, err := netip.ParseAddr(string(h))
	if err != nil || a.Zone() != "" {
		return netip.Addr{}
	}
	return a.Unmap()
}

// hold tells the addresses that mean "send me nothing" (RFC 3264 section 8.4,
// RFC 6157 section 5.1 for the name).
func (h Host) hold() bool {
	return h.Addr().IsUnspecified() || h == "invalid" || strings.HasSuffix(string(h), ".invalid")
}

// Media is one m= section. Session level values it inherits are filled in.
type Media struct {
	Type       string // "audio", "video", "image", …
	Port       uint16 // 0 = refused, or not used any more
	Proto      string // "RTP/AVP", "udptl", …
	Formats    []Format
	List       string // format list as it stands, of sections whose formats are not read; else ""
	Connection Host
	RTCP       netip.AddrPort // from a=rtcp, else the next port; invalid if neither makes sense
	Ptime      time.Duration  // 0 = not said
	MaxPtime   time.Duration  // 0 = not said
	Direction  Direction      // a connection address that means hold is included
	RTCPMux    bool

	Crypto      []Crypto    // those we understand, in their order
	Fingerprint Fingerprint // zero = none
	Setup       Setup
}

// Remote is where the section wants its media. It is invalid if the section
// names no unicast address: one waits for the peer's first packet then.
func (m Media) Remote() netip.AddrPort {
	return usable(netip.AddrPortFrom(m.Connection.Addr(), m.Port))
}

func usable(a netip.AddrPort) netip.AddrPort {
	ip := a.Addr()
	if !ip.IsValid() || ip.IsUnspecified() || ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || a.Port() == 0 {
		return netip.AddrPort{}
	}
	return a
}

// Packet times honoured when a peer asks for them.
const (
	MinPtime = 10 * time.Millisecond
	MaxPtime = 60 * time.Millisecond
)

// PacketTime is the packet time to send the section's owner: what it asked for
// in whole steps of 10 ms, between 10 and 60 ms and not over its maxptime; 0 if
// it did not ask.
func (m Media) PacketTime() time.Duration {
	p := m.Ptime
	if p == 0 {
		return 0
	}
	if m.MaxPtime > 0 {
		p = min(p, m.MaxPtime)
	}
	return min(max(p.Truncate(MinPtime), MinPtime), MaxPtime)
}

// maxPacketTime is the longest packet that may be sent to the section's owner, in
// whole steps of 10 ms; 0 if it did not say.
func (m Media) maxPacketTime() time.Duration {
	if m.MaxPtime == 0 {
		return 0
	}
	return max(m.MaxPtime.Truncate(MinPtime), MinPtime)
}

// Types of sections that we can use.
const (
	audioType = "audio"
	videoType = "video"
)

// rtp tells the sections whose formats are read: audio and video over RTP.
func (m Media) rtp() bool {
	return (m.Type == audioType || m.Type == videoType) && overRTP(m.Proto) && m.List == ""
}

// Audio finds the section to talk on: the first with audio over RTP that is not
// refused. Whether its protection suits us is for Acceptable to say. ok is false if there is none.
func (d Description) Audio() (m Media, ok bool) { return d.at(d.usable(audioType)) }

// Video finds the section for video in the same way.
func (d Description) Video() (m Media, ok bool) { return d.at(d.usable(videoType)) }

// usable is the place of the first section of a type that can be used, -1 if
// there is none.
func (d Description) usable(kind string) int {
	for i, m := range d.Media {
		if m.live(kind) {
			return i
		}
	}
	return -1
}

// at is the section at a place, if there is one.
func (d Description) at(i int) (Media, bool) {
	if i < 0 || i >= len(d.Media) {
		return Media{}, false
	}
	return d.Media[i], true
}
