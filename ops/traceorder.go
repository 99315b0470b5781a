package ops

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxTrace is the longest that a capture goes on, and MaxTraceSize the largest it
// gets, in bytes.
const (
	MaxTrace     = 24 * time.Hour
	MaxTraceSize = 10 << 30
)

// TraceOrder is the body of POST /trace: exactly one of Call, Number and Trunk,
// and how long and how much.
type TraceOrder struct {
	Call   string `json:"call,omitempty"`   // its id in the log, or the Call-ID of a leg
	Number string `json:"number,omitempty"` // who calls or is called
	Trunk  string `json:"trunk,omitempty"`
	Media  bool   `json:"media,omitempty"` // RTP and RTCP too
	For    string `json:"for"`             // a duration, such as "60s"
	Size   int64  `json:"size"`            // of the capture, in bytes
}

// What names what was asked for.
func (o TraceOrder) What() string {
	switch {
	case o.Call != "":
		return "call " + o.Call
	case o.Number != "":
		return "number " + o.Number
	}
	return "trunk " + o.Trunk
}

// Check finds what is wrong with an order.
func (o TraceOrder) Check() error {
	_, err := o.limit()
	return err
}

// limit is how long an order is for, if nothing is wrong with it.
func (o TraceOrder) limit() (time.Duration, error) {
	asked := 0
	for _, s := range []string{o.Call, o.Number, o.Trunk} {
		if s != "" {
			asked++
		}
	}
	limit, err := time.ParseDuration(o.For)
	switch {
	case asked != 1:
		return 0, errors.New("want exactly one of call, number and trunk")
	case err != nil || limit <= 0 || limit > MaxTrace:
		return 0, fmt.Errorf("for %q: want a time up to %v, such as 60s", o.For, MaxTrace)
	case o.Size <= 0 || o.Size > MaxTraceSize:
		return 0, fmt.Errorf("size %d: want a number of bytes up to %d", o.Size, int64(MaxTraceSize))
	case o.Number != "" && len(digitsOf(o.Number)) < leastDigits && !isUser(o.Number):
		return 0, fmt.Errorf("number %q: want at least %d digits, as in +12025550123", o.Number, leastDigits)
	}
	return limit, nil
}

// isUser tells what has letters, which is compared as it is.
func isUser(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' })
}

// Header and trailer fields of the answer.
const (
	runningField = "Riptide-Calls"   // that are followed from the start
	droppedField = "Riptide-Dropped" // packets that the reader was too slow for
	endField     = "Riptide-End"     // why: time, size, stop
)

// Trace follows calls, and writes what goes over the wire for them as a pcap
// capture until ctx ends, the time is over, or enough is written. started is
// called when all is well so far. trunks are the names of SIP trunks.
func (t *Tracer) Trace(ctx context.Context, o TraceOrder, trunks []string, started func(calls int) io.Writer) (dropped uint64, end string, err error) {
	limit, err := o.limit()
	if err != nil {
		return 0, "", err
	}
	if o.Trunk != "" && !slices.Contains(trunks, o.Trunk) {
		return 0, "", fmt.Errorf("no SIP trunk is called %q: there are %s", o.Trunk, strings.Join(trunks, ", "))
	}
	if len(*t.captures.Load()) >= maxCaptures {
		return 0, "", fmt.Errorf("%d traces are running already, the limit", maxCaptures)
	}
	running := t.running()
	c := newCapture(o, running)
	t.add(c)
	defer t.remove(c)
	calls := 0
	for _, r := range running {
		if c.wants(r) {
			calls++
		}
	}
	if o.Call != "" && calls == 0 {
		return 0, "", fmt.Errorf("no call %s is running on this box: its id stands in the log as call=, and the Call-ID of its SIP leg as leg=", o.Call)
	}
	end, err = c.write(ctx, started(calls), limit)
	return c.lost.Load(), end, err
}

// writtenAtOnce is how much of what waits is written together.
const writtenAtOnce = 32 << 10

