package rtp

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"

	"riptide/sip/sdp"
)

// reportEvery is the mean time between reports (RFC 3550 section 6.2).
const reportEvery = 5 * time.Second

// control is the RTCP side of a port.
type control struct {
	every time.Duration
	muxed atomic.Bool // reports share the media port

	mu       sync.Mutex
	said     netip.AddrPort // where the SDP wants reports
	learned  netip.AddrPort // where reports come from
	peer     uint32         // SSRC of the reports heard last
	lost     uint64         // packets of ours lost, of the peer's current count
	lostPast uint64         // the same, of counts that began anew
	trip     time.Duration

	outMu sync.Mutex // sends on the socket of the reports
	out   packetWriter
}

func (c *control) configure(a sdp.Agreed) {
	c.muxed.Store(a.RTCPMux)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said, c.learned = a.RemoteRTCP, netip.AddrPort{}
}

// heard is what the peer said of our stream.
func (c *control) heard() (lost uint64, trip time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lostPast + c.lost, c.trip
}

// onRTCP takes a datagram with reports. Those from strangers and malformed ones
// are counted with the media's; good ones are not media, and not counted.
func (p *Port) onRTCP(b []byte, from netip.AddrPort, now time.Time) {
	p.rx.mu.Lock()
	l := &p.rx.latch
	ip := from.Addr()
	known := ip == l.target().Addr() || ip == l.sdp.Addr()
	media := p.rx.src.ssrc
	p.rx.mu.Unlock()

	c := &p.rc
	c.mu.Lock()
	known = known || ip == c.said.Addr()
	c.mu.Unlock()
	if !known {
		p.countReport(&p.rx.foreign)
		return
	}
	if !eachReport(b, func(sender uint32, ntp uint64, reports []rtcp.ReceptionReport) {
		p.onReport(sender, ntp, reports, media, from, now)
	}) {
		p.countReport(&p.rx.malformed)
	}
}

func (p *Port) countReport(n *uint64) {
	p.rx.mu.Lock()
	*n++
	p.rx.mu.Unlock()
}

// eachReport walks a compound packet and calls f for each sender or receiver
// report; ntp is 0 for the latter. Other packets are passed over unread. It
// returns false if the packet is malformed: f may have been called for what was
// before the flaw.
func eachReport(b []byte, f func(sender uint32, ntp uint64, reports []rtcp.ReceptionReport)) bool {
	if len(b) == 0 || len(b) > maxPacket {
		return false
	}
	for n := 0; len(b) > 0; n++ {
		var h rtcp.Header
		if n == maxReports || h.Unmarshal(b) != nil {
			return false
		}
		size := (int(h.Length) + 1) * 4
		if size > len(b) {
			return false
		}
		switch h.Type {
		case rtcp.TypeSenderReport:
			var sr rtcp.SenderReport
			if sr.Unmarshal(b[:size]) != nil {
				return false
			}
			f(sr.SSRC, sr.NTPTime, sr.Reports)
		case rtcp.TypeReceiverReport:
			var rr rtcp.ReceiverReport
			if rr.Unmarshal(b[:size]) != nil {
				return false
			}
			f(rr.SSRC, 0, rr.Reports)
		}
		b = b[size:]
	}
	return true
}

// onReport takes one report of the peer's.
func (p *Port) onReport(from uint32, ntp uint64, reports []rtcp.ReceptionReport, media uint32, addr netip.AddrPort, now time.Time) {
	if ntp != 0 && from == media {
		p.rx.mu.Lock()
		p.rx.srMiddle, p.rx.srAt = middle(ntp), now
		p.rx.mu.Unlock()
	}
	p.tx.mu.Lock()
	ours, sent := p.tx.ssrc, p.tx.sent
	p.tx.mu.Unlock()
	c := &p.rc
	c.mu.Lock()
	defer c.mu.Unlock()
	if from == media {
		c.learned = addr
	}
	for _, r := range reports {
		if r.SSRC == ours {
			c.reception(from, r, sent, now)
		}
	}
}

// reception takes what the peer says of our stream.
func (c *control) reception(from uint32, r rtcp.ReceptionReport, sent uint64, now time.Time) {
	lost := uint64(r.TotalLost)
	if r.TotalLost >= 1<<23 { // a negative count: duplicates (RFC 3550 section 6.4.1)
		lost = 0
	}
	if from != c.peer {
		c.lostPast += c.lost
		c.lost, c.peer = 0, from
	}
	c.lost = min(lost, sent) // nobody loses more than was sent
	if r.LastSenderReport == 0 {
		return
	}
	// In units of 1/65536 s, modulo 2^32 as the field is.
	trip := int32(middle(ntpTime(now)) - r.LastSenderReport - r.Delay)
	if trip >= 0 && trip < 60<<16 {
		c.trip = time.Duration(trip) * time.Second / (1 << 16)
	}
}

