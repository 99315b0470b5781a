package main_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// gap is for how long one end of one call heard nothing after a fault.
type gap struct {
	at    time.Duration // of the fault, since the beginning
	fault string
	end   string // "pbx caller 3"
	long  time.Duration
}

// gapFrom is what counts as one: less is a late packet.
const gapFrom = 100 * time.Millisecond

// eachEnd goes through the ends of all calls.
func (c *chaos) eachEnd(f func(end string, silence func() (longest, now time.Duration), anew func())) {
	for name, p := range map[string]*telephone{"pbx": c.pbx, "carrier": c.carrier} {
		p.mu.Lock()
		for placed, role := range map[bool]string{true: "caller", false: "callee"} {
			for i, s := range p.ears[placed] {
				f(fmt.Sprintf("%s %s %d", name, role, i), s.Silence, s.Anew)
			}
		}
		p.mu.Unlock()
	}
}

// anew begins to measure.
func (c *chaos) anew() {
	c.eachEnd(func(_ string, _ func() (time.Duration, time.Duration), anew func()) { anew() })
}

// note tells, and keeps, what a fault has done.
func (c *chaos) note(at time.Duration, fault string) {
	var all []gap
	ends := 0
	c.eachEnd(func(end string, silence func() (time.Duration, time.Duration), _ func()) {
		longest, now := silence()
		ends++
		if long := max(longest, now); long >= gapFrom {
			all = append(all, gap{at, fault, end, long})
		}
	})
	slices.SortFunc(all, func(a, b gap) int { return int(b.long - a.long) })
	c.gaps = append(c.gaps, all...)
	if len(all) == 0 {
		c.t.Logf("%8v %-20s nobody of %d ends noticed", at, fault, ends)
		return
	}
	c.t.Logf("%8v %-20s %d of %d ends: half %v, 99%% %v, longest %v (%s)", at, fault, len(all), ends,
		round(all[len(all)/2].long), round(all[len(all)/100].long), round(all[0].long), all[0].end)
}

// keepLogs puts what every process logged beside them.
func (c *chaos) keepLogs(dir string) {
	for _, n := range c.parts {
		logs, err := filepath.Glob(filepath.Join(n.dir, "*.log"))
		for _, path := range logs {
			b, failed := os.ReadFile(path)
			err = errors.Join(err, failed, os.WriteFile(filepath.Join(dir, filepath.Base(path)), b, 0o644))
		}
		if err != nil {
			c.t.Errorf("keep the logs of %s: %v", n.name, err)
		}
	}
}

// report writes every gap to a file, a picture of them, and all logs.
func (c *chaos) report(dir string) {
	var table, dots strings.Builder
	fmt.Fprintf(&table, "at_s\tfault\tend\tgap_ms\n")
	const width, height, left, top = 1200, 420, 60, 30
	total, longest := 20*time.Second, time.Second
	for _, g := range c.gaps {
		total, longest = max(total, g.at), max(longest, g.long)
	}
	last := time.Duration(-1)
	for _, g := range c.gaps {
		fmt.Fprintf(&table, "%.0f\t%s\t%s\t%d\n", g.at.Seconds(), g.fault, g.end, g.long.Milliseconds())
		x := left + float64(width-2*left)*g.at.Seconds()/total.Seconds()
		y := top + float64(height)*(1-g.long.Seconds()/longest.Seconds())
		fmt.Fprintf(&dots, `<circle cx="%.1f" cy="%.1f" r="3" fill="#1f5fa8" fill-opacity="0.4"><title>%s: %s, %v</title></circle>`+"\n", x, y, g.fault, g.end, round(g.long))
		if g.at != last {
			fmt.Fprintf(&dots, `<text transform="translate(%.1f %d) rotate(60)" font-size="10">%s</text>`+"\n", x, height+top+12, g.fault)
			last = g.at
		}
	}
	for i := range 5 {
		y := top + height*(4-i)/4
		fmt.Fprintf(&dots, `<path d="M%d %dH%d" stroke="#ddd"/><text x="4" y="%d" font-size="11">%v</text>`+"\n", left, y, width-left, y+4, round(longest*time.Duration(i)/4))
	}
	picture := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif"><rect width="100%%" height="100%%" fill="white"/>`+
		`<text x="%d" y="18" font-size="13">For how long each end of each call heard nothing, by fault</text>`+"\n%s</svg>\n", width, height+top+120, left, dots.String())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		c.t.Fatal(err)
	}
	for name, text := range map[string]string{"gaps.tsv": table.String(), "gaps.svg": picture} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			c.t.Fatal(err)
		}
	}
	c.keepLogs(dir)
	c.t.Logf("%d gaps of %v and more: %s", len(c.gaps), gapFrom, filepath.Join(dir, "gaps.svg"))
}
