package systemd

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// listen is the service manager's end.
func listen(t *testing.T) func() string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return func() string {
		t.Helper()
		buf := make([]byte, 4096)
		if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
}

func TestNotify(t *testing.T) {
	read := listen(t)
	for _, tc := range []struct {
		tell func() error
		want string
	}{
		{func() error { return Ready("2 trunks") }, "READY=1\nSTATUS=2 trunks"},
		{func() error { return Ready("") }, "READY=1"},
		{func() error { return Ready("a\nMAINPID=1\x00b") }, "READY=1\nSTATUS=a MAINPID=1 b"},
		{func() error { return Stopping("3 calls") }, "STOPPING=1\nSTATUS=3 calls"},
	} {
		if err := tc.tell(); err != nil {
			t.Error(err)
		}
		if got := read(); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}

func TestNobodyListens(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "")
	if err := errors.Join(Ready("x"), Stopping("x"), Watchdog(t.Context(), nil, nil)); err != nil {
		t.Error(err)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "none"))
	if Ready("x") == nil {
		t.Error("no error where the socket is gone")
	}
	t.Setenv("WATCHDOG_USEC", "soon")
	if Watchdog(t.Context(), nil, nil) == nil {
		t.Error("no error where the interval is none")
	}
}

func TestWatchdogOverTheSocket(t *testing.T) {
	read := listen(t)
	t.Setenv("WATCHDOG_USEC", "20000")
	t.Setenv("WATCHDOG_PID", "")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Watchdog(ctx, func(context.Context) error { return nil }, func(err error) { t.Error(err) })
	}()
	for range 3 {
		if got := read(); got != "WATCHDOG=1" {
			t.Errorf("got %q", got)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestWatchdogStopsForTheDead: no word goes out while the process is not well,
// nor while the question hangs.
func TestWatchdogStopsForTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		gate := make(chan struct{}, 1) // full where the question hangs
		lock := func() { gate <- struct{}{} }
		unlock := func() { <-gate }
		var sick error
		var pings, reports atomic.Int32
		done := make(chan struct{})
		go func() {
			defer close(done)
			watch(ctx, time.Second,
				func(context.Context) error { lock(); defer unlock(); return sick },
				func() error { pings.Add(1); return nil },
				func(error) { reports.Add(1) })
		}()
		after := func(d time.Duration, wantPings, wantReports int32) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if pings.Load() != wantPings || reports.Load() != wantReports {
				t.Errorf("%d pings, %d reports, want %d, %d", pings.Load(), reports.Load(), wantPings, wantReports)
			}
		}
		after(0, 1, 0) // at once
		after(3*time.Second+time.Millisecond, 4, 0)
		lock()
		sick = errors.New("stuck")
		unlock()
		after(2*time.Second, 4, 2)
		lock()
		sick = nil
		after(time.Hour, 4, 2)
		unlock()
		synctest.Wait()
		cancel()
		<-done
	})
}