// write writes what the capture takes.
func (c *capture) write(ctx context.Context, w io.Writer, limit time.Duration) (end string, err error) {
	over := time.NewTimer(limit)
	defer over.Stop()
	written := int64(pcapHeader)
	if _, err := w.Write(appendPcapHeader(nil)); err != nil {
		return "", err
	}
	var b []byte
	for {
		select {
		case p := <-c.queue:
			before := len(b)
			if b, err = appendPacket(b, p.at, p.from, p.to, p.bytes); err != nil {
				c.lost.Add(1)
			}
			full := written+int64(len(b)) > c.order.Size
			if full {
				b = b[:before]
			}
			if len(c.queue) > 0 && len(b) < writtenAtOnce && !full {
				continue
			}
			if _, err := w.Write(b); err != nil {
				return "", err
			}
			if full {
				return "size", nil
			}
			written += int64(len(b))
			b = b[:0]
		case <-over.C:
			_, err := w.Write(b)
			return "time", err
		case <-ctx.Done():
			_, err := w.Write(b) // when the process ends, its reader is still there
			return "stop", err
		}
	}
}

// serveTrace is POST /trace: the answer is the capture, as it comes to be.
func (c *Control) serveTrace(order func(ctx context.Context, o TraceOrder, started func(int) io.Writer) (uint64, string, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var o TraceOrder
		if !readOrder(w, r, &o) {
			return
		}
		rc := http.NewResponseController(w)
		_ = rc.SetReadDeadline(time.Time{}) // who has asked stays, and is noticed to go
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(c.closing, cancel)()
		began := false
		dropped, end, err := order(ctx, o, func(calls int) io.Writer {
			began = true
			h := w.Header()
			h.Set("Content-Type", "application/vnd.tcpdump.pcap")
			h.Set("Trailer", droppedField+", "+endField)
			h.Set(runningField, strconv.Itoa(calls))
			return patient{w, rc}
		})
		if err != nil {
			if !began {
				answer(w, http.StatusUnprocessableEntity, err.Error()+"\n")
			}
			return // who asked is gone
		}
		w.Header().Set(droppedField, strconv.FormatUint(dropped, 10))
		w.Header().Set(endField, end)
	}
}

// patient writes at once, and waits for its reader for a while.
type patient struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (p patient) Write(b []byte) (int, error) {
	_ = p.rc.SetWriteDeadline(time.Now().Add(controlLimit)) // a Unix socket has deadlines
	n, err := p.w.Write(b)
	if err != nil {
		return n, err
	}
	return n, p.rc.Flush()
}

// Traced is how far a capture has come.
type Traced struct {
	Running  int    // calls that were followed from the start
	Messages int    // of SIP
	Media    int    // packets
	Bytes    int64  // of the file
	Dropped  uint64 // packets too many; known at the end
	End      string // why it ended: "time", "size", "stop"; "" as long as it runs
}

// Trace has the process with this state directory follow calls, and writes whole
// packets to the file that open returns once all is well. progress is called
// after each of them. When ctx ends, so does the capture, and that is no error.
func Trace(ctx context.Context, state string, o TraceOrder, open func() (io.Writer, error), progress func(Traced)) (Traced, error) {
	var done Traced
	body, err := json.Marshal(o)
	if err != nil {
		return done, fmt.Errorf("trace: %w", err)
	}
	resp, err := post(ctx, state, "trace", body)
	if err != nil {
		return done, orderFailed(ControlSocket(state), "trace", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxOrder))
		return done, fmt.Errorf("trace: %s", strings.TrimSpace(string(text)))
	}
	done.Running, _ = strconv.Atoi(resp.Header.Get(runningField))
	stream := bufio.NewReaderSize(resp.Body, writtenAtOnce)
	header, err := readPcapHeader(stream)
	if err != nil {
		return done, fmt.Errorf("trace: the answer is not understood (is it of another release?): %w", err)
	}
	file, err := open()
	if err != nil {
		return done, err
	}
	b := header
	for {
		n, err := file.Write(b)
		if done.Bytes += int64(n); err != nil {
			return done, fmt.Errorf("trace: write the capture: %w", err)
		}
		progress(done)
		var payload []byte
		if b, payload, err = readPacket(stream, b); err != nil {
			return ended(ctx, done, resp, err)
		}
		if bytes.Contains(payload[:min(len(payload), maxScanned)], []byte("SIP/2.0")) {
			done.Messages++
		} else {
			done.Media++
		}
	}
}

// ended tells the end of a capture from a loss.
func ended(ctx context.Context, done Traced, resp *http.Response, err error) (Traced, error) {
	switch {
	case ctx.Err() != nil:
		done.End = "stop"
	case errors.Is(err, io.EOF):
		done.Dropped, _ = strconv.ParseUint(resp.Trailer.Get(droppedField), 10, 64)
		done.End = resp.Trailer.Get(endField)
	default:
		return done, fmt.Errorf("trace: the process that serves has ended, or is too busy: %w", err)
	}
	return done, nil
}
