package stir

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"riptide/policy"
)

func vector(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../testdata/passport", name))
	must(t, err)
	return strings.TrimSpace(string(b))
}

// leafOf is a certificate with the public key of a vector and nothing else.
func leafOf(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(vector(t, name)))
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	must(t, err)
	return &x509.Certificate{PublicKey: key}
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// compose writes a token with a signature that fits nothing.
func compose(header, claims string) string {
	return b64(header) + "." + b64(claims) + "." + b64(strings.Repeat("s", es256Size))
}

const (
	goodHeader = `{"alg":"ES256","ppt":"shaken","typ":"passport","x5u":"https://cert.example.org/passport.cer"}`
	// The example of RFC 8588 section 6.
	goodClaims = `{"attest":"A","dest":{"tn":["12155550131"]},"iat":1443208345,"orig":{"tn":"12155550121"},"origid":"123e4567-e89b-12d3-a456-426655440000"}`
)

func TestCanonicalClaims(t *testing.T) {
	for _, tc := range []struct {
		claims Claims
		want   string
	}{
		{
			Claims{Attest: "A", Dest: Dest{TN: []string{"12155550131"}}, IssuedAt: 1443208345, Orig: Orig{TN: "12155550121"}, OrigID: testID},
			goodClaims,
		},
		{ // RFC 8225 section 9.1 in spirit: tn before uri, nothing escaped that need not be
			Claims{Dest: Dest{TN: []string{"1", "2"}, URI: []string{"sip:a&b<>@x"}}, IssuedAt: 1, Orig: Orig{URI: "sip:é@x"}},
			`{"dest":{"tn":["1","2"],"uri":["sip:a&b<>@x"]},"iat":1,"orig":{"uri":"sip:é@x"}}`,
		},
	} {
		if got := string(tc.claims.Append([]byte("x"))); got != "x"+tc.want {
			t.Errorf("got  %s\nwant x%s", got, tc.want)
		}
	}
}

func TestRFC8225SigningInput(t *testing.T) {
	input := vector(t, "rfc8225-a.signing-input")
	p, err := ParsePassport(input + "." + b64(strings.Repeat("s", es256Size)))
	must(t, err)
	want := Claims{Dest: Dest{URI: []string{"sip:alice@example.com"}}, IssuedAt: 1471375418, Orig: Orig{TN: "12155551212"}}
	if !reflect.DeepEqual(p.Claims, want) {
		t.Errorf("claims %+v, want %+v", p.Claims, want)
	}
	if p.Claims.From() != "+12155551212" || !p.Claims.To("alice@example.com") {
		t.Errorf("from %q", p.Claims.From())
	}
	_, payload, _ := strings.Cut(input, ".")
	if got := base64.RawURLEncoding.EncodeToString(want.Append(nil)); got != payload {
		t.Errorf("payload %s, want %s", got, payload)
	}
}

func TestSignatureVectors(t *testing.T) {
	for _, tc := range []struct{ token, key string }{
		{vector(t, "draft-iat-string.passport"), "draft-iat-string.pub.pem"},
		{vector(t, "rfc7515-a3.jws"), "rfc7515-a3.pub.pem"},
	} {
		leaf := leafOf(t, tc.key)
		if err := (&Passport{token: tc.token}).verifySignature(leaf); err != nil {
			t.Errorf("%s: %v", tc.key, err)
		}
		cut := strings.LastIndexByte(tc.token, '.') + 5
		altered := tc.token[:cut] + "A" + tc.token[cut+1:]
		if err := (&Passport{token: altered}).verifySignature(leaf); err == nil {
			t.Errorf("%s: altered signature accepted", tc.key)
		}
	}
	if _, err := ParsePassport(vector(t, "draft-iat-string.passport")); err == nil || !strings.Contains(err.Error(), "iat") {
		t.Errorf("iat as a string: %v", err)
	}
	if err := (&Passport{token: "x"}).verifySignature(leafOf(t, "rfc7515-a3.pub.pem")); err == nil {
		t.Error("no token: accepted")
	}
	if err := (&Passport{}).verifySignature(&x509.Certificate{}); err == nil {
		t.Error("no key: accepted")
	}
}

