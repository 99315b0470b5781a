package cluster

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// sharedLog is a log that several goroutines write.
type sharedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *sharedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *sharedLog) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// joinWith starts nodes that seal with keys, and gives their logs.
func joinWith(t *testing.T, w *wire, keys map[string][]string) (map[string]*Members, map[string]*sharedLog) {
	nodes, logs := map[string]*Members{}, map[string]*sharedLog{}
	for name, k := range keys {
		logs[name] = &sharedLog{}
		m, err := Join(Config{Node: name, Nodes: three, Bus: &port{w, name}, Keys: k, Logger: slog.New(slog.NewTextHandler(logs[name], nil))})
		if err != nil {
			t.Fatal(err)
		}
		nodes[name] = m
	}
	return nodes, logs
}

// TestANodeWithAnotherKey: it knows that it is the one, and the others that it is not
// them; each says so once.
func TestANodeWithAnotherKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{subs: map[*port]map[string]func([]byte){}, cut: map[string]bool{}}
		nodes, logs := joinWith(t, w, map[string][]string{three[0]: {"good"}, three[1]: {"good", "older"}, three[2]: {"bad"}})
		time.Sleep(time.Minute)
		for _, name := range three[:2] {
			if others, outvoted := nodes[name].Unlike(); !slices.Equal(others, three[2:]) || outvoted {
				t.Errorf("%s: %v, %v", name, others, outvoted)
			}
			if n := logs[name].count("cluster.key"); n != 1 {
				t.Errorf("%s said it %d times: %s", name, n, &logs[name].text)
			}
		}
		if others, outvoted := nodes[three[2]].Unlike(); !slices.Equal(others, three[:2]) || !outvoted {
			t.Errorf("%v, %v", others, outvoted)
		}
		if n := logs[three[2]].count("level=ERROR"); n != 1 {
			t.Errorf("%d errors: %s", n, &logs[three[2]].text)
		}
		nodes[three[2]].Leave()
		again, _ := joinWith(t, w, map[string][]string{three[2]: {"good"}})
		nodes[three[2]] = again[three[2]]
		time.Sleep(time.Minute)
		for name, m := range nodes {
			if others, outvoted := m.Unlike(); len(others) > 0 || outvoted {
				t.Errorf("%s, with the key mended: %v, %v", name, others, outvoted)
			}
			m.Leave()
		}
	})
}

// TestChangingTheKeyIsNoTrouble: none of the steps that docs/cluster.md has makes two
// nodes unlike.
func TestChangingTheKeyIsNoTrouble(t *testing.T) {
	t.Parallel()
	steps := [][]string{{"old"}, {"old", "new"}, {"new", "old"}, {"new"}}
	for i := range steps {
		for _, other := range steps[max(0, i-1):min(len(steps), i+2)] {
			if !alike(steps[i], other) {
				t.Errorf("%v and %v", steps[i], other)
			}
		}
	}
	if alike(steps[0], steps[3]) || alike(steps[0], steps[2]) {
		t.Error("nodes that do not open what the other seals")
	}
	r := newRoll(three[0], three, 1, time.Unix(0, 0))
	r.hear(time.Unix(1, 0), beat{Node: three[1], Term: 1})
	if others, outvoted := r.unlike(steps[0]); len(others) > 0 || outvoted {
		t.Errorf("a node of an older release: %v", others)
	}
}

// TestNoMajorityIsToldOnce: from the start, and each time that it is lost.
func TestNoMajorityIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const said = "hears no majority"
		w := &wire{subs: map[*port]map[string]func([]byte){}, cut: map[string]bool{}}
		nodes, logs := joinWith(t, w, map[string][]string{three[0]: nil})
		log := logs[three[0]]
		time.Sleep(time.Hour)
		if n := log.count(said); n != 1 || log.count("WARN") != 1 {
			t.Errorf("alone from the start: %d: %s", n, &log.text)
		}
		more, _ := joinWith(t, w, map[string][]string{three[1]: nil})
		time.Sleep(time.Minute)
		if n := log.count(said); n != 1 || !nodes[three[0]].Held() {
			t.Errorf("a majority is there: %d", n)
		}
		w.mu.Lock()
		w.cut[three[1]] = true
		w.mu.Unlock()
		time.Sleep(time.Hour)
		if n := log.count(said); n != 2 {
			t.Errorf("it was lost: %d: %s", n, &log.text)
		}
		nodes[three[0]].Leave()
		more[three[1]].Leave()
	})
}

// TestFresh: that a lease is over is seen by who asks, before anything has told of it.
func TestFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		defer s.close()
		a := s.nodes[three[0]]
		if !a.Fresh() || !a.Held() {
			t.Fatal("no lease")
		}
		s.cut(three[0], true)
		for range 400 {
			time.Sleep(10 * time.Millisecond)
			fresh := a.Fresh() // asked first: what follows brings it up to date
			if held := a.Held(); fresh != held {
				t.Fatalf("fresh %v, held %v", fresh, held)
			}
		}
		if a.Fresh() {
			t.Error("a lease that has ended is used on")
		}
		s.cut(three[0], false)
		time.Sleep(time.Minute)
		if !a.Fresh() {
			t.Error("it did not come back")
		}
		if err := a.Goodbye(); err != nil || a.Fresh() {
			t.Errorf("after goodbye: %v", err)
		}
	})
}
