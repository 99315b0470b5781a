package main_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"riptide/sip/siptest"
)

// ngtcp2 is the client of ngtcp2 and nghttp3: QUIC, HTTP/3 and QPACK that share
// no line with ours.
type ngtcp2 struct {
	t     testing.TB
	shim  string // gives it an Authorization field
	addr  string
	files string
}

func newNGTCP2(t testing.TB, addr string) *ngtcp2 {
	t.Helper()
	tools := siptest.Need(t, "gcc", "gtlsclient")
	c := &ngtcp2{t: t, shim: filepath.Join(t.TempDir(), "authorization.so"), addr: addr, files: t.TempDir()}
	out, err := exec.Command(tools[0], "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", c.shim, "testdata/ngtcp2/authorization.c").CombinedOutput()
	if err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	return c
}

// get reads URLs on one connection, all at once, and returns the bodies by the
// last segment of their path.
func (c *ngtcp2) get(ctx context.Context, token string, urls ...string) map[string][]byte {
	c.t.Helper()
	host, port, err := net.SplitHostPort(c.addr)
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "gtlsclient", append([]string{
		"--exit-on-all-streams-close", "--quiet", "--no-quic-dump", "--no-http-dump", "--download=" + c.files, host, port}, urls...)...)
	cmd.Env = append(os.Environ(), "LD_PRELOAD="+c.shim, "RIPT_AUTHORIZATION=Bearer "+token)
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("gtlsclient: %v\n%s", err, out)
	}
	bodies := map[string][]byte{}
	for _, u := range urls {
		name := filepath.Base(u)
		if bodies[name], err = os.ReadFile(filepath.Join(c.files, name)); err != nil {
			c.t.Fatalf("gtlsclient wrote no file for %s: %v", u, err)
		}
	}
	return bodies
}

// TestNGTCP2ReadsUs: an HTTP/3 stack that nobody here wrote reads the list of
// TGs, a TG, and the events of a call from its beginning to its end.
func TestNGTCP2ReadsUs(t *testing.T) {
	t.Parallel()
	callee := siptest.Sipp{Scenario: siptest.UASHangsUp, Script: siptest.Script{RingMS: 300, HoldMS: 1500}}.Start(t)
	p := startSite(t, siteOptions{to: callee.Addr})
	us := newRIPTClient(t, p.telco, p.office.dir, "office")
	them := newNGTCP2(t, p.telco.ript)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()

	var list struct {
		TGs []struct {
			URI string `json:"uri"`
		} `json:"tgs"`
	}
	root := us.base + "/.well-known/ript"
	body := them.get(ctx, us.token(root), root+"/v1/providertgs")["providertgs"]
	if err := json.Unmarshal(body, &list); err != nil || len(list.TGs) != 1 || list.TGs[0].URI != us.tg {
		t.Errorf("TG list: %v %s", err, body)
	}

	token := us.token(us.tg)
	var tg struct {
		URI   string   `json:"uri"`
		Media []string `json:"media"`
	}
	body = them.get(ctx, token, us.tg)[filepath.Base(us.tg)]
	if err := json.Unmarshal(body, &tg); err != nil || tg.URI != us.tg || len(tg.Media) == 0 {
		t.Errorf("TG: %v %s", err, body)
	}

	passport := us.enrol("+1202555xxxx").sign(officeNumber, telcoNumber, time.Now())
	placed := us.call(token, passport, telcoNumber)
	if placed.status != http.StatusCreated {
		t.Fatalf("call: %d %s", placed.status, placed.body)
	}
	call := placed.header.Get("Location")
	var events []struct {
		Type string `json:"type"`
		Call string `json:"call"`
	}
	// Two streams of one call, and a document between them.
	bodies := them.get(ctx, token, call+"/events", us.tg)
	if err := json.Unmarshal(bodies["events"], &events); err != nil {
		t.Fatalf("the event stream is no complete JSON: %v\n%s", err, bodies["events"])
	}
	var types []string
	for _, ev := range events {
		types = append(types, ev.Type)
		if ev.Call != call {
			t.Errorf("event %s is of call %s", ev.Type, ev.Call)
		}
	}
	// There may have been more to say, and pings.
	types = slices.DeleteFunc(types, func(s string) bool { return s == "ping" || s == "proceeding" })
	if want := []string{"alerting", "answered", "end"}; !slices.Equal(types, want) {
		t.Errorf("events %v, want %v", types, want)
	}
	callee.Check(t, 1)
}
