package bridgetest

import (
	"time"
	"unsafe"
)

// Stepped is what time.Now would have been, instead of t, on a machine whose clock
// was set by that much, in whole seconds: the time of day is another, the time that
// has passed is not. Time.Add moves both.
func Stepped(t time.Time, by time.Duration) time.Time {
	// Of a time with a monotonic reading, the 33 bits above the nanoseconds are the
	// seconds of the day's time (time.Time has no other way to change them alone).
	const sinceStart, seconds = 1 << 63, 30
	day := (*uint64)(unsafe.Pointer(&t))
	if *day&sinceStart == 0 {
		panic("bridgetest: the time does not come from time.Now")
	}
	*day += uint64(int64(by/time.Second)) << seconds
	return t
}
