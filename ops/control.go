package ops

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// controlLimit bounds how long an order may take, and maxOrder what it and its
// answer may be, in bytes.
const (
	controlLimit = 2 * time.Minute
	maxOrder     = 64 << 10
)

// ControlSocket is where a process with this state directory takes orders.
func ControlSocket(state string) string { return filepath.Join(state, "control.sock") }

// Orders are what commands on the box may ask of the process that serves. What is
// nil it does not do.
type Orders struct {
	// Migrate asks the clients of all incoming RIPT calls to attach anew, at
	// another origin unless that is "".
	Migrate func(ctx context.Context, origin string) (Migrated, error)

	// Reload reads the configuration anew, and takes what has changed or nothing.
	Reload func(ctx context.Context) (Reloaded, error)

	// Drain refuses new calls, ends the process when those there are have gone to
	// other nodes or ended by themselves, and ends what is left after a while. It
	// goes on when ctx ends, and says with tell how far it is.
	Drain func(ctx context.Context, within time.Duration, tell func(Drained)) (Drained, error)

	// Trace follows calls for as long as ctx lasts, and writes to what started
	// returns (Tracer.Trace with the names of the trunks).
	Trace func(ctx context.Context, o TraceOrder, started func(calls int) io.Writer) (dropped uint64, end string, err error)
}

// DrainOrder is the body of POST /drain.
type DrainOrder struct {
	Within string `json:"within"` // a duration, such as "5m"
}

// Drained is the answer: how many calls there were, how many of them went to
// other nodes, and how many had to be ended. Left is how many are here yet.
type Drained struct {
	Calls int `json:"calls"`
	Moved int `json:"moved,omitempty"`
	Left  int `json:"left,omitempty"`
	Cut   int `json:"cut"`
}

// draining is a line of the answer: how far it is, or in the last one what came of
// it.
type draining struct {
	Drained
	Done  bool   `json:"done,omitempty"`
	Error string `json:"error,omitempty"`
}

// MigrateOrder is the body of POST /migrate.
type MigrateOrder struct {
	To string `json:"to,omitempty"` // https://host[:port]
}

// Migrated is the answer: how many calls were asked, how many came, how many
// ended instead.
type Migrated struct {
	Asked    int `json:"asked"`
	Attached int `json:"attached"`
	Ended    int `json:"ended"`
}

// Reloaded is the answer to POST /reload: the keys that have other values now.
type Reloaded struct {
	Changed []string `json:"changed"`
}

// Control is how commands on the box reach the process that serves: HTTP on a
// Unix socket in the state directory, which only its owner and root may open.
// Unlike the admin server, it changes things.
type Control struct {
	http    http.Server
	path    string
	serving sync.WaitGroup
	closing context.Context // ends what answers for longer
	cut     context.CancelFunc
}

// viaDir calls f with a name of the socket that is short enough for the kernel,
// which takes 107 bytes, however long the state directory's is.
func viaDir[T any](path string, f func(short string) (T, error)) (T, error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		var none T
		return none, err
	}
	defer dir.Close()
	return f(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}

// NewControl opens the socket. A socket that a process left behind when it died
// is replaced; the store's lock sees to it that no living one has it.
func NewControl(ctx context.Context, state string, orders Orders, logger *slog.Logger) (*Control, error) {
	c := &Control{path: ControlSocket(state)}
	if err := os.Remove(c.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w (key state)", err)
	}
	l, err := listenUnix(ctx, c.path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w (key state)", err)
	}
	c.closing, c.cut = context.WithCancel(context.WithoutCancel(ctx))
	c.http = http.Server{
		Handler: c.tree(orders, logger), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: controlLimit,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	c.serving.Go(func() {
		if err := c.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("control socket closed: commands like riptide migrate do not work", "error", err)
		}
	})
	return c, nil
}

// tree is what may be asked.
func (c *Control) tree(orders Orders, logger *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusNotFound, "the process does not do that: it is a witness, which has no calls, or of another release\n")
	})
	if orders.Reload != nil {
		mux.HandleFunc("POST /reload", func(w http.ResponseWriter, r *http.Request) {
			done, err := orders.Reload(r.Context())
			obeyed(w, done, err)
		})
	}
	if orders.Trace != nil {
		mux.HandleFunc("POST /trace", c.serveTrace(orders.Trace))
	}
	if orders.Migrate != nil {
		mux.HandleFunc("POST /migrate", func(w http.ResponseWriter, r *http.Request) {
			var order MigrateOrder
			if !readOrder(w, r, &order) {
				return
			}
			done, err := orders.Migrate(r.Context(), order.To)
			if obeyed(w, done, err) {
				logger.Info("clients were asked to attach anew", "asked", done.Asked, "attached", done.Attached, "ended", done.Ended, "to", order.To)
			}
		})
	}
	if orders.Drain != nil {
		mux.HandleFunc("POST /drain", func(w http.ResponseWriter, r *http.Request) { serveDrain(w, r, orders.Drain) })
	}
	return mux
}

