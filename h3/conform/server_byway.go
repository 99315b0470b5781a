package conform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// bywayChecks judge event streams.
var bywayChecks = []check{
	{reqs: "69", did: "read an event stream from its bracket to its end", run: wholeStream},
	{reqs: "71 A37", did: "timed the response headers and the bracket of GET events, and the headers of PUT", run: flushedAtOnce},
	{reqs: "72 73", did: "compared the first event with the state of a new call", run: firstEvent},
	{reqs: "72", did: "opened another GET on a call that is answered", run: currentState},
	{reqs: "74 87", did: "opened two GETs and two PUTs", run: severalByways},
	{reqs: "75", did: "left a call without byways for 5 s", run: livesWithoutByways, slow: 6 * time.Second},
	{reqs: "76 77 78 79", did: "read every event of a call", run: eventMembers},
	{reqs: "A18", did: "looked at the form and the numbers of every event", run: streamForm},
	{reqs: "A18", did: "sent events without commas, twice, and of 16 KiB and more", run: tolerantReader},
	{reqs: "A17", did: "sent events nobody knows, and ended for end", run: registryOfEvents},
	{reqs: "84 85", did: "sent pings with nonces of all kinds", run: pongs},
	{reqs: "88", did: "sent pings on two PUTs in turn", run: orderOfCommands},
	{reqs: "A34", did: "opened byways over HTTP/2", run: bywaysOverHTTP2},
	{reqs: "A35", did: "sent each event in a PUT of its own", run: singlePuts},
	{reqs: "A36", did: "read the header fields of GET events, and timed its silence for 12 s", run: bywayManners, slow: 14 * time.Second},
	{reqs: "111", did: "opened byways of a call that is over", run: bywaysOfEnded},
}

// quick is how soon what needs no thinking must come.
const quick = 1500 * time.Millisecond

func wholeStream(ctx context.Context, p *Probe) error {
	c, err := p.dial(ctx, dialled{})
	if err != nil {
		return err
	}
	defer c.close(ctx)
	if r, err := c.end(ctx); err != nil {
		return err
	} else if err := r.is(http.StatusNoContent, http.StatusOK); err != nil {
		return fmt.Errorf("PUT of an end event: %w", err)
	}
	if !c.in.await(p.opt.Timeout, func() bool { _, over, _, _ := c.in.state(); return over }) {
		return errors.New("the call is over, GET events goes on")
	}
	opened, _, closed, err := c.in.state()
	switch {
	case !opened:
		return errors.New("the stream has no opening bracket")
	case !closed:
		return fmt.Errorf("the stream ended without its closing bracket: %v", err)
	case c.in.early:
		return errors.New("there was an event before the opening bracket")
	}
	return nil
}

func flushedAtOnce(ctx context.Context, p *Probe) error {
	c, err := p.dial(ctx, dialled{})
	if err != nil {
		return err
	}
	defer c.close(ctx)
	if c.waited > quick {
		return fmt.Errorf("the response headers of GET events took %v", c.waited.Round(time.Millisecond))
	}
	if c.bracket > c.waited+quick {
		return fmt.Errorf("the bracket came %v after the headers", (c.bracket - c.waited).Round(time.Millisecond))
	}
	r, w := io.Pipe()
	defer func() { _ = w.Close() }()
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	go func() { _, _ = w.Write([]byte("[")) }()
	resp, err := p.open(ctx, request{method: http.MethodPut, url: c.uri + "/events", token: c.token, kind: "application/json", header: incremental}, r)
	if err != nil {
		return fmt.Errorf("a PUT of which only the bracket was sent has no response headers within %v: %w", quick, err)
	}
	_ = resp.Body.Close()
	return nil
}

// ringing is a number that rings for a while, or any that answers.
func (p *Probe) ringing() string { return p.opt.Ringing }

func firstEvent(ctx context.Context, p *Probe) error {
	c, err := p.dial(ctx, dialled{to: p.ringing()})
	if err != nil {
		return err
	}
	defer c.close(ctx)
	_, d, err := c.get(ctx)
	if err != nil {
		return err
	}
	if !c.in.await(quick, func() bool { return len(c.in.all()) > 0 }) {
		return fmt.Errorf("no event within %v of the bracket", quick)
	}
	first := c.in.all()[0]
	switch first.Type {
	case "proceeding":
		return nil
	case "alerting", "answered", "declined", "failed", "noanswer", "end":
		if d.State == "proceeding" {
			return fmt.Errorf("the call is proceeding, the first event is %s", first.Type)
		}
		return nil
	}
	return fmt.Errorf("the first event is %q, which is no state", first.Type)
}

