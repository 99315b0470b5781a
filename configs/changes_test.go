package configs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const changing = `state: /tmp/riptide
sip: {listen: 127.0.0.1:5060}
trunks:
  pbx:
    sip: {peer: 127.0.0.1:5080, callers: "+1202555xxxx", login: {user: box, password: PASSWORD}}
  carrier:
    calls: 20
    sip: {peer: 127.0.0.2:5090}
routes:
  - {from: pbx, to: "+*", trunk: carrier}
`

func TestChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	password := filepath.Join(dir, "password")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	load := func(replace ...string) *Config {
		t.Helper()
		path := filepath.Join(dir, "riptide.yaml")
		write(path, strings.NewReplacer(append(replace, "PASSWORD", password)...).Replace(changing))
		c, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	write(password, "one\n")
	before := load()
	for name, tc := range map[string]struct {
		replace []string
		want    []string
	}{
		"nothing":           {nil, nil},
		"a comment":         {[]string{"trunks:\n", "trunks: # peers\n"}, nil},
		"a default spelt":   {[]string{"state:", "limits: {calls: 2000}\nstate:"}, nil},
		"a limit":           {[]string{"state:", "limits: {calls: 7}\nstate:"}, []string{"limits.calls"}},
		"a trunk's limit":   {[]string{"calls: 20", "calls: 21"}, []string{"trunks.carrier.calls"}},
		"a list":            {[]string{`"+1202555xxxx"`, `["+1202555xxxx", "+12025560000"]`}, []string{"trunks.pbx.sip.callers"}},
		"a route":           {[]string{`to: "+*"`, `to: "+1*"`}, []string{"routes"}},
		"a section":         {[]string{", login: {user: box, password: PASSWORD}", ""}, []string{"trunks.pbx.sip.login"}},
		"a trunk more":      {[]string{"routes:", "  other:\n    sip: {peer: 127.0.0.3:5099}\nroutes:"}, []string{"trunks.other"}},
		"a trunk renamed":   {[]string{"carrier", "telco"}, []string{"routes", "trunks.carrier", "trunks.telco"}},
		"its default limit": {[]string{"    calls: 20\n", ""}, []string{"trunks.carrier.calls"}},
		"a listener":        {[]string{"127.0.0.1:5060", "127.0.0.1:5061"}, []string{"sip.listen"}},
	} {
		after := load(tc.replace...)
		var got []string
		for _, c := range after.Changes(before) {
			if c.File {
				t.Errorf("%s: the file of %s", name, c.Key)
			}
			got = append(got, c.Key)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
	swapped := strings.NewReplacer("PASSWORD", password).Replace(changing)
	pbx, carrier := strings.Index(swapped, "  pbx:"), strings.Index(swapped, "  carrier:")
	routes := strings.Index(swapped, "routes:")
	path := filepath.Join(dir, "swapped.yaml")
	write(path, swapped[:pbx]+swapped[carrier:routes]+swapped[pbx:carrier]+swapped[routes:])
	if c, err := Load(path); err != nil || !slices.Equal(c.Changes(before), []Change{{Key: "trunks"}}) {
		t.Errorf("another order: %v, %v", c.Changes(before), err)
	}
	write(password, "two\n")
	if got := load().Changes(before); !slices.Equal(got, []Change{{Key: "trunks.pbx.sip.login.password", File: true}}) {
		t.Errorf("another password: %v", got)
	}
}