// serveDrain answers with a line for each step.
func serveDrain(w http.ResponseWriter, r *http.Request, drain func(context.Context, time.Duration, func(Drained)) (Drained, error)) {
	var order DrainOrder
	if !readOrder(w, r, &order) {
		return
	}
	within, err := time.ParseDuration(order.Within)
	if err != nil || within < 0 || within > MaxDrain {
		answer(w, http.StatusBadRequest, fmt.Sprintf("within %q: want a duration up to %v, such as 5m\n", order.Within, MaxDrain))
		return
	}
	c := http.NewResponseController(w)
	_ = c.SetWriteDeadline(time.Now().Add(within + controlLimit)) // a Unix socket has deadlines
	w.Header().Set("Content-Type", "application/json")
	lines := json.NewEncoder(w)
	done, err := drain(r.Context(), within, func(d Drained) {
		_ = lines.Encode(draining{Drained: d}) // who asked may be gone
		_ = c.Flush()
	})
	last := draining{Drained: done, Done: true}
	if err != nil {
		last.Error = err.Error()
	}
	_ = lines.Encode(last)
}

// Drain has the process that serves with this state directory drain, and tells of
// each step, until ctx ends.
func Drain(ctx context.Context, state string, order DrainOrder, each func(Drained)) (Drained, error) {
	const what = "drain"
	path := ControlSocket(state)
	body, err := json.Marshal(order)
	if err != nil {
		return Drained{}, fmt.Errorf("%s: %w", what, err)
	}
	resp, err := post(ctx, state, what, body)
	if err != nil {
		return Drained{}, orderFailed(path, what, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxOrder)) // it says why, or nothing
		return Drained{}, fmt.Errorf("%s: %s", what, strings.TrimSpace(string(text)))
	}
	for lines := json.NewDecoder(resp.Body); ; {
		var line draining
		switch err := lines.Decode(&line); {
		case err != nil:
			return Drained{}, fmt.Errorf("%s: the process at %s says nothing more: %w", what, path, err)
		case line.Error != "":
			return line.Drained, fmt.Errorf("%s: %s", what, line.Error)
		case line.Done:
			return line.Drained, nil
		}
		each(line.Drained)
	}
}

// MaxDrain is the longest that calls are waited for.
const MaxDrain = 24 * time.Hour

// obeyed answers an order, and tells whether it was carried out. Who asked may
// be gone.
func obeyed(w http.ResponseWriter, done any, err error) bool {
	if err != nil {
		answer(w, http.StatusUnprocessableEntity, err.Error()+"\n")
		return false
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(done)
	return true
}

// listenUnix makes a socket that nobody else may open. Until it is closed to
// others it is the state directory that keeps them out.
func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	l, err := viaDir(path, func(short string) (net.Listener, error) {
		var lc net.ListenConfig
		return lc.Listen(ctx, "unix", short)
	})
	if err != nil {
		return nil, err
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // it would be by the short name
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func readOrder(w http.ResponseWriter, r *http.Request, into any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxOrder))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		answer(w, http.StatusBadRequest, "the order is not understood: "+err.Error()+"\n")
		return false
	}
	return true
}

// Close lets orders end while ctx lasts, then cuts them off.
func (c *Control) Close(ctx context.Context) error {
	c.cut()
	err := c.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, c.http.Close())
	}
	c.serving.Wait()
	if gone := os.Remove(c.path); gone != nil && !errors.Is(gone, os.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

// Order asks something of the process that serves with this state directory,
// and reads its answer into into. It waits for two minutes, or until the deadline
// of ctx if it has one.
func Order(ctx context.Context, state, what string, order, into any) error {
	path := ControlSocket(state)
	body, err := json.Marshal(order)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, controlLimit)
		defer cancel()
	}
	resp, err := post(ctx, state, what, body)
	if err != nil {
		return orderFailed(path, what, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxOrder))
	if err != nil {
		return fmt.Errorf("%s: read the answer of the process at %s: %w", what, path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", what, strings.TrimSpace(string(text)))
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: the answer of the process at %s is not understood (is it of another release?): %w", what, path, err)
	}
	return nil
}

// post sends an order, and returns when its answer begins.
func post(ctx context.Context, state, what string, body []byte) (*http.Response, error) {
	var d net.Dialer
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return viaDir(ControlSocket(state), func(short string) (net.Conn, error) { return d.DialContext(ctx, "unix", short) })
		},
	}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://riptide/"+what, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	return client.Do(r)
}

func orderFailed(path, what string, err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s: %s: %w (run it as root, or as the user that riptide serve runs as)", what, path, err)
	case errors.Is(err, os.ErrNotExist), strings.Contains(err.Error(), "refused"):
		return fmt.Errorf("%s: no riptide serve is running with this state directory: %s: %w (systemctl status riptide; another configuration: --config)", what, path, err)
	}
	return fmt.Errorf("%s: %s: %w", what, path, err)
}
