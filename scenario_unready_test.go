package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"riptide/bridge/store/embedded"
	"riptide/ops"
)

// TestANodeThatIsNoUseIsNotReady: one whose certificate the others refuse, and one
// with another cluster.key than they, say so to whoever asks /readyz, with the key
// that mends it; the others stay ready.
func TestANodeThatIsNoUseIsNotReady(t *testing.T) {
	t.Parallel()
	f := newNodeFiles(t)
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	quiet := slog.New(slog.DiscardHandler)
	write := func(name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(f.dirs["telco-1"], name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	says := func(addr func() netip.AddrPort, what string) string {
		t.Helper()
		text := "nothing yet"
		for {
			if at := addr(); at.IsValid() {
				res, err := http.Get("http://" + at.String() + "/readyz")
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if text = string(b); err == nil && res.StatusCode == http.StatusServiceUnavailable && strings.Contains(text, what) {
					return text
				}
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				t.Fatalf("/readyz does not say %q: %s", what, text)
			}
		}
	}

	other := make([]byte, 32)
	_, _ = rand.Read(other)
	write("cluster.key", []byte(base64.StdEncoding.EncodeToString(other)))
	var one, two *appliance
	var third *witness
	var errs [3]error
	var wg sync.WaitGroup
	wg.Go(func() { one, errs[0] = newAppliance(ctx, f.load("telco-1"), quiet, nil) })
	wg.Go(func() { two, errs[1] = newAppliance(ctx, f.load("telco-2"), quiet, nil) })
	wg.Go(func() { third, errs[2] = newWitness(ctx, f.load("witness"), quiet, nil) })
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = third.close(context.Background()) }()
	defer func() { _ = two.close(context.Background()) }()
	if text := says(one.admin.Addr, "cluster.key"); !strings.Contains(text, "telco-2") || !strings.Contains(text, "witness") {
		t.Error(text)
	}
	for name, err := range map[string]error{"telco-2": joined(two.members, &two.trouble), "witness": joined(third.members, &third.trouble)} {
		if err != nil && !errors.Is(err, errMinority) { // which a busy machine may do to anyone
			t.Errorf("%s, which is as it should be: %v", name, err)
		}
	}
	_ = one.close(context.Background())

	foreignKey, foreign := nodesCertificate(t)
	write("node.key", foreignKey)
	write("node.crt", foreign)
	write("nodes-ca.crt", foreign)
	admin, err := ops.New(ops.Config{Listen: netip.MustParseAddrPort("127.0.0.1:0"), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	cfg := f.load("telco-1")
	var trouble embedded.Trouble
	joining, giveUp := context.WithCancel(ctx)
	refused := make(chan error, 1)
	go func() {
		_, err := openStore(joining, cfg, &trouble, admin, quiet)
		refused <- err
	}()
	if text := says(admin.Addr, "cluster.tls.certificate"); !strings.Contains(text, "cluster.nodes") {
		t.Error(text)
	}
	giveUp()
	if err := <-refused; err == nil || !strings.Contains(err.Error(), "cluster.tls") {
		t.Errorf("a node whose certificate the others refuse: %v", err)
	}
	if err := admin.Close(context.Background()); err != nil {
		t.Error(err)
	}
}
