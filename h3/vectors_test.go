package h3

import (
	"bytes"
	"encoding/json"
	"errors"

	"io"
	"os"
	"strings"
	"testing"
)

const eventVectors = "../testdata/events/vectors.json"

// streamVector is an event stream: the types of the known events in it, and
// how it ends.
type streamVector struct {
	Name   string   `json:"name"`
	Stream string   `json:"stream"`
	Events []string `json:"events"`
	End    string   `json:"end"` // "closed", "broken", "not an array", "too big"
}

func TestEventVectors(t *testing.T) {
	const ringing = `{"type":"alerting","direction":"s2c","timestamp":"2026-11-22T12:00:01Z","call":"https://a.example/c/1","seq":2}`
	const over = `{"type":"end","direction":"s2c","timestamp":"2026-11-22T12:00:09Z","call":"https://a.example/c/1","seq":3,"endedBy":"callee","reason":{"code":"normal","q850":16}}`
	want := []streamVector{
		{Name: "with commas", Stream: "[\n" + ringing + ",\n" + over + "]\n"},
		{Name: "without commas", Stream: "[" + ringing + over + "]"},
		{Name: "white space between, as a sign of life", Stream: "[\n\n\n " + ringing + "\n\n\t" + over + "\n]"},
		{Name: "unknown event", Stream: `[{"type":"weather","seq":1},` + ringing + "]"},
		{Name: "aliases", Stream: `[{"type":"moved","seq":1},{"type":"ended","seq":2}]`},
		{Name: "unknown member", Stream: `[{"type":"ping","seq":1,"nonce":"x","colour":"red"}]`},
		{Name: "ends without a bracket", Stream: "[" + ringing + ","},
		{Name: "ends within an event", Stream: "[" + ringing[:40]},
		{Name: "empty, closed", Stream: "[]"},
		{Name: "nothing at all", Stream: ""},
		{Name: "not an array", Stream: ringing},
		{Name: "numbers in it", Stream: "[1,2]"},
		{Name: "event of 16 KiB", Stream: `[{"type":"ping","nonce":"` + strings.Repeat("x", maxEvent-26) + `"}]`},
		{Name: "event of 16 KiB and one", Stream: `[{"type":"ping","nonce":"` + strings.Repeat("x", maxEvent-25) + `"}]`},
	}
	for i := range want {
		want[i].Events, want[i].End = readStream(t, want[i].Stream)
	}
	var data bytes.Buffer
	enc := json.NewEncoder(&data)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(want); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(eventVectors, data.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := os.ReadFile(eventVectors)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(stored, data.Bytes()) {
		t.Error("the vectors are not what this code reads; if the protocol was meant to change, run with -update")
	}
}

func readStream(t *testing.T, s string) (types []string, end string) {
	t.Helper()
	r := newBywayReader(strings.NewReader(s))
	types = []string{}
	for {
		ev, err := r.Next()
		switch {
		case err == nil:
			types = append(types, ev.Type)
			continue
		case errors.Is(err, io.EOF) && !errors.Is(err, errBywayBroken):
			return types, "closed"
		case errors.Is(err, errBywayBroken):
			return types, "broken"
		case errors.Is(err, errEventTooBig):
			return types, "too big"
		case errors.Is(err, errBywaySyntax):
			return types, "not an array"
		default:
			t.Fatalf("%q: %v", s, err)
		}
	}
}
