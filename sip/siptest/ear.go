package siptest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"riptide/bridge/bridgetest"
)

const (
	earEvery = 10 * time.Millisecond // how often the recording is looked at
	wavHead  = 44                    // bytes before the first sample
	// earRate is that of the recordings: 16 bits, 8000 times a second.
	earRate = 2 * 8000
)

// Ear watches what a baresip records: it writes down what comes when it comes, so
// a recording that does not grow is one in which nothing is heard.
type Ear struct {
	phone *BaresipRun

	mu      sync.Mutex
	bytes   int64
	grew    time.Time // when more was there than before
	still   time.Time // when it was looked at in vain
	longest time.Duration
	since   time.Time // when Anew was called, and what was there
	from    int64
}

// Ear begins to watch the recordings of a baresip whose call is up.
func (r *BaresipRun) Ear(t testing.TB) *Ear {
	t.Helper()
	now := time.Now()
	e := &Ear{phone: r, grew: now, still: now, since: now}
	over := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(earEvery)
		defer tick.Stop()
		for {
			e.look()
			select {
			case <-tick.C:
			case <-over:
				return
			}
		}
	})
	t.Cleanup(func() {
		close(over)
		watching.Wait()
	})
	return e
}

// look takes note of what is there. That this test was not let run for a while is
// nothing that the phone has not heard: only a look in vain counts.
func (e *Ear) look() {
	var bytes int64
	if entries, err := os.ReadDir(e.phone.dir); err == nil {
		for _, f := range entries {
			if !strings.HasPrefix(f.Name(), "dump-") || !strings.HasSuffix(f.Name(), "-dec.wav") {
				continue
			}
			if info, err := f.Info(); err == nil {
				bytes += max(0, info.Size()-wavHead)
			}
		}
	}
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if bytes == e.bytes {
		e.still = now
		e.longest = max(e.longest, e.still.Sub(e.grew))
		return
	}
	e.bytes, e.grew = bytes, now
}

// Silence is for how long nothing was heard at most since Anew, and for how long
// nothing has been heard now.
func (e *Ear) Silence() (longest, now time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.longest, max(0, e.still.Sub(e.grew))
}

// Heard is how much is recorded.
func (e *Ear) Heard() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return audio(e.bytes)
}

// Missing is how much less is recorded since Anew than time has gone by.
func (e *Ear) Missing() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return max(0, e.grew.Sub(e.since)-audio(e.bytes-e.from))
}

// Anew begins to measure.
func (e *Ear) Anew() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.longest, e.since, e.from = 0, e.grew, e.bytes
}

func audio(bytes int64) time.Duration { return time.Duration(bytes) * time.Second / earRate }

// End is the last of what was heard, in all recordings: at most so much.
func (e *Ear) End(long time.Duration) (samples []int16, rate int, err error) {
	files, err := filepath.Glob(filepath.Join(e.phone.dir, "dump-*-dec.wav"))
	if err != nil {
		return nil, 0, err
	}
	slices.Sort(files)
	for _, file := range slices.Backward(files) {
		part, hz, err := bridgetest.LoadWAV(file)
		if err != nil {
			return nil, 0, err
		}
		samples, rate = append(part, samples...), hz
		if n := int(long.Seconds() * float64(rate)); len(samples) >= n {
			return samples[len(samples)-n:], rate, nil
		}
	}
	return samples, rate, nil
}
