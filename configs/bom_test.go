package configs

import "testing"

// TestByteOrderMark: what some editors put before UTF-8 is no mistake.
func TestByteOrderMark(t *testing.T) {
	t.Parallel()
	c, problems := Parse("x.yaml", []byte("\ufeffnode: box\r\n"))
	if len(problems) > 0 || c.Node != "box" {
		t.Errorf("%+v, %v", c, problems)
	}
}