// nextReport is when a report is due after now: half to one and a half of the
// interval, so that reports of many ports do not meet (RFC 3550 section 6.3.1);
// the first one comes earlier.
func (p *Port) nextReport(now time.Time, first bool) time.Time {
	every := p.rc.every
	if first {
		every /= 2
	}
	return now.Add(every/2 + rand.N(every))
}

// report sends a sender report if media was sent since the last one, else a
// receiver report, and our name.
func (p *Port) report(now time.Time) {
	p.sendReports(p.compound(now))
}

// goodbye is the last report.
func (p *Port) goodbye(now time.Time) {
	p.tx.mu.Lock()
	ssrc := p.tx.ssrc
	p.tx.mu.Unlock()
	p.sendReports(append(p.compound(now), &rtcp.Goodbye{Sources: []uint32{ssrc}}))
}

func (p *Port) compound(now time.Time) []rtcp.Packet {
	reports := p.receptionReports(now)
	p.tx.mu.Lock()
	defer p.tx.mu.Unlock()
	s := &p.tx
	name := rtcp.NewCNAMESourceDescription(s.ssrc, p.cname)
	if s.sent == s.sentAtLastRTCP {
		return []rtcp.Packet{&rtcp.ReceiverReport{SSRC: s.ssrc, Reports: reports}, name}
	}
	s.sentAtLastRTCP = s.sent
	return []rtcp.Packet{&rtcp.SenderReport{
		SSRC:        s.ssrc,
		NTPTime:     ntpTime(now),
		RTPTime:     s.line.at(now),
		PacketCount: uint32(s.sent),
		OctetCount:  uint32(s.octets),
		Reports:     reports,
	}, name}
}

// receptionReports is what we say of the peer's stream.
func (p *Port) receptionReports(now time.Time) []rtcp.ReceptionReport {
	p.rx.mu.Lock()
	defer p.rx.mu.Unlock()
	r := &p.rx
	if !r.src.started {
		return nil
	}
	report := rtcp.ReceptionReport{
		SSRC:               r.src.ssrc,
		FractionLost:       r.src.fraction(),
		TotalLost:          uint32(min(r.src.lost(), 1<<23-1)),
		LastSequenceNumber: uint32(r.src.highest - 1<<16), // our cycles begin at 1
		Jitter:             r.src.jitterUnits(),
	}
	if !r.srAt.IsZero() {
		report.LastSenderReport = r.srMiddle
		report.Delay = uint32(now.Sub(r.srAt) * (1 << 16) / time.Second)
	}
	return []rtcp.ReceptionReport{report}
}

// sendReports sends a compound packet to where the peer's reports come from, or
// should.
func (p *Port) sendReports(packets []rtcp.Packet) {
	b, err := rtcp.Marshal(packets)
	if err != nil {
		return // only fields out of range make it fail, and these are clamped
	}
	p.rx.mu.Lock()
	locked, said := p.rx.latch.locked, p.rx.latch.sdp
	p.rx.mu.Unlock()
	if p.rc.muxed.Load() {
		p.tx.mu.Lock()
		defer p.tx.mu.Unlock()
		_ = p.tx.out.send(b, p.tx.to) // reports are best effort, the next one says all again
		return
	}
	if to := p.rc.target(locked, said); to.IsValid() {
		p.rc.outMu.Lock()
		defer p.rc.outMu.Unlock()
		_ = p.rc.out.send(b, to)
	}
}

// target is where reports go when they have their own port.
func (c *control) target(locked, said netip.AddrPort) netip.AddrPort {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.learned.IsValid():
		return c.learned
	case locked.IsValid() && locked != said && locked.Addr() != c.said.Addr() && locked.Port() < 65535:
		return netip.AddrPortFrom(locked.Addr(), locked.Port()+1)
	}
	return c.said
}

// ntpTime is a moment in NTP's 32.32 format, of the era that began in 1900.
func ntpTime(t time.Time) uint64 {
	const from1900 = 2_208_988_800
	seconds := uint64(t.Unix() + from1900)
	fraction := uint64(t.Nanosecond()) << 32 / uint64(time.Second)
	return seconds<<32 | fraction
}

// middle is the 32 bits that reports refer to each other by.
func middle(ntp uint64) uint32 { return uint32(ntp >> 16) }
