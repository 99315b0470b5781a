package main_test

import (
	"bufio"
	"cmp"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// Whose a call was is read from the nodes' own logs, in JSON: bridge/fence.go says
// which lines begin and end the time in which a node may touch a call.

// ownership is the time in which a node had a call.
type ownership struct {
	node     string
	epoch    uint64
	from, to time.Time // to is zero while it lasts
}

// processLog is what one process of a node logged.
type processLog struct {
	path  string
	ended time.Time // when it was killed; zero = it was not
}

// owners are the nodes that had each call, in the order of time.
type owners map[string][]ownership

// readOwners reads them. A process that was killed, or paused, had its calls until then.
func readOwners(t testing.TB, logs []processLog) owners {
	t.Helper()
	all := owners{}
	for _, l := range logs {
		f, err := os.Open(l.path)
		if err != nil {
			t.Fatal(err)
		}
		open := map[string]ownership{}
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var line struct {
				Time            time.Time
				Msg, Node, Call string
				Epoch           uint64
			}
			if json.Unmarshal(lines.Bytes(), &line) != nil {
				continue // of the Go runtime, perhaps
			}
			if strings.HasPrefix(line.Msg, "calls fenced") {
				for call, had := range open {
					had.to = line.Time
					all[call] = append(all[call], had)
				}
				clear(open)
			}
			if line.Call == "" {
				continue
			}
			had, has := open[line.Call]
			switch {
			case line.Msg == "call started", line.Msg == "call claimed":
				open[line.Call] = ownership{node: line.Node, epoch: max(1, line.Epoch), from: line.Time}
			case strings.HasPrefix(line.Msg, "call fenced"), strings.HasPrefix(line.Msg, "call left"), strings.HasPrefix(line.Msg, "call given"), line.Msg == "call ended":
				delete(open, line.Call)
			default:
				continue
			}
			if has {
				had.to = line.Time
				all[line.Call] = append(all[line.Call], had)
			}
		}
		_ = f.Close()
		for call, had := range open {
			had.to = l.ended
			all[call] = append(all[call], had)
		}
	}
	for _, had := range all {
		slices.SortFunc(had, func(a, b ownership) int { return cmp.Or(a.from.Compare(b.from), cmp.Compare(a.epoch, b.epoch)) })
	}
	return all
}

// check finds calls that two nodes, or processes, had at the same time, and tells how often calls
// went from one to another, and for how short a time nobody had one.
func (all owners) check(t testing.TB) (moves int, closest time.Duration) {
	t.Helper()
	closest = time.Hour
	for call, had := range all {
		for i := 1; i < len(had); i++ {
			before, after := had[i-1], had[i]
			moves++
			switch {
			case before.to.IsZero() || before.to.After(after.from):
				t.Errorf("call %s was %s's (epoch %d) from %v to %v, and %s's (epoch %d) from %v on", call, before.node, before.epoch, before.from, before.to, after.node, after.epoch, after.from)
			case after.epoch <= before.epoch:
				t.Errorf("call %s had epoch %d at %s, and %d at %s after it", call, before.epoch, before.node, after.epoch, after.node)
			default:
				closest = min(closest, after.from.Sub(before.to))
			}
		}
	}
	return moves, closest
}

// TestOwnersAreRead: a proof that could not fail would be none.
func TestOwnersAreRead(t *testing.T) {
	t.Parallel()
	at := func(second string) string { return `{"time":"2026-01-02T03:04:` + second + `Z",` }
	write := func(lines ...string) processLog {
		path := t.TempDir() + "/log"
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		return processLog{path: path}
	}
	one := write(at("01.5")+`"msg":"call started","node":"one","call":"c"}`, "not JSON", at("05.25")+`"msg":"calls fenced: cut off","node":"one"}`)
	two := write(at("05.5")+`"msg":"call claimed","node":"two","call":"c","epoch":2}`, at("09")+`"msg":"call resumed","node":"two","call":"c","epoch":2}`)
	moves, closest := readOwners(t, []processLog{two, one}).check(t)
	if moves != 1 || closest != 250*time.Millisecond {
		t.Errorf("%d moves, %v", moves, closest)
	}
	late := write(at("07") + `"msg":"call claimed","node":"three","call":"c","epoch":3}`)
	for name, logs := range map[string][]processLog{
		"two at a time": {one, two, late}, "an epoch twice": {one, write(at("06") + `"msg":"call claimed","node":"two","call":"c","epoch":1}`)},
	} {
		if (&verdict{T: t}).of(func(t testing.TB) { readOwners(t, logs).check(t) }) == 0 {
			t.Errorf("%s: nothing was found", name)
		}
	}
	two.ended = time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC)
	if moves, _ := readOwners(t, []processLog{one, two, late}).check(t); moves != 2 {
		t.Errorf("%d moves", moves)
	}
}

// verdict counts errors instead of failing with them.
type verdict struct {
	*testing.T
	errors int
}

func (v *verdict) Errorf(string, ...any) { v.errors++ }

func (v *verdict) of(check func(testing.TB)) int {
	check(v)
	return v.errors
}
