package siptest

import (
	"errors"
	"slices"
	"testing"
	"time"
)

func TestParseSippTimes(t *testing.T) {
	t.Parallel()
	got, err := ParseSippTimes([]byte("Date_ms;response_time_ms;rtd_no\n104.001;0;1\n204.001;12;1\n304.001; 1.5;1\n"))
	if want := []time.Duration{0, 12 * time.Millisecond, 1500 * time.Microsecond}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	if got, err := ParseSippTimes(nil); err != nil || len(got) != 0 {
		t.Errorf("of nothing: %v, %v", got, err)
	}
	for _, bad := range []string{"h\n1;x;1\n", "h\n1;-1;1\n", "h\n1;1e300;1\n"} {
		if _, err := ParseSippTimes([]byte(bad)); !errors.Is(err, ErrSippStat) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
