package media

import "time"

// jitter is the interarrival jitter of RFC 3550 section 6.4.1, in nanoseconds.
type jitter struct {
	started bool
	transit time.Duration
	j       time.Duration
}

// add enters a packet of media time clock that arrived at.
func (j *jitter) add(clock uint64, at time.Time) {
	transit := time.Duration(at.UnixNano()) - time.Duration(clock%(1<<32))*(time.Second/clockRate)
	d := (transit - j.transit).Abs()
	j.transit = transit
	if !j.started || d > 10*time.Second { // a clock that jumped is no jitter
		j.started = true
		return
	}
	j.j += (d - j.j) / 16
}

func (j *jitter) value() time.Duration { return j.j }
