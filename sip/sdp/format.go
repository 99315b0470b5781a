package sdp

import (
	"fmt"
	"strings"
)

// Format is one entry of the format list of an RTP section.
type Format struct {
	Payload  uint8  // RTP payload type number, 0–127
	Name     string // encoding name; "" if the number is dynamic and no rtpmap says what it is
	Clock    int    // RTP clock in Hz
	Channels int    // 1 unless said otherwise
	Params   string // value of a=fmtp, "" if there is none
	Feedback Feedback
}

// Formats this package has to know by name or number.
var (
	PCMU = Format{Payload: 0, Name: "PCMU", Clock: 8000, Channels: 1}
	PCMA = Format{Payload: 8, Name: "PCMA", Clock: 8000, Channels: 1}
	G722 = Format{Payload: 9, Name: "G722", Clock: 8000, Channels: 1} // the clock is wrong by design (RFC 3551 section 4.5.2)
	CN   = Format{Payload: 13, Name: "CN", Clock: 8000, Channels: 1}  // RFC 3389
)

const (
	telephoneEvent = "telephone-event"
	comfortNoise   = "CN"

	// eventClock is what digits have beside most codecs, and what many declare
	// beside Opus too (RFC 4733 section 2.4.1).
	eventClock = 8000
)

// Opus is RFC 7587 under a dynamic payload type number. Whatever a packet holds,
// the clock is 48 kHz and the channels are written as two (section 7); what is
// sent to us may carry a copy of the packet before (section 6.1, useinbandfec).
func Opus(payload uint8) Format {
	return Format{Payload: payload, Name: "opus", Clock: 48000, Channels: 2, Params: "useinbandfec=1"}
}

// TelephoneEvent is RFC 4733 with the events 0 to 16 (digits, *, #, A–D, flash)
// under a dynamic payload type number.
func TelephoneEvent(payload uint8, clock int) Format {
	return Format{Payload: payload, Name: telephoneEvent, Clock: clock, Channels: 1, Params: "0-16"}
}

// IsTelephoneEvent tells whether f carries digits.
func (f Format) IsTelephoneEvent() bool { return strings.EqualFold(f.Name, telephoneEvent) }

// IsComfortNoise tells whether f carries RFC 3389 comfort noise.
func (f Format) IsComfortNoise() bool { return strings.EqualFold(f.Name, comfortNoise) }

// Same tells whether both name the same encoding; payload type number and
// parameters may differ. Encoding names ignore case (RFC 4855 section 3).
func (f Format) Same(g Format) bool {
	return f.Name != "" && strings.EqualFold(f.Name, g.Name) && f.Clock == g.Clock && f.Channels == g.Channels
}

func (f Format) String() string {
	if f.Name == "" {
		return fmt.Sprintf("payload type %d", f.Payload)
	}
	return fmt.Sprintf("%s/%d", f.Name, f.Clock)
}

// accompanies tells formats that carry no speech of their own.
func (f Format) accompanies() bool { return f.IsTelephoneEvent() || f.IsComfortNoise() }

// static holds the payload type numbers of RFC 3551 table 4, which need no
// rtpmap.
var static = map[uint8]Format{
	0:  PCMU,
	3:  {Payload: 3, Name: "GSM", Clock: 8000, Channels: 1},
	4:  {Payload: 4, Name: "G723", Clock: 8000, Channels: 1},
	5:  {Payload: 5, Name: "DVI4", Clock: 8000, Channels: 1},
	6:  {Payload: 6, Name: "DVI4", Clock: 16000, Channels: 1},
	7:  {Payload: 7, Name: "LPC", Clock: 8000, Channels: 1},
	8:  PCMA,
	9:  G722,
	10: {Payload: 10, Name: "L16", Clock: 44100, Channels: 2},
	11: {Payload: 11, Name: "L16", Clock: 44100, Channels: 1},
	12: {Payload: 12, Name: "QCELP", Clock: 8000, Channels: 1},
	13: CN,
	14: {Payload: 14, Name: "MPA", Clock: 90000, Channels: 1},
	15: {Payload: 15, Name: "G728", Clock: 8000, Channels: 1},
	16: {Payload: 16, Name: "DVI4", Clock: 11025, Channels: 1},
	17: {Payload: 17, Name: "DVI4", Clock: 22050, Channels: 1},
	18: {Payload: 18, Name: "G729", Clock: 8000, Channels: 1},
}

// Speech finds the first format that carries speech.
func Speech(formats []Format) (Format, bool) {
	for _, f := range formats {
		if !f.accompanies() && f.Name != "" {
			return f, true
		}
	}
	return Format{}, false
}
