package configs

import (
	"os"
	"strings"
	"testing"
)

// TestEveryKeyIsDocumented keeps docs/configuration.md whole: it has a row for
// every key of the schema and for nothing else.
func TestEveryKeyIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		row, ok := strings.CutPrefix(line, "| `")
		if !ok {
			continue
		}
		key, _, _ := strings.Cut(row, "`")
		if documented[key] {
			t.Errorf("%s has two rows", key)
		}
		documented[key] = true
	}
	for _, key := range Keys() {
		if !documented[key] {
			t.Errorf("docs/configuration.md lacks %s", key)
		}
		delete(documented, key)
	}
	for key := range documented {
		t.Errorf("docs/configuration.md has %s, the schema has not", key)
	}
}
