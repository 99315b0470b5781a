package policy

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestParseNumber(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in   string
		want Number
	}{
		{"+12025550123", "+12025550123"},
		{"+1 (202) 555-0123", "+12025550123"},
		{"+1.202.555.0123", "+12025550123"},
		{"+112", "+112"},
		{"+123456789012345", "+123456789012345"},
		{"100@PBX.Example", "100@pbx.example"},
		{"alice@example.com", "alice@example.com"},
		{"", ""}, {"+", ""}, {"+12", ""}, {"+1234567890123456", ""},
		{"12025550123", ""}, {"+1202555012a", ""}, {"@example.com", ""}, {"a@", ""},
		{"a@b@c", ""}, {"a b@c", ""}, {"a;x@c", ""}, {"a\x00@c", ""},
		{"+12025550123@evil.example", ""}, {"+@evil.example", ""}, {"1+2@pbx.example", "1+2@pbx.example"},
		{"a@" + strings.Repeat("b", 253), Number("a@" + strings.Repeat("b", 253))},
		{"a@" + strings.Repeat("b", 254), ""},
	} {
		got, err := ParseNumber(tc.in)
		if got != tc.want || (tc.want == "") != errors.Is(err, ErrNumber) {
			t.Errorf("ParseNumber(%q) = %q, %v; want %q", tc.in, got, err, tc.want)
		}
	}
}

func TestNumberParts(t *testing.T) {
	t.Parallel()
	n := Number("+12025550123")
	if n.TN() != "12025550123" || n.User() != "+12025550123" || n.Domain() != "" || !n.IsE164() {
		t.Errorf("parts of %s: %q %q %q", n, n.TN(), n.User(), n.Domain())
	}
	a := Number("100@pbx.example")
	if a.TN() != "" || a.User() != "100" || a.Domain() != "pbx.example" || a.IsE164() {
		t.Errorf("parts of %s: %q %q %q", a, a.TN(), a.User(), a.Domain())
	}
}

func TestParsePattern(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in, want string
	}{
		{"*", "*"}, {"+*", "+*"}, {"+1202*", "+1202*"}, {"+1202555xxxx", "+1202555xxxx"},
		{"+1 202 555 xxxx", "+1202555xxxx"}, {"+12025550123", "+12025550123"}, {"*@pbx.example", "*@pbx.example"},
		{"+", ""}, {"+x", ""}, {"", ""}, {"1202*", ""}, {"+1*2", ""}, {"+12x3", ""}, {"+1x*", ""}, {"+1*x", ""},
		{"+12345678901234567", ""},
	} {
		got, err := ParsePattern(tc.in)
		if string(got) != tc.want || (tc.want == "") != (err != nil) {
			t.Errorf("ParsePattern(%q) = %q, %v; want %q", tc.in, got, err, tc.want)
		}
	}
}

func TestNumberSet(t *testing.T) {
	t.Parallel()
	set, err := ParseNumberSet([]string{"+1*", "+1900555xxxx", "*@pbx.example"}, []string{"+1900*", "+881*"})
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[Number]bool{
		"+12025550123": true, "+19001234567": false, "+19005551234": true, "+88112345678": false,
		"+442079460000": false, "100@pbx.example": true, "100@other.example": false, "": false,
	} {
		if set.Covers(n) != want {
			t.Errorf("Covers(%q) = %v, want %v", n, !want, want)
		}
	}
}

func TestBlock(t *testing.T) {
	t.Parallel()
	for p, want := range map[Pattern]struct {
		start string
		count int
	}{
		"+1202555xxxx": {"12025550000", 10000}, "+12025550123": {"12025550123", 1}, "+1*": {}, "*": {}, "*@x": {},
	} {
		start, count, ok := p.Block()
		if start != want.start || count != want.count || ok != (want.count > 0) {
			t.Errorf("%q.Block() = %q, %d, %v", p, start, count, ok)
		}
	}
}

func TestNumberSetJSON(t *testing.T) {
	t.Parallel()
	for in, ok := range map[string]bool{
		`"+1*"`: true, `["+1*","+44*"]`: true, `{"allow":["*"],"except":["+1900*"]}`: true,
		`"1202"`: false, `7`: false, `{"allow":[3]}`: false,
	} {
		var set NumberSet
		if err := json.Unmarshal([]byte(in), &set); (err == nil) != ok {
			t.Errorf("unmarshal %s: %v", in, err)
		}
	}
}

func FuzzParseNumber(f *testing.F) {
	for _, s := range []string{"+12025550123", "100@pbx", "+1 (2)", "@", "*@x", "+1202555xxxx", "+*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := ParseNumber(s); err == nil {
			if again, err := ParseNumber(n.String()); err != nil || again != n {
				t.Errorf("%q -> %q -> %q, %v", s, n, again, err)
			}
		}
		if p, err := ParsePattern(s); err == nil {
			if again, err := ParsePattern(string(p)); err != nil || again != p {
				t.Errorf("pattern %q -> %q -> %q, %v", s, p, again, err)
			}
			if start, count, ok := p.Block(); ok && (start == "" || count < 1) {
				t.Errorf("block of %q is %q, %d", p, start, count)
			}
		}
	})
}