func currentState(ctx context.Context, p *Probe) error {
	v, err := p.talk(ctx, carrierPutGet)
	if err != nil {
		return err
	}
	rec, _, err := v.c.openGet(ctx, nil)
	if err != nil {
		return err
	}
	defer rec.stop()
	if !rec.await(quick, func() bool { return len(rec.all()) > 0 }) {
		return fmt.Errorf("the second GET has no event within %v", quick)
	}
	if first := rec.all()[0]; first.Type != "answered" {
		return fmt.Errorf("the call is answered, the first event on another GET is %q", first.Type)
	}
	return nil
}

func severalByways(ctx context.Context, p *Probe) error {
	c, err := p.dial(ctx, dialled{})
	if err != nil {
		return err
	}
	defer c.close(ctx)
	life, cancel := context.WithCancel(ctx)
	defer cancel()
	second, _, err := c.openGet(life, nil)
	if err != nil {
		return fmt.Errorf("a second GET: %w", err)
	}
	defer second.stop()
	put := c.openPut(life, nil)
	if err := put.send(1, "ping", map[string]any{"nonce": "from-two"}); err != nil {
		return err
	}
	if err := c.out.send(2, "ping", map[string]any{"nonce": "from-one"}); err != nil {
		return err
	}
	for name, rec := range map[string]*recording{"first": c.in, "second": second} {
		for _, nonce := range []string{"from-one", "from-two"} {
			if _, ok := rec.find(p.opt.Timeout, pong(nonce)); !ok {
				return fmt.Errorf("the %s GET has no pong %q", name, nonce)
			}
		}
	}
	return nil
}

func pong(nonce string) func(event) bool {
	return func(e event) bool { return e.Type == "pong" && e.Nonce == nonce }
}

func livesWithoutByways(ctx context.Context, p *Probe) error {
	c, err := p.place(ctx, dialled{})
	if err != nil {
		return err
	}
	if err := pause(ctx, 5*time.Second); err != nil {
		return err
	}
	_, d, err := c.get(ctx)
	if err != nil {
		return err
	}
	if d.State == "ended" || d.State == "end" {
		return fmt.Errorf("the call is %s after 5 s", d.State)
	}
	defer c.close(ctx)
	return c.attach(ctx)
}

func eventMembers(ctx context.Context, p *Probe) error {
	v, err := p.talk(ctx, carrierPutGet)
	if err != nil {
		return err
	}
	events := v.c.in.all()
	if len(events) < 2 {
		return fmt.Errorf("only %d events", len(events))
	}
	for _, e := range events {
		if e.Direction != "s2c" {
			return fmt.Errorf("%s: direction is %q, want s2c", e.Type, e.Direction)
		}
		at, err := time.Parse(time.RFC3339, e.Timestamp)
		if err != nil {
			return fmt.Errorf("%s: timestamp: %w", e.Type, err)
		}
		if _, offset := at.Zone(); offset != 0 {
			return fmt.Errorf("%s: timestamp %s is not UTC", e.Type, e.Timestamp)
		}
		if e.Call != v.c.uri {
			return fmt.Errorf("%s: call is %q, want %s", e.Type, clip(e.Call, 160), v.c.uri)
		}
		if e.Type == "" {
			return errors.New("an event has no type")
		}
	}
	return nil
}

func streamForm(ctx context.Context, p *Probe) error {
	v, err := p.talk(ctx, carrierPutGet)
	if err != nil {
		return err
	}
	v.c.in.mu.Lock()
	bare := v.c.in.bare
	v.c.in.mu.Unlock()
	if bare > 0 {
		return fmt.Errorf("%d events are not separated by a comma", bare)
	}
	last := uint64(0)
	for _, e := range v.c.in.all() {
		if e.Seq <= last {
			return fmt.Errorf("%s has seq %d after %d", e.Type, e.Seq, last)
		}
		if last = e.Seq; e.size > maxEvent {
			return fmt.Errorf("%s has %d bytes", e.Type, e.size)
		}
	}
	return nil
}

