package stir

import (
	"context"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestIdentity(t *testing.T) {
	token := office(t).passport(t, testCall, epoch)
	value, err := FormatIdentity(token)
	if want := token + `;info=<` + testX + `>;alg=ES256;ppt="shaken"`; err != nil || value != want {
		t.Fatalf("%s, %v; want %s", value, err, want)
	}
	full := Identity{Passport: token, Info: testX, Alg: "ES256", PPT: "shaken"}
	for name, tc := range map[string]struct {
		in   string
		want Identity
	}{
		"our own":         {value, full},
		"ppt unquoted":    {token + `;info=<` + testX + `>;alg=ES256;ppt=shaken`, full},
		"order and space": {" " + token + " ;\tPPT = \"shaken\" ; ALG=ES256; info = <" + testX + "> ", full},
		"info unwrapped":  {token + `;info=` + testX + `;alg=ES256;ppt=shaken`, full},
		"info quoted":     {token + `;info="` + testX + `";alg=ES256;ppt=shaken`, full},
		"extensions":      {token + `;info=<` + testX + `>;alg=ES256;x;y="a;b";ppt=shaken;z=<;>`, full},
		"only info":       {token + `;info=<` + testX + `>`, Identity{Passport: token, Info: testX}},
		"compact":         {"..c2ln;info=<" + testX + ">", Identity{Passport: "..c2ln", Info: testX}},
	} {
		got, err := ParseIdentity(tc.in)
		if err != nil || got != tc.want || got.Compact() != (name == "compact") {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	base := compose(strings.Replace(goodHeader, `"ppt":"shaken",`, "", 1), goodClaims)
	if value, err := FormatIdentity(base); err != nil || strings.Contains(value, "ppt") {
		t.Errorf("base form: %s, %v", value, err)
	}
}

func TestIdentityRefusals(t *testing.T) {
	token := office(t).passport(t, testCall, epoch)
	info := ";info=<" + testX + ">"
	for name, tc := range map[string]struct{ in, bad string }{
		"empty":           {"", "no info"},
		"no info":         {token, "no info"},
		"info empty":      {token + ";info=<>", "without a value"},
		"info no value":   {token + ";info", "without a value"},
		"info elsewhere":  {token + ";info=<https://elsewhere.example/>", "not the same URL"},
		"info twice":      {token + info + info, "info twice"},
		"info open":       {token + ";info=<" + testX, "does not end"},
		"alg":             {token + info + ";alg=HS256", "HS256"},
		"ppt":             {token + info + ";ppt=div", `"div"`},
		"ppt open":        {token + info + `;ppt="shaken`, "does not end"},
		"no name":         {token + info + ";=x", "without a name"},
		"semicolons":      {token + info + ";;", "without a name"},
		"words":           {token + " and more" + info, "other than a parameter"},
		"after a value":   {token + info + "x", "other than a parameter"},
		"token broken":    {"x" + info, "three parts"},
		"no token":        {info, "three parts"},
		"two of them":     {token + info + ", " + token + info, "other than a parameter"},
		"17 parameters":   {token + info + strings.Repeat(";x", maxParams), "more than 16"},
		"10 KiB and one":  {token + info + strings.Repeat(" ", maxIdentity-len(token+info)+1), "longer than"},
		"folded the line": {strings.Replace(token, ".", ".\r\n ", 1) + info, "other than"},
	} {
		id, err := ParseIdentity(tc.in)
		if !errors.Is(err, ErrIdentity) || !strings.Contains(err.Error(), tc.bad) || id != (Identity{}) {
			t.Errorf("%s: %+v, %v; want %q", name, id, err, tc.bad)
		}
	}
	for name, in := range map[string]string{
		"16 parameters": token + info + strings.Repeat(";x", maxParams-1),
		"10 KiB":        token + info + strings.Repeat(" ", maxIdentity-len(token+info)),
	} {
		if _, err := ParseIdentity(in); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, in := range map[string]string{
		"rubbish": "x", "compact": "..c2ln",
		"x5u that ends the parameter": compose(strings.Replace(goodHeader, "passport.cer", "a>;x=", 1), goodClaims),
	} {
		if got, err := FormatIdentity(in); !errors.Is(err, ErrIdentity) || got != "" {
			t.Errorf("format %s: %q, %v", name, got, err)
		}
	}
}

// What secsipidx wrote with a key of its own.
func TestForeignIdentity(t *testing.T) {
	id, err := ParseIdentity(vector(t, "secsipidx.identity"))
	must(t, err)
	p, err := ParsePassport(id.Passport)
	must(t, err)
	if err := p.verifySignature(leafOf(t, "secsipidx.pub.pem")); err != nil {
		t.Error(err)
	}
	header, _, _ := strings.Cut(id.Passport, ".")
	if ours, _, _ := strings.Cut(office(t).passport(t, testCall, epoch), "."); header != ours {
		t.Errorf("its header is %s, ours %s", header, ours)
	}
	now := time.Unix(p.Claims.IssuedAt, 0)
	v := &Verifier{Trust: Trust{Roots: x509.NewCertPool()}, Chain: func(context.Context, string) ([]*x509.Certificate, error) {
		return office(t).chain, nil
	}}
	if got := v.Verify(t.Context(), id.Passport, testCall, now); got.Status != CredentialUnsupported {
		t.Errorf("with a chain that nobody trusts: %+v", got)
	}
}

func FuzzIdentity(f *testing.F) {
	f.Add(vector(f, "secsipidx.identity"))
	f.Add(`..c2ln ; info = <https://a.example/> ; alg=ES256;ppt="shaken";x=<;>`)
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseIdentity(s)
		if err != nil || id.Compact() {
			return
		}
		value, err := FormatIdentity(id.Passport)
		if err != nil {
			return // its x5u is no URL
		}
		again, err := ParseIdentity(value)
		if err != nil || again.Passport != id.Passport || again.Info != id.Info {
			t.Fatalf("%q is written as %q: %v", s, value, err)
		}
	})
}
