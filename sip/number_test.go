package sip

import (
	"strings"
	"testing"
)

func FuzzNumberRules(f *testing.F) {
	f.Add("+12025550123", "1", "011", "1", "9")
	f.Add("0201%32;phone-context=+44", "44", "00", "0", "")
	f.Add("555-0122;phone-context=pbx.example", "1", "", "", "+")
	f.Fuzz(func(t *testing.T, user, country, international, national, from string) {
		r := NumberRules{CountryCode: country, International: international, National: national, Domain: "x.example", BareE164: len(user)%2 == 0}
		if from != "" {
			r.Rewrite = []Rewrite{{from, "+1"}}
		}
		if r.check() != nil {
			return
		}
		n, steps, err := r.Explain(user)
		if err != nil {
			return
		}
		if len(steps) == 0 || steps[len(steps)-1].Result != string(n) {
			t.Fatalf("%q: %v ends not with %q", user, steps, n)
		}
		for _, write := range []string{"plus", "bare", "national"} {
			r.Write = write
			if out := r.Format(n); out == "" || strings.ContainsAny(out, "\r\n<>\"@ ") {
				t.Fatalf("%q is written %q", n, out)
			}
		}
	})
}