func tolerantReader(ctx context.Context, p *Probe) error {
	c, err := p.dial(ctx, dialled{})
	if err != nil {
		return err
	}
	defer c.close(ctx)
	ping := func(seq uint64, nonce string, pad int) string {
		const at = "2020-01-01T00:00:00Z" // of the same length each time
		return string(asJSON(c.event(seq, "ping", map[string]any{"nonce": nonce, "pad": strings.Repeat("x", pad), "timestamp": at})))
	}
	r, err := c.putEvents(ctx, nil, "\n[ "+ping(1, "bare-1", 0)+" \r\n\t"+ping(2, "bare-2", 0)+ping(2, "bare-2", 0)+","+ping(1, "bare-1", 0)+" ]\n")
	if err != nil {
		return err
	}
	if err := r.is(http.StatusNoContent, http.StatusOK); err != nil {
		return fmt.Errorf("events without commas: %w", err)
	}
	if r, err = c.putEvents(ctx, nil, "["+ping(3, "large", maxEvent-len(ping(3, "large", 0)))+"]"); err != nil {
		return err
	}
	if err := r.is(http.StatusNoContent, http.StatusOK); err != nil {
		return fmt.Errorf("an event of %d bytes: %w", maxEvent, err)
	}
	for _, nonce := range []string{"bare-1", "bare-2", "large"} {
		if _, ok := c.in.find(p.opt.Timeout, pong(nonce)); !ok {
			return fmt.Errorf("no pong %q", nonce)
		}
	}
	if r, err = c.putEvents(ctx, nil, "["+ping(4, "too-large", maxEvent)+"]"); err != nil {
		return err
	}
	if err := r.refused(http.StatusRequestEntityTooLarge, http.StatusBadRequest); err != nil {
		return fmt.Errorf("an event of more than %d bytes: %w", maxEvent, err)
	}
	if r, err = c.putEvents(ctx, nil, `{"type":"ping"}`); err != nil {
		return err
	}
	if err := r.refused(http.StatusBadRequest); err != nil {
		return fmt.Errorf("an object instead of an array: %w", err)
	}
	if _, err = c.putEvents(ctx, nil, "["+ping(5, "after", 0)+"]"); err != nil {
		return err
	}
	if _, ok := c.in.find(p.opt.Timeout, pong("after")); !ok {
		return errors.New("the call answers no ping after one that was too large")
	}
	counts := map[string]int{}
	for _, e := range c.in.all() {
		counts[e.Nonce]++
	}
	if counts["bare-1"] != 1 || counts["bare-2"] != 1 {
		return errors.New("an event that came twice with the same seq was handled twice")
	}
	return nil
}

func registryOfEvents(ctx context.Context, p *Probe) error {
	c, err := p.dial(ctx, dialled{})
	if err != nil {
		return err
	}
	defer c.close(ctx)
	for i, kind := range []string{"x-conform", "", "answered", "alerting"} {
		if err := c.out.send(uint64(i+1), kind, nil); err != nil {
			return err
		}
	}
	if err := c.out.send(9, "ping", map[string]any{"nonce": "alive"}); err != nil {
		return err
	}
	if _, ok := c.in.find(p.opt.Timeout, pong("alive")); !ok {
		return errors.New("after an event that nobody knows there is no pong")
	}
	if err := c.out.send(10, "ended", nil); err != nil {
		return err
	}
	if _, err := c.await(p.opt.Timeout, "end"); err != nil {
		return fmt.Errorf("after ended, which means end: %w", err)
	}
	return nil
}

func pongs(ctx context.Context, p *Probe) error {
	c, err := p.dial(ctx, dialled{})
	if err != nil {
		return err
	}
	defer c.close(ctx)
	for i, nonce := range []string{"0", "Ä \"quoted\" \\ 中", strings.Repeat("n", 256)} {
		if err := c.out.send(uint64(i+1), "ping", map[string]any{"nonce": nonce}); err != nil {
			return err
		}
		if _, ok := c.in.find(quick, func(e event) bool { return e.Type == "pong" && e.Nonce == nonce }); !ok {
			got, any := c.in.find(0, typed("pong"))
			if any {
				return fmt.Errorf("ping %q: no pong with its nonce within %v (there is one with %q)", clip(nonce, 20), quick, clip(got.Nonce, 20))
			}
			return fmt.Errorf("ping %q: no pong within %v", clip(nonce, 20), quick)
		}
	}
	return nil
}

