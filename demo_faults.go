package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"riptide/bridge/store"
)

// demoFault is one that --fault names. The office is the RIPT client of the
// calls, the telco the server.
type demoFault struct {
	word, does string
	nodes      int  // how many it takes at least
	office     bool // it hits the office
	do         func(faulty, context.Context) error
}

var demoFaults = []demoFault{
	{"kill-server", "kill -9 of the telco's node that has most calls; it stays dead, the only one is started again", 1, false, faulty.killServer},
	{"kill-client", "the same, of the office's", 1, true, faulty.killClient},
	{"kill-balancer", "kill -9 of the balancer, started again at once", 2, false, faulty.killBalancer},
	{"restart", "what systemctl restart does, of every node in turn", 1, true, faulty.restart},
	{"store-leader", "kill -9 of the node, or witness, of the telco through which calls are written to its store; it stays dead", 2, false, faulty.killLeader},
	{"drain", "riptide drain of the telco's node that has most calls, then a restart", 2, false, faulty.drain},
}

func faultWords() string {
	var words []string
	for _, f := range demoFaults {
		words = append(words, fmt.Sprintf("%s (%s)", f.word, f.does))
	}
	return strings.Join(words, ", ")
}

func findFault(word string) (demoFault, error) {
	for _, f := range demoFaults {
		if f.word == word {
			return f, nil
		}
	}
	return demoFault{}, fmt.Errorf("--fault %q: want one of %s", word, faultWords())
}

// faulty is a demo whose calls are up, and which is about to suffer.
type faulty struct {
	*demo
	result *failoverResult
	tell   io.Writer
}

// killServer ends the telco's node that has most calls.
func (d faulty) killServer(ctx context.Context) error {
	return d.killNode(ctx, d.telco, d.result.busiest())
}

// killClient ends the office's node, through which all calls were placed.
func (d faulty) killClient(ctx context.Context) error {
	return d.killNode(ctx, d.office, "")
}

// killNode is kill -9. Of several it stays dead.
func (d faulty) killNode(ctx context.Context, side demoSide, telco string) error {
	name := telco
	if name == "" {
		name = side.takers()[0].Node
	}
	hit := d.result.hits(telco)
	n := d.node(name)
	d.result.fault = time.Now()
	n.kill()
	if len(side.Cluster) > 0 {
		fmt.Fprintf(d.tell, "kill -9 of %s, with %d calls; it stays dead.\n", name, hit)
		return nil
	}
	began := time.Now()
	if err := d.again(ctx, n); err != nil {
		return err
	}
	fmt.Fprintf(d.tell, "kill -9 of the %s, with %d calls; its next process was up %v later.\n", name, hit, time.Since(began).Round(time.Millisecond))
	return nil
}

// killLeader ends the node of the telco that takes the writes of calls: until the
// others have elected another, nothing is stored.
func (d faulty) killLeader(ctx context.Context) error {
	for _, n := range d.nodes {
		if n.side.Name != d.telco.Name || !n.leads(ctx, store.Calls) {
			continue
		}
		if !n.side.Witness {
			return d.killNode(ctx, d.telco, n.name)
		}
		d.result.hits("")
		n.kill()
		fmt.Fprintf(d.tell, "kill -9 of %s, which has no calls; it stays dead.\n", n.name)
		return nil
	}
	return errors.New("no node of the telco takes writes")
}

// killBalancer ends the balancer and starts it again.
func (d faulty) killBalancer(ctx context.Context) error {
	d.result.hits("")
	d.result.fault = time.Now()
	d.front.kill()
	began := time.Now()
	if err := d.front.start(ctx); err != nil {
		return err
	}
	fmt.Fprintf(d.tell, "kill -9 of %s; it answered again %v later.\n", d.front.name, time.Since(began).Round(time.Millisecond))
	return nil
}

// restart restarts every node, one after the other, each when the one before is
// ready and all ends hear.
func (d faulty) restart(ctx context.Context) error {
	d.result.hits("")
	for i, n := range d.nodes {
		if i > 0 {
			if err := d.result.awaitSound(ctx, failoverAfter); err != nil {
				fmt.Fprintf(d.tell, "Not every end hears again: %v.\n", err)
			}
		}
		began := time.Now()
		n.leave()
		if err := d.again(ctx, n); err != nil {
			return err
		}
		fmt.Fprintf(d.tell, "SIGTERM to %s; its next process was up %v later.\n", n.name, time.Since(began).Round(time.Millisecond))
		if err := n.waitTrunks(ctx); err != nil {
			return err
		}
	}
	return nil
}

// drainWithin is what riptide drain is given to empty a node.
const drainWithin = 30 * time.Second

// drain empties a node and starts it again.
func (d faulty) drain(ctx context.Context) error {
	n := d.node(d.result.busiest())
	hit := d.result.hits(n.name)
	fmt.Fprintf(d.tell, "riptide drain of %s, with %d calls …\n", n.name, hit)
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("drain %s: %w", n.name, err)
	}
	began := time.Now()
	out, err := exec.CommandContext(ctx, exe, "drain", "-c", n.side.config(), "--within", drainWithin.String()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("drain %s: %w\n%s", n.name, err, out)
	}
	fmt.Fprintf(d.tell, "%s: after %v it says: %s.\n", n.name, time.Since(began).Round(time.Millisecond), strings.ReplaceAll(strings.TrimSpace(string(out)), "\n", "; "))
	select {
	case <-n.exited:
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("%s was drained and did not end", n.name), ctx.Err())
	}
	return d.again(ctx, n)
}
