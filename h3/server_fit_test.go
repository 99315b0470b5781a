package h3

import (
	"strings"
	"testing"
)

func TestAccepts(t *testing.T) {
	t.Parallel()
	for field, want := range map[string]bool{
		"": true, " ": true, "*/*": true, "application/*": true, "application/json": true, "APPLICATION/JSON; charset=utf-8": true,
		"text/html, application/json;q=0.1": true, "text/html, */*;q=0.1": true, "application/json, application/problem+json": true,
		"text/html": false, "application/problem+json": false, "application/json;q=0": false, "*/*;q=0": false,
		"application/json;q=0, */*": false, "application/*;q=0, */*;q=1": false, "application/*;q=0, application/json": true,
		"text/html;q=x": false, "application/json;q=x": true, ";;": true, "text/html, ,": true,
	} {
		if got := accepts(field, mediaJSON); got != want {
			t.Errorf("%q: %v", field, got)
		}
	}
}

func FuzzAccepts(f *testing.F) {
	f.Add("text/html;q=0.5, application/*;q=0")
	f.Fuzz(func(t *testing.T, field string) {
		if accepts(field, mediaJSON) && !accepts(field+",application/json;q=1", mediaJSON) && !strings.Contains(strings.ToLower(field), "application/json") {
			t.Errorf("%q: more is accepted, less fits", field)
		}
	})
}
