package main_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
	"riptide/configs/setup"
)

// nextRelease is the program that a node is upgraded to: where time allows another
// build, one of another version.
func nextRelease(t *testing.T) string {
	t.Helper()
	if size(0, 1) == 0 {
		return riptide(t)
	}
	path := filepath.Join(t.TempDir(), "riptide-next")
	out, err := exec.Command("go", "build", "-tags", buildTags(), "-ldflags", "-X main.version=next", "-o", path, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v, %s", err, out)
	}
	return path
}

// upgrade empties a node, and starts it again when its process has ended.
func (c *shared) upgrade(t *testing.T, i int, program string) {
	t.Helper()
	n := c.nodes[i]
	c.hearAnew()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, riptide(t), "drain", "--json", "--within", "1m", "-c", filepath.Join(n.dir, setup.ConfigFile)).CombinedOutput()
	if err != nil {
		c.mustNot(t, "riptide drain at %s: %v, %s", n.name, err, out)
		t.FailNow()
	}
	drained := time.Since(began)
	<-c.served[i].exited
	if err := os.Rename(n.log, n.log+".drained"); err != nil {
		t.Fatal(err)
	}
	n.program = program
	c.served[i] = serveProcess(t, n)
	n.awaitReady(t, "")
	t.Logf("%s: drained in %v (%s), ended and ready again after %v", n.name, round(drained), strings.TrimSpace(string(out)), round(time.Since(began)))
	tellSilence(t, "office to telco", len(c.pbx.silences(true)), c.pbx, c.carrier)
	tellSilence(t, "telco to office", len(c.carrier.silences(true)), c.carrier, c.pbx)
}

// hearAnew has the longest silence of each end counted from now on.
func (c *shared) hearAnew() {
	for _, p := range []*telephone{c.pbx, c.carrier} {
		for _, s := range p.all() {
			s.Anew()
		}
	}
}

// all are the ends of its calls.
func (p *telephone) all() []*bridgetest.ToneSink {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Concat(p.ears[true], p.ears[false])
}

// logs are the words of the telco's nodes, also of their processes before.
func (c *shared) logs(t testing.TB) string {
	t.Helper()
	var all strings.Builder
	for _, n := range c.nodes {
		if before, err := os.ReadFile(n.log + ".drained"); err == nil {
			all.Write(before)
		}
		all.WriteString(n.logText(t))
	}
	return all.String()
}

// mustNot is for what must not be. A short run shares its machine with others: where that
// has not let a node run for as long as it may be unheard, the node was cut off and let
// go of its calls, which is another fault.
func (c *shared) mustNot(t *testing.T, format string, args ...any) {
	t.Helper()
	if size(1, 0) == 1 && strings.Contains(c.logs(t), "call fenced: this node hears no majority") {
		t.Skipf("a node was cut off from its cluster, because this machine did not let it run: %s", fmt.Sprintf(format, args...))
	}
	t.Errorf(format, args...)
}

var refusedFor = regexp.MustCompile(`(?m)msg="call refused" .*cause=([a-z-]+)`)

// tellCalls says what became of the calls that were placed meanwhile.
func (c *shared) tellCalls(t *testing.T, placed int, failed, lost []outcome) {
	t.Helper()
	refused := map[string]int{}
	for _, m := range refusedFor.FindAllStringSubmatch(c.logs(t), -1) {
		refused[m[1]]++
	}
	causes := map[bridge.Code]int{}
	for _, o := range slices.Concat(failed, lost) {
		causes[bridge.CauseOf(o.err).Code]++
		t.Logf("call %s: %v", o.call, o.err)
	}
	t.Logf("%d calls were placed meanwhile: %d failed, %d were lost %v; a node refused %v, which the office asked again for", placed, len(failed), len(lost), causes, refused)
}

// tellFrames says what came of the speech in the calls that last.
func tellFrames(t *testing.T, way string, to *telephone) {
	t.Helper()
	heard, missing, most := uint64(0), 0, 0
	ears := to.all()
	for _, s := range ears {
		m := s.Missing()
		heard, missing, most = heard+s.Frames(), missing+m, max(most, m)
	}
	t.Logf("frames %s: %d of %d are missing in %d calls that last and were moved, %d at most in one", way, missing, heard+uint64(missing), len(ears), most)
}

// tellHoles says where something is missing, in each call that has lasted for a while.
func (p *telephone) tellHoles() {
	for i, s := range p.all() {
		if holes := s.Holes(); len(holes) > 0 {
			p.t.Logf("tone of %v Hz's telephone, end %d: frames are missing, %v", p.hz, i, holes)
		}
	}
}
