package bridge_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"riptide/bridge"
)

// lines keeps what was logged.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) with(words ...string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		has := true
		for _, w := range words {
			has = has && strings.Contains(line, w)
		}
		if has {
			found = append(found, line)
		}
	}
	return found
}

// TestThatANodeIsCutOffIsSaidOnce for all its calls.
func TestThatANodeIsCutOffIsSaidOnce(t *testing.T) {
	const calls = 7
	var log lines
	logged := func(cfg *bridge.Config) {
		if cfg.Node == "one" {
			cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		}
	}
	inSiteOf(t, logged, func(t *testing.T, s *site) {
		s.nodes["one"].calls(calls)
		s.isolate("one", true)
		time.Sleep(10 * time.Second)
		if got := log.with("level=WARN"); len(got) != 1 || !strings.Contains(got[0], "calls fenced") || !strings.Contains(got[0], "calls=7") {
			t.Errorf("warned: %s", got)
		}
		if got := log.with("level=DEBUG", "call fenced", "call="); len(got) != calls {
			t.Errorf("%d details: %s", len(got), got)
		}
		time.Sleep(time.Minute)
	})
}
