package sdp

import (
	"strconv"
	"strings"
)

// Feedback says which requests the owner of a video format understands besides
// reports (RFC 4585 section 4.2, RFC 5104 section 7.1).
type Feedback uint8

// The kinds of feedback we know: both ask for a keyframe.
const (
	PLI Feedback = 1 << iota // a=rtcp-fb:… nack pli
	FIR                      // a=rtcp-fb:… ccm fir
)

var feedbackNames = []struct {
	bit  Feedback
	name string
}{{PLI, "nack pli"}, {FIR, "ccm fir"}}

// feedbackNamed is the kind that a name means, 0 if we do not know it.
func feedbackNamed(name string) Feedback {
	name = strings.ToLower(strings.Join(strings.Fields(name), " "))
	for _, f := range feedbackNames {
		if f.name == name {
			return f.bit
		}
	}
	return 0
}

func (f Feedback) append(dst []byte, payload uint8) []byte {
	for _, known := range feedbackNames {
		if f&known.bit != 0 {
			dst = append(dst, "a=rtcp-fb:"...)
			dst = strconv.AppendUint(dst, uint64(payload), 10)
			dst = append(dst, ' ')
			dst = append(dst, known.name...)
			dst = append(dst, "\r\n"...)
		}
	}
	return dst
}
