package stir

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"riptide/policy"
)

// Byte-equal with the encoders of pyasn1-modules and @peculiar/asn1-rfc8226.
var goldenTNAuthLists = []struct {
	der  string
	list TNAuthList
	text string
}{
	{"3008a00616043730394a", TNAuthList{{SPC: "709J"}}, "spc 709J"},
	{"300fa20d160b3132313535353531323132", TNAuthList{{Start: "12155551212", Count: 1}}, "12155551212"},
	{"3015a1133011160b3134303835353531303030020203e8", TNAuthList{{Start: "14085551000", Count: 1000}}, "14085551000-14085551999"},
	{
		"302ca006160431323334a1133011160b3134303835353531303030020203e8a20d160b3134303835353531303032",
		TNAuthList{{SPC: "1234"}, {Start: "14085551000", Count: 1000}, {Start: "14085551002", Count: 1}},
		"spc 1234, 14085551000-14085551999, 14085551002",
	},
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	must(t, err)
	return b
}

func TestTNAuthListGolden(t *testing.T) {
	for _, tc := range goldenTNAuthLists {
		der := unhex(t, tc.der)
		got, err := ParseTNAuthList(der)
		if err != nil || !slices.Equal(got, tc.list) {
			t.Errorf("parse %s: %v, %v; want %v", tc.der, got, err, tc.list)
		}
		if got.String() != tc.text {
			t.Errorf("String() = %q, want %q", got, tc.text)
		}
		again, err := tc.list.Append([]byte("before"))
		if err != nil || !bytes.Equal(again, append([]byte("before"), der...)) {
			t.Errorf("append %v: %x, %v; want %s behind what was there", tc.list, again, err, tc.der)
		}
		for n := range der {
			if _, err := ParseTNAuthList(der[:n]); !errors.Is(err, ErrTNAuthList) {
				t.Errorf("%s cut to %d bytes: %v", tc.der, n, err)
			}
		}
	}
}

func TestTNAuthListRefusals(t *testing.T) {
	for name, der := range map[string]string{
		"no entry":                "3000",
		"entry cut short":         "3001a0",
		"not a sequence":          "160131",
		"bytes behind it":         "3008a00616043730394a00",
		"implicit tag spc":        "3006 8004 3730394a",
		"implicit tag one":        "300d 820b 3132313535353531323132",
		"unknown choice":          "3008 a306 1604 3730394a",
		"spc empty":               "3004 a002 1600",
		"spc as UTF8String":       "3008 a006 0c04 3730394a",
		"spc with a space":        "3008 a006 1604 37302039",
		"spc of 33":               "3025 a023 1621 " + strings.Repeat("41", 33),
		"more in a choice":        "300a a008 1604 3730394a 0500",
		"one empty":               "3004 a202 1600",
		"one with a plus":         "3005 a203 1601 2b",
		"one of 16 digits":        "3014 a212 1610 " + strings.Repeat("31", 16),
		"range of one":            "300b a109 3007 1602 3130 020101",
		"range negative":          "300b a109 3007 1602 3130 0201ff",
		"range without a count":   "3008 a106 3004 1602 3130",
		"range with an extension": "300d a10b 3009 1602 3130 020102 0500",
		"range from 1#":           "300b a109 3007 1602 3123 020102",
		"range leaves its digits": "300b a109 3007 1602 3939 020102",
		"range of 2^64":           "3013 a111 300f 1602 3130 0209 010000000000000000",
		"count not minimal":       "300c a10a 3008 1602 3130 02020002",
		"indefinite length":       "3080 a006 1604 3730394a 0000",
	} {
		if got, err := ParseTNAuthList(unhex(t, der)); !errors.Is(err, ErrTNAuthList) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for name, list := range map[string]TNAuthList{
		"nothing":      nil,
		"zero entry":   {{}},
		"count 0":      {{Start: "1"}},
		"two at once":  {{SPC: "1", Start: "1", Count: 1}},
		"range over #": {{Start: "1#", Count: 2}},
	} {
		if got, err := list.Append(nil); !errors.Is(err, ErrTNAuthList) {
			t.Errorf("append %s: %x, %v", name, got, err)
		}
	}
}

func TestTNAuthListLimits(t *testing.T) {
	list := slices.Repeat(TNAuthList{{Start: "123456789012345", Count: 1}}, maxTNEntries)
	der, err := list.Append(nil)
	must(t, err)
	if _, err := ParseTNAuthList(der); err != nil {
		t.Errorf("%d entries: %v", len(list), err)
	}
	if _, err := append(list, list[0]).Append(nil); !errors.Is(err, ErrTNAuthList) {
		t.Errorf("append %d entries: %v", len(list)+1, err)
	}
	one := unhex(t, "a203160131")
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(bytes.Repeat(one, maxTNEntries+1)) })
	if _, err := ParseTNAuthList(b.BytesOrPanic()); err == nil || !strings.Contains(err.Error(), "more than 1024") {
		t.Errorf("parse %d entries: %v", maxTNEntries+1, err)
	}
	if _, err := ParseTNAuthList(make([]byte, maxTNAuthList+1)); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("parse %d bytes: %v", maxTNAuthList+1, err)
	}
	long := slices.Repeat(TNAuthList{{SPC: strings.Repeat("S", maxSPC)}}, maxTNEntries)
	if _, err := long.Append(nil); !errors.Is(err, ErrTNAuthList) {
		t.Errorf("append more than %d bytes: %v", maxTNAuthList, err)
	}
	for _, e := range []TNEntry{
		{SPC: strings.Repeat("S", maxSPC)},
		{Start: "999999999999999", Count: 1},
		{Start: "000000000000000", Count: 1e15},
		{Start: "99", Count: 1}, {Start: "98", Count: 2}, {Start: "*1#", Count: 1},
	} {
		if err := e.check(); err != nil {
			t.Errorf("%+v: %v", e, err)
		}
	}
}