func TestParsePassport(t *testing.T) {
	p, err := ParsePassport(compose(goodHeader, goodClaims))
	must(t, err)
	want := &Passport{
		Header: Header{Alg: "ES256", PPT: "shaken", Typ: "passport", X5U: "https://cert.example.org/passport.cer"},
		Claims: Claims{Attest: "A", Dest: Dest{TN: []string{"12155550131"}}, IssuedAt: 1443208345, Orig: Orig{TN: "12155550121"}, OrigID: testID},
	}
	if p.Header != want.Header || !reflect.DeepEqual(p.Claims, want.Claims) {
		t.Errorf("got %+v %+v", p.Header, p.Claims)
	}
	// Claims that we do not know are carried, and do not disturb.
	if _, err := ParsePassport(compose(goodHeader, strings.Replace(goodClaims, "{", `{"rcd":{"nam":"x"},`, 1))); err != nil {
		t.Errorf("rcd: %v", err)
	}
}

func TestParsePassportRefusals(t *testing.T) {
	good := compose(goodHeader, goodClaims)
	parts := strings.Split(good, ".")
	header := func(old, new string) string { return compose(strings.Replace(goodHeader, old, new, 1), goodClaims) }
	claims := func(old, new string) string { return compose(goodHeader, strings.Replace(goodClaims, old, new, 1)) }
	for name, tc := range map[string]struct{ token, bad string }{
		"empty":                 {"", "three parts"},
		"two parts":             {"a.b", "three parts"},
		"four parts":            {good + ".x", "three parts"},
		"compact":               {".." + parts[2], "compact form"},
		"payload missing":       {parts[0] + ".." + parts[2], "part 2"},
		"signature missing":     {parts[0] + "." + parts[1] + ".", "part 3"},
		"padding":               {good + "==", "part 3"},
		"newline":               {parts[0] + "\n." + parts[1] + "." + parts[2], "part 1"},
		"loose last bits":       {good[:len(good)-1] + "x", "part 3"},
		"standard alphabet":     {parts[0] + "." + parts[1] + ".+/" + parts[2][2:], "part 3"},
		"signature too short":   {parts[0] + "." + parts[1] + "." + b64("short"), "signature of 5 bytes"},
		"header is text":        {compose("hello", goodClaims), "header is not"},
		"header is null":        {compose("null", goodClaims), "header is not"},
		"header is a list":      {compose("[]", goodClaims), "header is not"},
		"header twice a member": {header(`"alg":"ES256"`, `"alg":"ES256","alg":"ES256"`), "distinct"},
		"alg none":              {header("ES256", "none"), `alg is "none"`},
		"alg HS256":             {header("ES256", "HS256"), `alg is "HS256"`},
		"alg ES384":             {header("ES256", "ES384"), `alg is "ES384"`},
		"alg missing":           {header(`"alg"`, `"Alg"`), `alg is ""`},
		"alg a number":          {header(`"ES256"`, "256"), "not strings"},
		"typ JWT":               {header(`"passport"`, `"JWT"`), "typ"},
		"ppt unknown":           {header("shaken", "msgi"), `ppt "msgi" is not supported`},
		"ppt div without div":   {header("shaken", "div"), "div is not an object"},
		"ppt empty":             {header("shaken", ""), "ppt"},
		"ppt null":              {header(`"shaken"`, "null"), "ppt"},
		"crit":                  {header("{", `{"crit":["x"],`), "crit"},
		"b64":                   {header("{", `{"b64":false,`), "crit"},
		"x5u missing":           {header(`"x5u"`, `"x5c"`), "x5u"},
		"x5u too long":          {header("passport.cer", strings.Repeat("a", maxURL)), "x5u"},
		"payload is text":       {compose(goodHeader, "hello"), "payload is not"},
		"payload is null":       {compose(goodHeader, "null"), "payload is not"},
		"claim twice":           {claims(`"iat"`, `"iat":1,"iat"`), "distinct"},
		"iat missing":           {claims(`"iat"`, `"Iat"`), "iat"},
		"iat a string":          {claims("1443208345", `"1443208345"`), "iat"},
		"iat a fraction":        {claims("1443208345", "1443208345.5"), "iat"},
		"iat an exponent":       {claims("1443208345", "1e9"), "iat"},
		"iat negative":          {claims("1443208345", "-1"), "iat"},
		"iat too far":           {claims("1443208345", "1099511627776"), "iat"},
		"orig missing":          {claims(`"orig"`, `"from"`), "orig is missing"},
		"orig a string":         {claims(`{"tn":"12155550121"}`, `"12155550121"`), "orig is missing"},
		"orig a list":           {claims(`"12155550121"`, `["12155550121"]`), "orig is missing"},
		"orig empty":            {claims(`{"tn":"12155550121"}`, `{}`), "orig is not one"},
		"orig both":             {claims(`{"tn":"12155550121"}`, `{"tn":"1","uri":"sip:a@b"}`), "orig is not one"},
		"orig twice":            {claims(`{"tn":"12155550121"}`, `{"tn":"1","tn":"2"}`), "orig is missing"},
		"orig with a plus":      {claims("12155550121", "+12155550121"), "not canonical"},
		"orig too long":         {claims("12155550121", "1234567890123456"), "not canonical"},
		"orig uri too long":     {claims(`{"tn":"12155550121"}`, `{"uri":"`+strings.Repeat("u", maxClaim+1)+`"}`), "longer than"},
		"dest missing":          {claims(`"dest"`, `"to"`), "dest is missing"},
		"dest empty":            {claims(`["12155550131"]`, `[]`), "dest holds 0"},
		"dest a string":         {claims(`["12155550131"]`, `"12155550131"`), "dest is missing"},
		"dest 33":               {claims(`"12155550131"`, strings.Repeat(`"1",`, maxDest)+`"1"`), "dest holds 33"},
		"dest a word":           {claims("12155550131", "alice"), "not canonical"},
		"dest nothing":          {claims(`"12155550131"`, `""`), "not canonical"},
		"attest missing":        {claims(`"attest"`, `"level"`), "attest"},
		"attest D":              {claims(`"A"`, `"D"`), "attest"},
		"origid missing":        {claims(`"origid"`, `"id"`), "origid"},
		"origid empty":          {claims(testID, ""), "origid"},
		"origid too long":       {claims(testID, strings.Repeat("i", maxClaim+1)), "origid"},
	} {
		p, err := ParsePassport(tc.token)
		if !errors.Is(err, ErrPassport) || !strings.Contains(err.Error(), tc.bad) || p != nil {
			t.Errorf("%s: %v, want %q", name, err, tc.bad)
		}
	}
	if _, err := ParsePassport(".." + parts[2]); !errors.Is(err, ErrCompact) {
		t.Errorf("compact: %v", err)
	}
}

