package configs

import (
	"strings"
	"testing"
)

func TestTraceKeys(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"trace: {hep-id: 7}":                         "trace: says how to send SIP messages to a collector, and not to which; add hep",
		"trace: {hep-password: x}":                   "trace: says how",
		"trace: {hep: \"a b\", hep-id: 7}":           "trace.hep: ",
		"trace: {hep: homer.example, hep-id: 0}":     "trace.hep-id: ",
		"trace: {hep: homer.example, hep-passwd: x}": "did you mean hep-password?",
	} {
		_, problems := Parse("x.yaml", []byte(text+"\n"))
		found := Problems(problems).Error()
		if !strings.Contains(found, want) || strings.Count(found, "trace") < 1 {
			t.Errorf("%s: %s, want %s", text, found, want)
		}
	}
	c, _ := Parse("x.yaml", []byte("trace: {hep: \"[2001:db8::9]:9061\"}\n"))
	if c.Trace.HEP.String() != "[2001:db8::9]:9061" || c.Trace.ID != 1 {
		t.Errorf("%+v", c.Trace)
	}
}