func TestNewTNAuthList(t *testing.T) {
	got, err := NewTNAuthList([]policy.Pattern{"+1202555xxxx", "+12025550123"})
	want := TNAuthList{{Start: "12025550000", Count: 10000}, {Start: "12025550123", Count: 1}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	for _, bad := range [][]policy.Pattern{nil, {"+1202*"}, {"*"}, {"*@pbx.example"}, {"100@pbx.example"}, {"+123456789012345x"}} {
		if got, err := NewTNAuthList(bad); !errors.Is(err, ErrTNAuthList) {
			t.Errorf("%q: %v, %v", bad, got, err)
		}
	}
}

func TestCovers(t *testing.T) {
	list := TNAuthList{{SPC: "709J"}, {Start: "0990", Count: 20}, {Start: "12025550100", Count: 2}, {Start: "12025550109", Count: 1}}
	for n, want := range map[policy.Number]bool{
		"+12025550100": true, "+12025550101": true, "+12025550109": true,
		"+12025550099": false, "+12025550102": false, "+12025550108": false,
		"+0990": true, "+1009": true, "+1010": false, "+0989": false, "+990": false,
		"": false, "+": false, "12025550100@pbx.example": false, "+12025550100@pbx.example": false, "+1202555010": false,
	} {
		if got := list.Covers(n); got != want {
			t.Errorf("Covers(%q) = %v", n, got)
		}
	}
	if !list.HasSPC("709J") || list.HasSPC("") || list.HasSPC("0990") {
		t.Error("HasSPC")
	}
}

func TestEncompasses(t *testing.T) {
	parent := TNAuthList{{SPC: "709J"}, {Start: "200", Count: 50}, {Start: "250", Count: 50}, {Start: "0100", Count: 100}, {Start: "911#", Count: 1}, {Start: "400", Count: 1}}
	for _, tc := range []struct {
		child TNAuthList
		want  bool
	}{
		{TNAuthList{{Start: "200", Count: 100}}, true}, // two entries together
		{TNAuthList{{Start: "249", Count: 2}, {Start: "299", Count: 1}}, true},
		{TNAuthList{{Start: "400", Count: 1}, {SPC: "709J"}, {Start: "911#", Count: 1}}, true},
		{TNAuthList{{Start: "0199", Count: 1}}, true},
		{parent, true},
		{TNAuthList{{Start: "199", Count: 2}}, false},
		{TNAuthList{{Start: "299", Count: 2}}, false},
		{TNAuthList{{Start: "100", Count: 1}}, false}, // 0100 has four digits
		{TNAuthList{{Start: "0200", Count: 1}}, false},
		{TNAuthList{{SPC: "709K"}}, false},
		{TNAuthList{{Start: "*11", Count: 1}}, false},
		{TNAuthList{{Start: "399", Count: 3}}, false},
	} {
		if got := parent.Encompasses(tc.child); got != tc.want {
			t.Errorf("Encompasses(%s) = %v", tc.child, got)
		}
	}
}

func TestWithin(t *testing.T) {
	set := policy.NumberSet{
		Allow:  []policy.Pattern{"+2xx", "+30*", "+311", "+255", "*@pbx.example"},
		Except: []policy.Pattern{"+25x", "+3099"},
	}
	for _, tc := range []struct {
		list string
		bad  string // "" = within
	}{
		{"200 50", ""}, {"260 40", ""}, {"300 10", ""}, {"311 1", ""}, {"3000 99", ""}, {"255 1", ""},
		{"200 51", "+250"}, {"200 100", "+250"}, {"259 2", "+259"}, {"199 2", "+199"}, {"299 20", "+310"},
		{"3099 1", "+3099"}, {"3098 2", "+3099"}, {"312 1", "+312"},
	} {
		var e TNEntry
		if _, err := fmt.Sscan(tc.list, &e.Start, &e.Count); err != nil {
			t.Fatal(err)
		}
		err := TNAuthList{e}.Within(set)
		if (err == nil) != (tc.bad == "") || err != nil && !strings.Contains(err.Error(), tc.bad+" ") {
			t.Errorf("%s: %v, want %q", tc.list, err, tc.bad)
		}
	}
	for _, e := range []TNEntry{{SPC: "709J"}, {Start: "30#", Count: 1}} {
		if err := (TNAuthList{e}).Within(policy.NumberSet{Allow: []policy.Pattern{"*"}}); err == nil {
			t.Errorf("%+v is within", e)
		}
	}
}

// TestScopesAgree compares the interval arithmetic with trying every number.
func TestScopesAgree(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	random := func(n int) (list TNAuthList) {
		for range n {
			first := rnd.IntN(1000)
			list = append(list, TNEntry{Start: fmt.Sprintf("%03d", first), Count: 1 + rnd.Uint64N(uint64(1000-first))/4})
		}
		return list
	}
	patterns := func(n int) (out []policy.Pattern) {
		for range n {
			p := fmt.Sprintf("+%03d", rnd.IntN(1000))
			switch rnd.IntN(4) {
			case 0:
				p = p[:3] + "x"
			case 1:
				p = p[:2] + "*"
			case 2:
				p = p[:2] + "xx"
			}
			out = append(out, policy.Pattern(p))
		}
		return out
	}
	var yes int
	for range 300 {
		parent, child := random(1+rnd.IntN(4)), random(1+rnd.IntN(2))
		set := policy.NumberSet{Allow: patterns(4), Except: patterns(rnd.IntN(3))}
		inParent, inSet := true, true
		for i := range 1000 {
			if n := policy.Number(fmt.Sprintf("+%03d", i)); child.Covers(n) {
				inParent = inParent && parent.Covers(n)
				inSet = inSet && set.Covers(n)
			}
		}
		if parent.Encompasses(child) != inParent {
			t.Fatalf("%s encompasses %s: want %v", parent, child, inParent)
		}
		if (child.Within(set) == nil) != inSet {
			t.Fatalf("%s within %v: want %v", child, set, inSet)
		}
		if inParent || inSet {
			yes++
		}
	}
	if yes < 10 {
		t.Errorf("only %d of the cases were within: the test shows little", yes)
	}
}

func FuzzTNAuthList(f *testing.F) {
	for _, tc := range goldenTNAuthLists {
		f.Add(unhex(f, tc.der))
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		list, err := ParseTNAuthList(der)
		if err != nil {
			return
		}
		again, err := list.Append(nil)
		if err != nil || !bytes.Equal(again, der) {
			t.Fatalf("%x is written as %x, %v", der, again, err)
		}
		if !list.Encompasses(list) {
			t.Fatalf("%s does not encompass itself", list)
		}
	})
}