func TestParsePassportLimits(t *testing.T) {
	atLimit := func(pad int) string {
		return compose(goodHeader, strings.Replace(goodClaims, "{", `{"pad":"`+strings.Repeat("p", pad)+`",`, 1))
	}
	pad := 0
	for len(atLimit(pad+1)) <= maxPassport {
		pad++
	}
	if _, err := ParsePassport(atLimit(pad)); err != nil {
		t.Errorf("%d bytes: %v", len(atLimit(pad)), err)
	}
	if _, err := ParsePassport(atLimit(pad + 1)); err == nil || !strings.Contains(err.Error(), "longer than 8192") {
		t.Errorf("%d bytes: %v", len(atLimit(pad+1)), err)
	}
	for name, claims := range map[string]string{
		"32 dests":   strings.Replace(goodClaims, `"12155550131"`, strings.Repeat(`"1",`, maxDest-1)+`"1"`, 1),
		"origid 255": strings.Replace(goodClaims, testID, strings.Repeat("i", maxClaim), 1),
		"iat":        strings.Replace(goodClaims, "1443208345", "1099511627775", 1),
		"uri 255":    strings.Replace(goodClaims, `{"tn":"12155550121"}`, `{"uri":"`+strings.Repeat("u", maxClaim)+`"}`, 1),
	} {
		if _, err := ParsePassport(compose(goodHeader, claims)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParties(t *testing.T) {
	for _, tc := range []struct {
		tn, uri string
		want    policy.Number
	}{
		{"12025550100", "", "+12025550100"},
		{"911", "", "+911"},
		{"*69", "", ""},
		{"", "sip:100@PBX.example", "100@pbx.example"},
		{"", "SIPS:100@pbx.example;user=phone?x=y", "100@pbx.example"},
		{"", "sip:+12025550100@evil.example", ""}, // the domain of a URI is no proof for a number
		{"", "sip:pbx.example", ""},
		{"", "tel:+12025550100", ""},
		{"", "mailto:100@pbx.example", ""},
		{"", "100@pbx.example", ""},
		{"", "sip:a b@pbx.example", ""},
	} {
		if got := numberOf(tc.tn, tc.uri); got != tc.want {
			t.Errorf("numberOf(%q, %q) = %q, want %q", tc.tn, tc.uri, got, tc.want)
		}
	}
	c := Claims{Dest: Dest{TN: []string{"*69", "12025550100"}, URI: []string{"sip:x", "sip:100@pbx.example"}}}
	for n, want := range map[policy.Number]bool{"+12025550100": true, "100@pbx.example": true, "": false, "+12025550101": false, "x@pbx.example": false} {
		if c.To(n) != want {
			t.Errorf("To(%q) = %v", n, !want)
		}
	}
	if got := c.Dest.String(); got != "*69, 12025550100, sip:x, sip:100@pbx.example" {
		t.Error(got)
	}
}

// Of an ECDSA signature (r, s) anyone can make (r, n-s), which verifies too:
// the two must not count as two PASSporTs.
func TestReplayKeyOfTwinSignature(t *testing.T) {
	h := office(t)
	token := h.passport(t, testCall, epoch)
	cut := strings.LastIndexByte(token, '.') + 1
	sig, err := decodeStrict(token[cut:])
	must(t, err)
	s := new(big.Int).SetBytes(sig[32:])
	p256, _ := p256(h.key.Public())
	s.Sub(p256.Params().N, s).FillBytes(sig[32:])
	twin := token[:cut] + base64.RawURLEncoding.EncodeToString(sig)

	v := h.verifier()
	if got := v.Verify(t.Context(), twin, testCall, epoch); got.Status != Valid {
		t.Fatalf("the twin: %+v", got)
	}
	if got := v.Verify(t.Context(), token, testCall, epoch); got.Status != Replayed {
		t.Errorf("the original after it: %+v", got)
	}
	// The same claims signed again are another PASSporT.
	if got := v.Verify(t.Context(), h.passport(t, testCall, epoch), testCall, epoch); got.Status != Valid {
		t.Errorf("signed anew: %+v", got)
	}
	if a, b := (&Passport{token: "a.b.c"}).replayKey(), (&Passport{token: "a.b.d"}).replayKey(); a == b {
		t.Error("keys of broken tokens are equal")
	}
	zero := make([]byte, es256Size)
	if got := canonicalSignature(bytes.Clone(zero)); !bytes.Equal(got, zero) {
		t.Errorf("s = 0: %x", got)
	}
}

func TestReplayCache(t *testing.T) {
	var r replayCache
	r.limit = 3
	key := func(s string) [32]byte { return sha256.Sum256([]byte(s)) }
	for i, tc := range []struct {
		key        string
		now, until int64
		want       replayOutcome
	}{
		{"a", 100, 110, firstSeen},
		{"a", 100, 110, seenBefore},
		{"b", 101, 105, firstSeen},
		{"c", 102, 130, firstSeen},
		{"d", 102, 130, cacheFull},
		{"b", 105, 130, seenBefore}, // still in its last second
		{"d", 106, 130, firstSeen},  // b is forgotten
		{"a", 90, 110, seenBefore},  // a clock that goes back forgets nothing
		{"e", 111, 140, firstSeen},
		{"c", 130, 140, seenBefore},
	} {
		if got := r.accept(key(tc.key), tc.now, tc.until); got != tc.want {
			t.Errorf("step %d: %q at %d: %d, want %d", i, tc.key, tc.now, got, tc.want)
		}
	}
	r.purge(1000)
	if len(r.seen) != 0 || len(r.expiry) != 0 {
		t.Errorf("left: %d keys, %d seconds", len(r.seen), len(r.expiry))
	}
}

func FuzzParsePassport(f *testing.F) {
	f.Add(compose(goodHeader, goodClaims))
	f.Add(vector(f, "draft-iat-string.passport"))
	f.Add(vector(f, "rfc8225-a.signing-input") + ".AAAA")
	f.Add(".." + b64(strings.Repeat("s", es256Size)))
	leaf := leafOf(f, "rfc7515-a3.pub.pem")
	f.Fuzz(func(t *testing.T, token string) {
		p, err := ParsePassport(token)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Fatalf("the error has two lines: %q", err)
			}
			return
		}
		if p.verifySignature(leaf) == nil {
			t.Fatal("verifies with a key that never signed it")
		}
		_, _ = p.Claims.From(), p.replayKey()
		if _, err := parseAgain(p); err != nil {
			t.Fatalf("our own bytes of its claims are refused: %v", err)
		}
	})
}

// parseAgain reads what we would have written for the same claims.
func parseAgain(p *Passport) (*Passport, error) {
	header, _, _ := strings.Cut(p.token, ".")
	sig := p.token[strings.LastIndexByte(p.token, '.')+1:]
	return ParsePassport(header + "." + base64.RawURLEncoding.EncodeToString(p.Claims.Append(nil)) + "." + sig)
}
