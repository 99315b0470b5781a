package rtp

import (
	"time"

	"github.com/pion/rtcp"

	"riptide/bridge"
)

// reportTaker is told what a compound packet holds, in its order.
type reportTaker struct {
	// report takes each sender or receiver report; ntp is 0 for the latter.
	report func(sender uint32, ntp uint64, reports []rtcp.ReceptionReport)
	// request takes each request for a keyframe. fir is its number if it is a
	// FIR, -1 otherwise: a FIR may be repeated (RFC 5104 section 4.3.1.2).
	request func(sender, media uint32, fir int)
}

// eachReport walks a compound packet. Packets that nobody takes are passed over
// unread. It returns false if the packet is malformed: the taker may have been
// told of what was before the flaw.
func eachReport(b []byte, to reportTaker) bool {
	if len(b) == 0 || len(b) > maxPacket {
		return false
	}
	for n := 0; len(b) > 0; n++ {
		var h rtcp.Header
		if n == maxReports || h.Unmarshal(b) != nil {
			return false
		}
		size := (int(h.Length) + 1) * 4
		if size > len(b) || !to.take(h, b[:size]) {
			return false
		}
		b = b[size:]
	}
	return true
}

func (to reportTaker) take(h rtcp.Header, b []byte) bool {
	switch {
	case h.Type == rtcp.TypeSenderReport:
		var sr rtcp.SenderReport
		if sr.Unmarshal(b) != nil {
			return false
		}
		to.report(sr.SSRC, sr.NTPTime, sr.Reports)
	case h.Type == rtcp.TypeReceiverReport:
		var rr rtcp.ReceiverReport
		if rr.Unmarshal(b) != nil {
			return false
		}
		to.report(rr.SSRC, 0, rr.Reports)
	case h.Type == rtcp.TypePayloadSpecificFeedback && h.Count == rtcp.FormatPLI:
		var pli rtcp.PictureLossIndication
		if pli.Unmarshal(b) != nil {
			return false
		}
		to.request(pli.SenderSSRC, pli.MediaSSRC, -1)
	case h.Type == rtcp.TypePayloadSpecificFeedback && h.Count == rtcp.FormatFIR:
		var fir rtcp.FullIntraRequest
		if fir.Unmarshal(b) != nil {
			return false
		}
		for _, e := range fir.FIR {
			to.request(fir.SenderSSRC, e.SSRC, int(e.SequenceNumber))
		}
	}
	return true
}

// asked is the FIR heard last.
type asked struct {
	by     uint32
	number int
	any    bool
}

// onRequest hands a request of the peer's for a keyframe on to who sends the
// picture. Some peers name no source, or that of before a restart: there is only
// one, so they mean it.
func (s *stream) onRequest(sender, _ uint32, fir int) {
	if s.kind != bridge.Video {
		return
	}
	c := &s.rc
	c.mu.Lock()
	again := fir >= 0 && c.fir == asked{sender, fir, true}
	if fir >= 0 {
		c.fir = asked{sender, fir, true}
	}
	c.mu.Unlock()
	s.tx.mu.Lock()
	codec := s.tx.first
	s.tx.mu.Unlock()
	if again || codec.Kind() != bridge.Video {
		return
	}
	s.port.requested.Add(1)
	s.port.hand(&bridge.Frame{Codec: codec, Request: bridge.RequestKeyframe})
}

// requestKeyframe asks the peer for one: by PLI, or by FIR if that is all it
// understands. Feedback travels in a compound packet (RFC 4585 section 3.1), at
// once: the picture is broken until it is heard.
func (s *stream) requestKeyframe(now time.Time) {
	s.rx.mu.Lock()
	media, started := s.rx.src.ssrc, s.rx.src.started
	s.rx.mu.Unlock()
	if !started {
		return // the first picture will be a whole one
	}
	s.tx.mu.Lock()
	ours, closed := s.tx.ssrc, s.tx.closed
	s.tx.mu.Unlock()
	if closed {
		return
	}
	s.rc.mu.Lock()
	var request rtcp.Packet = &rtcp.PictureLossIndication{SenderSSRC: ours, MediaSSRC: media}
	if s.rc.firOnly {
		s.rc.firSent++
		request = &rtcp.FullIntraRequest{SenderSSRC: ours, FIR: []rtcp.FIREntry{{SSRC: media, SequenceNumber: s.rc.firSent}}}
	}
	s.rc.mu.Unlock()
	s.sendReports(append(s.compound(now), request))
}
