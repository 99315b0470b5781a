package storetest

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"riptide/bridge/store"
)

// Calls is what the records of calls cost: each is made, changed three
// times and removed, two dozen at once. The time the kernel and we took of the processors
// says more than the time by the clock.
func (k Kind) Calls(b *testing.B) {
	s := k.open(b, b.TempDir())
	defer func() { _ = s.Close() }()
	record := bytes.Repeat([]byte("0123456789abcdef"), 160)
	var calls atomic.Int64
	user, system := processors(b)
	b.SetParallelism(12)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			key := fmt.Sprint("call-", calls.Add(1))
			rev, err := s.Create(b.Context(), store.Calls, key, record, 0)
			for range 3 {
				if err == nil {
					rev, err = s.Update(b.Context(), store.Calls, key, record, rev)
				}
			}
			if err == nil {
				err = s.Delete(b.Context(), store.Calls, key)
			}
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	userNow, systemNow := processors(b)
	b.ReportMetric(float64((userNow-user).Microseconds())/float64(b.N), "user-µs/call")
	b.ReportMetric(float64((systemNow-system).Microseconds())/float64(b.N), "system-µs/call")
}

// processors is the time that this process has had of them.
func processors(b *testing.B) (user, system time.Duration) {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano()), time.Duration(u.Stime.Nano())
}
