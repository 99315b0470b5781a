package main_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"riptide/configs/setup"
)

// chaos breaks one thing after the other under calls that are held.
type chaos struct {
	*shared
	t       *testing.T
	random  *rand.Rand
	starts  int // of processes, for the names of their logs
	parts   map[string]*node
	running map[string]*served
	began   time.Time
	gaps    []gap
}

// chaosFaults are what happens, each as likely as the others, but for what is
// there twice.
var chaosFaults = []struct {
	name string
	do   func(*chaos) error
}{
	{"kill a node", func(c *chaos) error { return c.killed(c.anyNode()) }},
	{"kill a node", func(c *chaos) error { return c.killed(c.anyNode()) }},
	{"kill the witness", func(c *chaos) error { return c.killed("witness") }},
	{"kill the office", func(c *chaos) error { return c.killed("office") }},
	{"kill the balancer", (*chaos).killBalancer},
	{"restart a node", func(c *chaos) error { return c.restarted(c.anyNode()) }},
	{"restart the office", func(c *chaos) error { return c.restarted("office") }},
	{"drain a node", func(c *chaos) error { return c.drained(c.anyNode()) }},
	{"pause a node", func(c *chaos) error { return c.paused(c.anyNode()) }},
	{"pause the witness", func(c *chaos) error { return c.paused("witness") }},
}

func (c *chaos) anyNode() string { return fmt.Sprint("telco-", 1+c.random.IntN(2)) }

// start starts the next process of a part.
func (c *chaos) start(part string) {
	n := c.parts[part]
	c.starts++
	n.log = filepath.Join(n.dir, fmt.Sprintf("%s-%d.log", part, c.starts))
	c.running[part] = serveProcess(c.t, *n)
}

// killed is kill -9, and a start up to three seconds later.
func (c *chaos) killed(part string) error {
	c.running[part].kill()
	time.Sleep(time.Duration(c.random.IntN(3000)) * time.Millisecond)
	c.start(part)
	return nil
}

// restarted is systemctl restart.
func (c *chaos) restarted(part string) error {
	_ = c.running[part].process.Signal(syscall.SIGTERM) // fails only if it has ended
	return c.again(part)
}

// again starts a part when its process has ended.
func (c *chaos) again(part string) error {
	select {
	case <-c.running[part].exited:
		c.start(part)
		return nil
	case <-time.After(time.Minute):
		return fmt.Errorf("%s does not end", part)
	}
}

// drained empties a node, and starts it again.
func (c *chaos) drained(part string) error {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, riptide(c.t), "drain", "--within", "20s", "-c", filepath.Join(c.parts[part].dir, setup.ConfigFile)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("riptide drain at %s: %w: %s", part, err, out)
	}
	return c.again(part)
}

// paused stands still for some seconds: its sockets take what comes.
func (c *chaos) paused(part string) error {
	p := c.running[part].process
	err := p.Signal(syscall.SIGSTOP)
	time.Sleep(time.Duration(500+c.random.IntN(5500)) * time.Millisecond)
	return errors.Join(err, p.Signal(syscall.SIGCONT))
}

func (c *chaos) killBalancer() error {
	c.front.running.Signal(syscall.SIGKILL)
	<-c.front.running.Done()
	caddy("2")(c.front)
	return nil
}

// settled waits until every part is ready and every end hears, at most half a
// minute, and says how many do not hear then: a moment of silence is no lost call.
func (c *chaos) settled() (deaf int) {
	for _, n := range c.parts {
		n.awaitReady(c.t, "")
	}
	time.Sleep(time.Second) // who is about to hear nothing has noticed
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		deaf = c.pbx.deaf() + c.carrier.deaf()
		if deaf == 0 || time.Now().After(end) {
			return deaf
		}
	}
}

// ended is how many calls ended.
func (c *chaos) ended() (n int) {
	for _, p := range []*telephone{c.pbx, c.carrier} {
		p.mu.Lock()
		n += len(p.early)
		p.mu.Unlock()
	}
	return n
}

// number is that of an environment variable.
func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// TestChaos is `make chaos`: calls with tones both ways, from an office over a
// balancer to a telco of two nodes and back, and one fault every twenty seconds.
// Without CHAOS_MINUTES it does nothing.
func TestChaos(t *testing.T) {
	minutes, calls := number("CHAOS_MINUTES", 0), number("CHAOS_CALLS", 50)
	if minutes == 0 {
		return // it is no test for every day
	}
	seed := uint64(number("CHAOS_SEED", int(time.Now().UnixNano()&0xFFFFFF)))
	t.Logf("CHAOS_SEED=%d CHAOS_CALLS=%d CHAOS_MINUTES=%d", seed, calls, minutes)
	c := &chaos{shared: startShared(t, sharedOptions{balancer: caddy("2")}), t: t, random: rand.New(rand.NewPCG(seed, 0))}
	c.parts = map[string]*node{"telco-1": &c.nodes[0], "telco-2": &c.nodes[1], "office": &c.office, "witness": &c.witness}
	c.running = map[string]*served{"telco-1": c.served[0], "telco-2": c.served[1], "office": c.others["office"], "witness": c.others["witness"]}
	c.pbx.call(0, calls-calls/2, officeNumber, telcoNumber)
	for node := range 2 {
		c.carrier.call(node, (calls/2+node)/2, telcoNumber, officeNumber)
	}
	time.Sleep(3 * time.Second)
	c.began = time.Now()
	lost, faults := 0, 0
	for end := c.began.Add(time.Duration(minutes) * time.Minute); time.Now().Before(end) && lost == 0; faults++ {
		next := time.Now().Add(20 * time.Second)
		c.anew()
		fault := chaosFaults[c.random.IntN(len(chaosFaults))]
		at := time.Since(c.began).Round(time.Second)
		if err := fault.do(c); err != nil {
			t.Errorf("%v %s: %v", at, fault.name, err)
		}
		lost = c.settled() + c.ended()
		c.note(at, fault.name)
		time.Sleep(time.Until(next))
	}
	c.report(cmp.Or(os.Getenv("CHAOS_DIR"), t.TempDir()))
	t.Logf("%d faults, %d calls, %d lost; again: make chaos CHAOS_SEED=%d", faults, calls, lost, seed)
	for _, p := range []*telephone{c.pbx, c.carrier} {
		p.mu.Lock()
		for _, err := range p.early {
			t.Errorf("a call ended: %v", err)
		}
		p.mu.Unlock()
	}
	if lost > 0 {
		t.Errorf("%d ends hear nothing, or calls that ended", lost)
	}
}
