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

// control is the RTCP side of a stream.
type control struct {
	every time.Duration
	muxed atomic.Bool // reports share the media port

	mu       sync.Mutex
	said     netip.AddrPort // where the SDP wants reports
	learned  netip.AddrPort // where reports come from
	peer     uint32         // SSRC of the reports heard last
	lost     uint64         // packets of ours lost, of the peer's current count
	lostPast uint64         // the same, of counts that began anew
	inherits bool           // the peer's count still grows by what another process has sent
	first    uint16         // number of our first packet then
	before   uint64         // lost of what another process has sent
	trip     time.Duration
	fir      asked     // by the peer
	firSent  uint8     // number of our last FIR
	firOnly  bool      // the peer understands no PLI
	last     time.Time // of the peer's last reports

	outMu sync.Mutex // sends on the socket of the reports
	out   packetWriter
}

func (c *control) configure(a sdp.Stream) {
	c.muxed.Store(a.RTCPMux)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said, c.learned = a.RemoteRTCP, netip.AddrPort{}
	c.firOnly = len(a.Send) > 0 && a.Send[0].Feedback == sdp.FIR
}

// heard is what the peer said of our stream.
func (c *control) heard() (lost uint64, trip time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lostPast + c.lost, c.trip
}

// onReports takes a datagram of the socket of the reports.
func (s *stream) onReports(b []byte, from netip.AddrPort, now time.Time) {
	s.port.tap.saw(s.reports, from, b)
	if isDTLS(b) {
		if !s.dtls.onDTLS(b, from, true) {
			s.count(&s.rx.malformed)
		}
		return
	}
	s.onRTCP(b, from, now)
}

// onRTCP takes a datagram with reports. Those from strangers and malformed ones
// are counted with the media's; good ones are not media, and not counted.
func (s *stream) onRTCP(b []byte, from netip.AddrPort, now time.Time) {
	s.rx.mu.Lock()
	l := &s.rx.latch
	ip := from.Addr()
	known := ip == l.target().Addr() || ip == l.sdp.Addr()
	media := s.rx.src.ssrc
	s.rx.mu.Unlock()

	c := &s.rc
	c.mu.Lock()
	known = known || ip == c.said.Addr()
	c.mu.Unlock()
	if !known {
		s.count(&s.rx.foreign)
		return
	}
	s.rx.mu.Lock()
	b, err := s.rx.open.rtcp(b, now)
	s.rx.mu.Unlock()
	if err != nil {
		s.count(&s.rx.undecrypted)
		return
	}
	if !eachReport(b, reportTaker{
		report: func(sender uint32, ntp uint64, reports []rtcp.ReceptionReport) {
			s.onReport(sender, ntp, reports, media, from, now)
		},
		request: s.onRequest,
	}) {
		s.count(&s.rx.malformed)
		return
	}
	c.mu.Lock()
	c.last = now
	c.mu.Unlock()
}

func (s *stream) count(n *uint64) {
	s.rx.mu.Lock()
	*n++
	s.rx.mu.Unlock()
}

// onReport takes one report of the peer's.
func (s *stream) onReport(from uint32, ntp uint64, reports []rtcp.ReceptionReport, media uint32, addr netip.AddrPort, now time.Time) {
	if ntp != 0 && from == media {
		s.rx.mu.Lock()
		s.rx.srMiddle, s.rx.srAt = middle(ntp), now
		s.rx.mu.Unlock()
	}
	s.tx.mu.Lock()
	ours, sent := s.tx.ssrc, s.tx.sent
	s.tx.mu.Unlock()
	c := &s.rc
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
		if c.lost, c.peer = 0, from; !c.inherits {
			c.before = 0
		}
	}
	if c.inherits {
		c.before = lost
		c.inherits = int16(uint16(r.LastSequenceNumber)-c.first) < 0
	}
	lost -= min(lost, c.before)
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
func (s *stream) nextReport(now time.Time, first bool) time.Time {
	every := s.rc.every
	if first {
		every /= 2
	}
	return now.Add(every/2 + rand.N(every))
}

// report sends a sender report if media was sent since the last one, else a
// receiver report, and our name.
func (s *stream) report(now time.Time) {
	s.tx.reassure(now)
	s.sendReports(s.compound(now))
}

// goodbye is the last report.
func (s *stream) goodbye(now time.Time) {
	s.tx.mu.Lock()
	ssrc := s.tx.ssrc
	s.tx.mu.Unlock()
	s.sendReports(append(s.compound(now), &rtcp.Goodbye{Sources: []uint32{ssrc}}))
}

func (s *stream) compound(now time.Time) []rtcp.Packet {
	reports := s.receptionReports(now)
	s.tx.mu.Lock()
	defer s.tx.mu.Unlock()
	t := &s.tx
	name := rtcp.NewCNAMESourceDescription(t.ssrc, s.port.cname)
	if t.sent == t.sentAtLastRTCP {
		return []rtcp.Packet{&rtcp.ReceiverReport{SSRC: t.ssrc, Reports: reports}, name}
	}
	t.sentAtLastRTCP = t.sent
	return []rtcp.Packet{&rtcp.SenderReport{
		SSRC:        t.ssrc,
		NTPTime:     ntpTime(now),
		RTPTime:     t.line.at(now),
		PacketCount: uint32(t.sent - t.sentBefore),
		OctetCount:  uint32(t.octets),
		Reports:     reports,
	}, name}
}

// receptionReports is what we say of the peer's stream.
func (s *stream) receptionReports(now time.Time) []rtcp.ReceptionReport {
	s.rx.mu.Lock()
	defer s.rx.mu.Unlock()
	r := &s.rx
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
func (s *stream) sendReports(packets []rtcp.Packet) {
	b, err := rtcp.Marshal(packets)
	if err != nil {
		return // only fields out of range make it fail, and these are clamped
	}
	s.rx.mu.Lock()
	locked, said := s.rx.latch.locked, s.rx.latch.sdp
	s.rx.mu.Unlock()
	s.tx.mu.Lock()
	if s.tx.closed {
		s.tx.mu.Unlock()
		return // others speak for us
	}
	if b, err = s.tx.seal.rtcp(b); err != nil {
		s.tx.mu.Unlock()
		return // no key yet: the next one says all again
	}
	if s.rc.muxed.Load() {
		defer s.tx.mu.Unlock()
		_ = s.tx.out.send(b, s.tx.to) // reports are best effort, the next one says all again
		return
	}
	s.tx.mu.Unlock()
	if to := s.rc.target(locked, said); to.IsValid() {
		s.rc.outMu.Lock()
		defer s.rc.outMu.Unlock()
		_ = s.rc.out.send(b, to)
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
