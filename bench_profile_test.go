package main_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// profiles is the directory that BenchmarkCalls writes profiles to
// (RIPTIDE_BENCH_PROFILE); "" = none.
func profiles() string { return os.Getenv("RIPTIDE_BENCH_PROFILE") }

// buildTags is what the binary is built with: the one that is profiled has a
// profiler, and no other.
func buildTags() string {
	if profiles() == "" {
		return ""
	}
	return "profile"
}

// profiler is the socket of a node's profiler; "" = it has none.
func (n node) profiler() string {
	if profiles() == "" {
		return ""
	}
	return filepath.Join(n.dir, "profile")
}

// profile writes one of net/http/pprof's profiles of each node to
// NODE.NAME.pprof, and returns at once; the function it returns waits.
func (s *benchSite) profile(b *testing.B, name, path string) (wait func()) {
	b.Helper()
	if profiles() == "" {
		return func() {}
	}
	errs := make(chan error, len(s.nodes))
	for _, n := range s.nodes {
		file := filepath.Join(profiles(), fmt.Sprintf("%s.%s.pprof", n.name, name))
		go func() { errs <- fetchProfile(b.Context(), n.profiler(), path, file) }()
	}
	return func() {
		for range s.nodes {
			if err := <-errs; err != nil {
				b.Errorf("profile %s: %v", name, err)
			}
		}
	}
}

func fetchProfile(ctx context.Context, socket, path, file string) error {
	client := http.Client{Timeout: 5 * time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://profile/debug/pprof/"+path, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", path, res.Status, body)
	}
	return os.WriteFile(file, body, 0o600)
}
