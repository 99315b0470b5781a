package ops

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// control runs a control socket in a directory whose name is longer than a
// socket's may be.
func control(t *testing.T, o Orders) (state string) {
	t.Helper()
	state = filepath.Join(t.TempDir(), strings.Repeat("long/", 30))
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	// One that died left its socket behind.
	if err := os.WriteFile(ControlSocket(state), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := NewControl(t.Context(), state, o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(ControlSocket(state)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	return state
}

func TestControl(t *testing.T) {
	t.Parallel()
	state := control(t, Orders{Drain: func(_ context.Context, within time.Duration, tell func(Drained)) (Drained, error) {
		if within != time.Minute {
			return Drained{}, fmt.Errorf("%v is not enough", within)
		}
		tell(Drained{Calls: 5, Left: 4})
		tell(Drained{Calls: 5, Moved: 2, Left: 2})
		return Drained{Calls: 5, Moved: 2, Cut: 2}, nil
	}, Migrate: func(_ context.Context, origin string) (Migrated, error) {
		if origin != "https://b.example" {
			return Migrated{}, fmt.Errorf("%q is elsewhere", origin)
		}
		return Migrated{Asked: 3, Attached: 2, Ended: 1}, nil
	}})
	info, err := os.Stat(ControlSocket(state))
	if err != nil || info.Mode().Perm() != 0o600 || info.Mode().Type() != os.ModeSocket {
		t.Fatalf("the socket is %v, %v: others may open it", info, err)
	}
	var done Migrated
	if err := Order(t.Context(), state, "migrate", MigrateOrder{To: "https://b.example"}, &done); err != nil || done != (Migrated{3, 2, 1}) {
		t.Errorf("%+v, %v", done, err)
	}
	var steps []Drained
	tell := func(d Drained) { steps = append(steps, d) }
	drained, err := Drain(t.Context(), state, DrainOrder{Within: "1m"}, tell)
	if err != nil || drained != (Drained{Calls: 5, Moved: 2, Cut: 2}) || len(steps) != 2 || steps[1] != (Drained{Calls: 5, Moved: 2, Left: 2}) {
		t.Errorf("%+v, %v after %+v", drained, err, steps)
	}
	for within, want := range map[string]string{"1s": "drain: 1s is not enough", "soon": `drain: within "soon"`, "-1s": `drain: within "-1s"`, "25h": `drain: within "25h"`} {
		if _, err := Drain(t.Context(), state, DrainOrder{Within: within}, tell); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	for what, order := range map[string]any{
		`migrate: "https://c.example" is elsewhere`:                           MigrateOrder{To: "https://c.example"},
		`migrate: the order is not understood: json: unknown field "from"`:    map[string]string{"from": "x"},
		`migrate: the order is not understood: http: request body too large`:  MigrateOrder{To: strings.Repeat("x", maxOrder)},
		`migrate: the order is not understood: json: cannot unmarshal number`: 7,
	} {
		if err := Order(t.Context(), state, "migrate", order, &done); err == nil || !strings.HasPrefix(err.Error(), what) {
			t.Errorf("got %v, want %s", err, what)
		}
	}
	if err := Order(t.Context(), state, "nonsense", struct{}{}, &done); err == nil || !strings.Contains(err.Error(), "does not do that") {
		t.Errorf("an order that does not exist: %v", err)
	}
}

func TestControlOfNobody(t *testing.T) {
	t.Parallel()
	empty, left := t.TempDir(), t.TempDir()
	l, err := net.Listen("unix", ControlSocket(left))
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close()
	for _, state := range []string{empty, left, filepath.Join(empty, "none")} {
		err := Order(t.Context(), state, "migrate", MigrateOrder{}, nil)
		if err == nil || !strings.Contains(err.Error(), "no riptide serve is running") || !strings.Contains(err.Error(), "--config") {
			t.Errorf("%s: %v", state, err)
		}
	}
}