func orderOfCommands(ctx context.Context, p *Probe) error {
	c, err := p.dial(ctx, dialled{})
	if err != nil {
		return err
	}
	defer c.close(ctx)
	life, cancel := context.WithCancel(ctx)
	defer cancel()
	other := c.openPut(life, nil)
	var want, got []string
	for i := range 10 {
		w := c.out
		if i%2 == 1 {
			w = other
		}
		nonce := fmt.Sprint("order-", i)
		want = append(want, nonce)
		if err := w.send(uint64(i+1), "ping", map[string]any{"nonce": nonce}); err != nil {
			return err
		}
		if err := pause(ctx, 60*time.Millisecond); err != nil { // so that they arrive in this order
			return err
		}
	}
	if _, ok := c.in.find(p.opt.Timeout, pong(want[9])); !ok {
		return errors.New("the last ping has no pong")
	}
	for _, e := range c.in.all() {
		if e.Type == "pong" {
			got = append(got, e.Nonce)
		}
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("pongs came as %s", strings.Join(got, " "))
	}
	return nil
}

func bywaysOverHTTP2(ctx context.Context, p *Probe) error {
	c, err := p.dial(ctx, dialled{})
	if err != nil {
		return err
	}
	defer c.close(ctx)
	life, cancel := context.WithCancel(ctx)
	defer cancel()
	rec, rep, err := c.openGet(life, p.wires.h2)
	if err != nil {
		return err
	}
	defer rec.stop()
	if !strings.HasPrefix(rep.proto, "HTTP/2") {
		return fmt.Errorf("the answer came over %s", rep.proto)
	}
	put := c.openPut(life, p.wires.h2)
	if err := put.send(1, "ping", map[string]any{"nonce": "h2"}); err != nil {
		return err
	}
	if _, ok := rec.find(p.opt.Timeout, pong("h2")); !ok {
		return errors.New("a ping over HTTP/2 has no pong there")
	}
	return nil
}

func singlePuts(ctx context.Context, p *Probe) error {
	c, err := p.dial(ctx, dialled{})
	if err != nil {
		return err
	}
	defer c.close(ctx)
	for i := range 3 {
		nonce := fmt.Sprint("single-", i)
		r, err := c.putEvents(ctx, nil, "["+string(asJSON(c.event(uint64(i+1), "ping", map[string]any{"nonce": nonce})))+"]")
		if err != nil {
			return err
		}
		if err := r.is(http.StatusNoContent, http.StatusOK); err != nil {
			return err
		}
		if _, ok := c.in.find(p.opt.Timeout, pong(nonce)); !ok {
			return fmt.Errorf("no pong %q", nonce)
		}
	}
	return nil
}

func bywayManners(ctx context.Context, p *Probe) error {
	c, err := p.dial(ctx, dialled{to: p.ringing()})
	if err != nil {
		return err
	}
	defer c.close(ctx)
	cc := c.header.Get("Cache-Control")
	switch {
	case !strings.Contains(cc, "no-store") || !strings.Contains(cc, "no-transform"):
		return fmt.Errorf("Cache-Control is %q, want no-store, no-transform", cc)
	case c.header.Get("X-Accel-Buffering") != "no":
		return fmt.Errorf("X-Accel-Buffering is %q, want no", c.header.Get("X-Accel-Buffering"))
	case !strings.HasPrefix(c.header.Get("Content-Type"), "application/json"):
		return fmt.Errorf("Content-Type is %q", c.header.Get("Content-Type"))
	case c.header.Get("Incremental") != "?1":
		return fmt.Errorf("Incremental is %q, want ?1", c.header.Get("Incremental"))
	}
	if err := pause(ctx, 12*time.Second); err != nil {
		return err
	}
	if gap := c.in.silence(); gap > 6*time.Second {
		return fmt.Errorf("the stream was silent for %v, something must cross it every 5 s", gap.Round(100*time.Millisecond))
	}
	return nil
}

func bywaysOfEnded(ctx context.Context, p *Probe) error {
	c, err := p.dial(ctx, dialled{})
	if err != nil {
		return err
	}
	if _, err := c.end(ctx); err != nil {
		return err
	}
	if !c.in.await(p.opt.Timeout, func() bool { _, over, _, _ := c.in.state(); return over }) {
		return errors.New("the call does not end")
	}
	for _, at := range []struct{ method, url, kind string }{
		{http.MethodGet, c.uri + "/events", ""}, {http.MethodPut, c.uri + "/events", "application/json"},
		{http.MethodGet, c.uri + "/media", ""}, {http.MethodPut, c.uri + "/media", octets},
	} {
		q := request{method: at.method, url: at.url, token: c.token, kind: at.kind}
		if at.method == http.MethodPut {
			q.body = []byte("[]")
		}
		r, err := p.do(ctx, q)
		if err != nil {
			return err
		}
		if err := r.refused(http.StatusNotFound); err != nil {
			return fmt.Errorf("%s %s: %w", at.method, shortURL(at.url), err)
		}
	}
	return nil
}
