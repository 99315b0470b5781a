package configs

import (
	"strings"
	"testing"
)

// mistakes are texts and what is reported of each, in order.
var mistakes = []struct {
	name, text string
	want       []string
}{
	{"unknown key", "nod: x\n", []string{`x.yaml:1:1: nod: unknown key; did you mean node?`}},
}

func TestMistakes(t *testing.T) {
	for _, tc := range mistakes {
		t.Run(tc.name, func(t *testing.T) {
			_, problems := Parse("x.yaml", []byte(tc.text))
			got := Problems(problems).Error()
			if want := strings.Join(tc.want, "\n"); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}
