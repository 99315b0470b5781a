package ops

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// warnings counts lines by level.
type warnings struct{ warn, info atomic.Int64 }

func (w *warnings) Enabled(context.Context, slog.Level) bool { return true }
func (w *warnings) WithAttrs([]slog.Attr) slog.Handler       { return w }
func (w *warnings) WithGroup(string) slog.Handler            { return w }
func (w *warnings) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		w.warn.Add(1)
	} else {
		w.info.Add(1)
	}
	return nil
}

// TestAFullDiskIsSaidOnce, in /readyz as long as it lasts, and once that it is over:
// a cluster's other nodes take the writes, so that nothing else would tell.
func TestAFullDiskIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log warnings
		var left atomic.Uint64
		left.Store(1 << 30)
		s, err := New(Config{Listen: netip.MustParseAddrPort("127.0.0.1:0"), Logger: slog.New(&log), State: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		s.room.left = func(string) (uint64, error) { return left.Load(), nil }
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go s.watchRoom(ctx)
		readyz := func() (int, string) {
			w := httptest.NewRecorder()
			s.readyz(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
			return w.Code, w.Body.String()
		}
		for _, step := range []struct {
			left       uint64
			warn, info int64
			says       bool
		}{
			{1 << 30, 0, 0, false},
			{10 << 20, 1, 0, true},
			{0, 1, 0, true},
			{70 << 20, 1, 0, true}, // not enough to be sure
			{1 << 30, 1, 1, false},
			{1 << 20, 2, 1, true},
		} {
			left.Store(step.left)
			time.Sleep(3 * roomEvery)
			synctest.Wait()
			status, text := readyz()
			if log.warn.Load() != step.warn || log.info.Load() != step.info {
				t.Errorf("%d bytes left: %d warnings, %d other lines", step.left, log.warn.Load(), log.info.Load())
			}
			if status != http.StatusOK || strings.Contains(text, "little room") != step.says || !strings.HasPrefix(text, "ready\n") {
				t.Errorf("%d bytes left: %d %q", step.left, status, text)
			}
			if want := "riptide_state_free_bytes"; !strings.Contains(scrape(s), want) {
				t.Errorf("no metric %s", want)
			}
		}
	})
}

// TestRoomIsLookedUp on a real disk.
func TestRoomIsLookedUp(t *testing.T) {
	t.Parallel()
	if left, err := roomLeft(t.TempDir()); err != nil || left == 0 {
		t.Errorf("%d, %v", left, err)
	}
	if _, err := roomLeft(t.TempDir() + "/nothing"); err == nil {
		t.Error("room in a directory that is not there")
	}
}
