package main

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"riptide/bridge"
	"riptide/configs"
)

// The words of the configuration are the facts there are, and their default is
// the bridge's.
func TestFactWords(t *testing.T) {
	field, _ := reflect.TypeFor[configs.Facts]().FieldByName("Accept")
	words := strings.Fields(field.Tag.Get("oneof"))
	if want := append([]string{"all", "none"}, factWords(bridge.FactNames())...); !reflect.DeepEqual(words, want) {
		t.Errorf("the configuration takes %v, there are %v", words, want)
	}
	cfg, err := configs.Parse("test.yaml", []byte("trunks: {pbx: {sip: {peer: 192.0.2.1, callers: '*'}, facts: {send: none, carry: X-Account}}}"))
	if err != nil {
		t.Fatal(err)
	}
	p := factPolicy(cfg.Trunks[0].Facts)
	accept := factWords(p.Accept)
	want := factWords(bridge.DefaultFacts())
	slices.Sort(want)
	if !reflect.DeepEqual(accept, want) || p.Send != nil || !reflect.DeepEqual(p.Carry, []string{"X-Account"}) {
		t.Errorf("policy %+v, want the default %v, nothing, X-Account", p, want)
	}
	if got := factPolicy(configs.Facts{Send: []string{"all"}}).Send; !reflect.DeepEqual(got, bridge.FactNames()) {
		t.Errorf("all is %v", got)
	}
	if n := oneNumber("+12025550100"); n != "+12025550100" {
		t.Errorf("number %q", n)
	}
}

func factWords(facts []bridge.Fact) []string {
	var out []string
	for _, f := range facts {
		out = append(out, string(f))
	}
	return out
}
