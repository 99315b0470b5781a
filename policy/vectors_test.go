package policy

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write the vectors anew")

const setVectors = "../testdata/numbers/vectors.json"

// setVector is a number set as a document holds it, and numbers that it covers
// or does not.
type setVector struct {
	Set     json.RawMessage `json:"set"`
	Covered []Number        `json:"covered,omitempty"`
	Outside []Number        `json:"outside,omitempty"`
	Invalid bool            `json:"invalid,omitempty"`
}

func TestSetVectors(t *testing.T) {
	numbers := []Number{
		"+12025550123", "+12025559999", "+19005550100", "+442079460000", "+8816555000", "+390612345678",
		"100@acme.example", "+1", "reception@acme.example", "100@other.example",
	}
	var want []setVector
	for _, set := range []string{
		`"*"`, `"+1*"`, `"+12025550123"`, `["+1*", "+44*"]`, `"*@acme.example"`, `"100@acme.example"`,
		`{"allow": ["+1*"], "except": ["+1900*"]}`,
		`{"allow": ["+1*", "+1900555*"], "except": ["+1900*"]}`,
		`{"allow": ["*"], "except": ["+881*", "+1900*"]}`,
		`{"allow": ["+12025550123"], "except": ["+12025550123"]}`,
		`{"allow": ["+1*"], "except": ["+1*"]}`,
		`["+1*", "2025550123"]`, `"+1*2"`, `"+12a"`, `17`, `{"allow": [5]}`,
	} {
		v := setVector{Set: json.RawMessage(set)}
		var s NumberSet
		if err := json.Unmarshal(v.Set, &s); err != nil {
			v.Invalid = true
			want = append(want, v)
			continue
		}
		for _, n := range numbers {
			if _, err := ParseNumber(string(n)); err != nil {
				continue
			}
			if s.Covers(n) {
				v.Covered = append(v.Covered, n)
			} else {
				v.Outside = append(v.Outside, n)
			}
		}
		want = append(want, v)
	}
	data, err := json.MarshalIndent(want, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(setVectors, append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := os.ReadFile(setVectors)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bytes.TrimSpace(stored), data) {
		t.Error("the vectors are not what this code does; if the meaning was meant to change, run with -update")
	}
}
