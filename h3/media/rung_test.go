package media

import (
	"slices"
	"testing"
)

func TestRungs(t *testing.T) {
	all := []Rung{Trunk, WebTransport, Striped, PutGet}
	for name, tc := range map[string]struct {
		want  string
		lists [][]string
		rungs []Rung
	}{
		"nobody says anything": {"", nil, all},
		"auto":                 {"auto", [][]string{RungNames(), RungNames()}, all},
		"the TG has less":      {"auto", [][]string{{"striped", "put-get"}}, []Rung{Striped, PutGet}},
		"the two have nothing": {"auto", [][]string{{"striped", "put-get"}, {"trunk", "put-get"}}, []Rung{PutGet}},
		"an old TG":            {"auto", [][]string{{"webtransport", "put-get"}}, []Rung{WebTransport, PutGet}},
		"a name of the future": {"auto", [][]string{{"pigeons"}}, []Rung{PutGet}},
		"forced":               {"striped", [][]string{nil, RungNames()}, []Rung{Striped, PutGet}},
		"forced, not offered":  {"trunk", [][]string{{"webtransport", "put-get"}}, []Rung{PutGet}},
		"forced to the last":   {"put-get", nil, []Rung{PutGet}},
	} {
		if got := Rungs(tc.want, tc.lists...); !slices.Equal(got, tc.rungs) {
			t.Errorf("%s: %v, want %v", name, got, tc.rungs)
		}
	}
	for _, name := range RungNames() {
		if r, ok := RungOf(name); !ok || r.String() != name || r.Carrier() == "" {
			t.Errorf("%s: %v %v", name, r, ok)
		}
	}
	if _, ok := RungOf("auto"); ok {
		t.Error("auto is no rung")
	}
}
