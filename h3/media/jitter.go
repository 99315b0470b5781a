package media

import "time"

// jitter is the interarrival jitter of RFC 3550 section 6.4.1, in nanoseconds.
type jitter struct {
	rate    uint64 // of the clock; 0 before the first packet
	transit time.Duration
	j       time.Duration
}

// add enters a packet of media time clock that arrived at.
func (j *jitter) add(clock, rate uint64, at time.Time) {
	transit := time.Duration(at.UnixNano()) - time.Duration(clock%(1<<32)*uint64(time.Second)/rate)
	d := (transit - j.transit).Abs()
	j.transit = transit
	if j.rate != rate || d > 10*time.Second { // a clock that jumped is no jitter
		j.rate = rate
		return
	}
	j.j += (d - j.j) / 16
}

func (j *jitter) value() time.Duration { return j.j }
