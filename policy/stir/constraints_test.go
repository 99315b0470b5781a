package stir

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// append writes constraints as a CA would.
func (c ClaimConstraints) append(t testing.TB) []byte {
	t.Helper()
	var b cryptobyte.Builder
	names := func(b *cryptobyte.Builder, tag cbasn1.Tag, list []string) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, s := range list {
				b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes([]byte(s)) })
			}
		})
	}
	choice := func(b *cryptobyte.Builder, n uint8, present bool, write func(*cryptobyte.Builder)) {
		if present {
			b.AddASN1(cbasn1.Tag(n).ContextSpecific().Constructed(), write)
		}
	}
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		choice(b, 0, c.MustInclude != nil, func(b *cryptobyte.Builder) { names(b, cbasn1.IA5String, c.MustInclude) })
		choice(b, 1, c.Permitted != nil, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				for _, p := range c.Permitted {
					b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1(cbasn1.IA5String, func(b *cryptobyte.Builder) { b.AddBytes([]byte(p.Claim)) })
						names(b, cbasn1.UTF8String, p.Values)
					})
				}
			})
		})
		choice(b, 2, c.MustExclude != nil, func(b *cryptobyte.Builder) { names(b, cbasn1.IA5String, c.MustExclude) })
	})
	return b.BytesOrPanic()
}

func TestParseClaimConstraints(t *testing.T) {
	for _, tc := range []struct {
		der      string
		enhanced bool
		want     ClaimConstraints
	}{
		{"300a a008 3006 1604 72636469", false, ClaimConstraints{MustInclude: []string{"rcdi"}}},
		{"300a a208 3006 1604 72636469", true, ClaimConstraints{MustExclude: []string{"rcdi"}}},
		{
			"3013 a111 300f 300d 1606 617474657374 3003 0c01 41", false,
			ClaimConstraints{Permitted: []PermittedValues{{Claim: "attest", Values: []string{"A"}}}},
		},
	} {
		der := unhex(t, tc.der)
		got, err := ParseClaimConstraints(der, tc.enhanced)
		if err != nil || !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: %+v, %v; want %+v", tc.der, got, err, tc.want)
		}
		for n := range der {
			if _, err := ParseClaimConstraints(der[:n], tc.enhanced); !errors.Is(err, ErrClaimConstraints) {
				t.Errorf("%s cut to %d bytes: %v", tc.der, n, err)
			}
		}
	}
}

func TestClaimConstraintRefusals(t *testing.T) {
	for name, der := range map[string]string{
		"nothing in it":              "3000",
		"cut short":                  "3001a0",
		"bytes behind it":            "300a a008 3006 1604 72636469 00",
		"mustExclude in the old one": "300a a208 3006 1604 72636469",
		"empty list":                 "3004 a002 3000",
		"not IA5String":              "300a a008 3006 0c04 72636469",
		"implicit tag":               "3008 a006 1604 72636469",
		"two in one tag":             "300c a00a 3006 1604 72636469 0500",
		"no permitted value":         "3010 a10e 300c 300a 1606 617474657374 3000",
		"no permitted values at all": "300e a10c 300a 3008 1606 617474657374",
		"empty permitted list":       "3004 a102 3000",
		"permitted not a sequence":   "3007 a105 0c03 414141",
	} {
		if got, err := ParseClaimConstraints(unhex(t, der), false); !errors.Is(err, ErrClaimConstraints) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	names := strings.Split(strings.Repeat("a,", maxClaimNames)+"a", ",")
	if _, err := ParseClaimConstraints(ClaimConstraints{MustInclude: names[1:]}.append(t), true); err != nil {
		t.Errorf("%d names: %v", len(names)-1, err)
	}
	if _, err := ParseClaimConstraints(ClaimConstraints{MustInclude: names}.append(t), true); err == nil {
		t.Errorf("%d names: accepted", len(names))
	}
	var many []PermittedValues
	for range maxClaimNames + 1 {
		many = append(many, PermittedValues{"a", []string{"b"}})
	}
	if _, err := ParseClaimConstraints(ClaimConstraints{Permitted: many}.append(t), true); err == nil {
		t.Errorf("%d permitted: accepted", len(many))
	}
	if _, err := ParseClaimConstraints(make([]byte, maxClaimConstraints+1), true); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("%d bytes: %v", maxClaimConstraints+1, err)
	}
}

func TestClaimConstraintsCheck(t *testing.T) {
	claims := map[string]json.RawMessage{"attest": json.RawMessage(`"A"`), "iat": json.RawMessage(`17`)}
	for _, tc := range []struct {
		c  ClaimConstraints
		ok bool
	}{
		{ClaimConstraints{MustInclude: []string{"attest"}}, true},
		{ClaimConstraints{MustInclude: []string{"attest", "rcd"}}, false},
		{ClaimConstraints{MustExclude: []string{"rcd"}}, true},
		{ClaimConstraints{MustExclude: []string{"attest"}}, false},
		{ClaimConstraints{Permitted: []PermittedValues{{"attest", []string{"B", "A"}}}}, true},
		{ClaimConstraints{Permitted: []PermittedValues{{"attest", []string{"B", "C"}}}}, false},
		{ClaimConstraints{Permitted: []PermittedValues{{"iat", []string{"17"}}}}, true},
		{ClaimConstraints{Permitted: []PermittedValues{{"rcd", []string{"x"}}}}, true}, // only if it is there
	} {
		if err := tc.c.check(claims); (err == nil) != tc.ok {
			t.Errorf("%+v: %v", tc.c, err)
		}
	}
}

func FuzzClaimConstraints(f *testing.F) {
	f.Add(unhex(f, "300a a008 3006 1604 72636469"), false)
	f.Add(unhex(f, "3013 a111 300f 300d 1606 617474657374 3003 0c01 41"), true)
	f.Fuzz(func(t *testing.T, der []byte, enhanced bool) {
		if c, err := ParseClaimConstraints(der, enhanced); err == nil {
			_ = c.check(map[string]json.RawMessage{"attest": json.RawMessage(`"A"`)})
		}
	})
}
