package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPain30NumbersAreTriedOut: most questions about a trunk are about a leading
// plus. What the rules make of a number is seen without a call.
func TestPain30NumbersAreTriedOut(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "riptide.yaml")
	config := `
state: /tmp/x
sip: {listen: 127.0.0.1:5060}
trunks:
  pbx:
    sip:
      peer: 127.0.0.1:5080
      callers: ["+442079460xxx"]
      numbers: {country: 44, international: 00, national: 0, rewrite: [{from: "9", to: ""}]}
  carrier:
    sip: {peer: 127.0.0.2:5080, callers: "*", numbers: {country: 1, international: 011, national: 1, write: national}}
routes:
  - {from: pbx, to: "*@127.0.0.1", trunk: pbx}
  - {from: pbx, to: "+44*", trunk: carrier}
  - {from: pbx, to: "+1*", trunk: carrier}
`
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args string
		want []string
		bad  bool
	}{
		{"--trunk pbx --number 902079460000", []string{"called: 02079460000 (trunks.pbx.sip.numbers.rewrite[0])", "called: +442079460000 (trunks.pbx.sip.numbers.national)",
			`from pbx to +44* goes to trunk carrier (routes[1])`, "dialled there: 011442079460000 (trunks.carrier.sip.numbers.write: national)"}, false},
		{"--trunk pbx --number 0012025550123", []string{"+12025550123 (trunks.pbx.sip.numbers.international)", "(routes[2])", "dialled there: 12025550123"}, false},
		{"--trunk pbx --number +1-202-555-0123", []string{"called: +12025550123\n"}, false},
		{"--trunk pbx --number 200", []string{"called: 200@127.0.0.1 (trunks.pbx.sip.numbers.domain)", "(routes[0])"}, false},
		{"--trunk pbx --number 0033123456789", []string{"refused with 404 No Route (no-route)", "add one to routes"}, true},
		{"--trunk pbx --number +44207946 --caller 02012345678", []string{"caller: +442012345678 (trunks.pbx.sip.numbers.national)", "refused with 403", "trunks.pbx: callers"}, true},
		{"--trunk pbx --number +1", []string{"refused with 484 Address Incomplete"}, true},
		{"--trunk carrier --number 12025550123", []string{"refused with 404"}, true},
		{"--trunk nobody --number 1", nil, true},
		{"--number 1", nil, true},
	} {
		var out bytes.Buffer
		app := newApp()
		app.Writer = &out
		err := app.Run(append([]string{"riptide", "check", "-c", file}, strings.Fields(tc.args)...))
		if (err != nil) != tc.bad {
			t.Errorf("%s: %v\n%s", tc.args, err, out.String())
		}
		for _, want := range tc.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: no %q in\n%s", tc.args, want, out.String())
			}
		}
	}
}
