package stir

import (
	"context"
	"crypto/x509"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"riptide/policy"
)

const bobX = "https://diverter.example:8443/certs/2.pem"

// diverted is a call from the office to a number that sends it on, twice.
type diverted struct {
	office, diverter *node
	verifier         func() *Verifier
}

func newDiverted(t *testing.T) diverted {
	root := (*node)(nil).child(t, "root", asCA)
	d := diverted{
		office:   root.child(t, "office", tns(t, false, TNEntry{Start: "12025550100", Count: 100})),
		diverter: root.child(t, "diverter", tns(t, false, TNEntry{Start: "13035550100", Count: 10})),
	}
	roots := x509.NewCertPool()
	roots.AddCert(root.cert)
	d.verifier = func() *Verifier {
		return &Verifier{Trust: Trust{Roots: roots}, Chain: func(_ context.Context, x5u string) ([]*x509.Certificate, error) {
			if x5u == bobX {
				return []*x509.Certificate{d.diverter.cert, root.cert}, nil
			}
			return []*x509.Certificate{d.office.cert, root.cert}, nil
		}}
	}
	return d
}

// token makes a PASSporT; more are members that sort before and behind dest.
func (d diverted) token(t *testing.T, n *node, ppt, to, before, behind string) string {
	x5u := testX
	if n == d.diverter {
		x5u = bobX
	}
	header := fmt.Sprintf(`{"alg":"ES256","ppt":%q,"typ":"passport","x5u":%q}`, ppt, x5u)
	return tokenOf(t, n, header, fmt.Sprintf(`{%s"dest":{"tn":[%q]},%s"iat":%d,"orig":{"tn":"12025550100"}%s}`,
		before, to, div(ppt, behind), epoch.Unix(), rest(ppt, behind)))
}

func div(ppt, member string) string {
	if ppt == "div" {
		return member + ","
	}
	return ""
}

func rest(ppt, member string) string {
	if ppt == "div" || member == "" {
		return ""
	}
	return "," + member
}

func (d diverted) shaken(t *testing.T, to, more string) string {
	return d.token(t, d.office, "shaken", to, `"attest":"A",`, strings.Trim(`"origid":"`+testID+`",`+more, ","))
}

func (d diverted) div(t *testing.T, n *node, from, to string) string {
	return d.token(t, n, "div", to, "", `"div":{"tn":"`+from+`"}`)
}

func TestVerifyAll(t *testing.T) {
	d := newDiverted(t)
	call := Call{From: "+12025550100", To: "+13035550109"} // at the end of all diversions
	direct := d.shaken(t, "13035550109", "")
	first := d.shaken(t, "13035550101", "")
	toSecond := d.div(t, d.diverter, "13035550101", "13035550102")
	toLast := d.div(t, d.diverter, "13035550102", "13035550109")
	forged := d.div(t, d.office, "13035550102", "13035550109")
	rph := d.token(t, d.diverter, "rph", "13035550109", "", `"rph":{"auth":["ets.0"]}`)
	rcd := d.token(t, d.office, "rcd", "13035550109", "", `"rcd":{"nam":"The Office"}`)
	rcdOfOthers := d.token(t, d.diverter, "rcd", "13035550109", "", `"rcd":{"nam":"Mallory"}`)
	named := d.shaken(t, "13035550109", `"rcd":{"nam":"Desk 7"}`)

	for name, tc := range map[string]struct {
		tokens []string
		want   Status
		others []string
		drop   int
		caller string
		prio   []string
	}{
		"none":                    {want: Missing},
		"one":                     {tokens: []string{direct}, want: Valid},
		"one that is none":        {tokens: []string{"x"}, want: Invalid},
		"rubbish beside one":      {tokens: []string{"x", direct}, want: Valid},
		"diverted twice":          {tokens: []string{toSecond, first, toLast}, want: Valid, others: []string{toLast, toSecond}},
		"a step is missing":       {tokens: []string{first, toLast}, want: Mismatch},
		"a step is forged":        {tokens: []string{first, toSecond, forged}, want: Mismatch, drop: 2},
		"diversions alone":        {tokens: []string{toSecond, toLast}, want: Missing},
		"priority":                {tokens: []string{direct, rph}, want: Valid, others: []string{rph}, prio: []string{"ets.0"}},
		"priority of nobody":      {tokens: []string{rph}, want: Missing},
		"name":                    {tokens: []string{direct, rcd}, want: Valid, others: []string{rcd}, caller: "The Office"},
		"name by somebody else":   {tokens: []string{direct, rcdOfOthers}, want: Valid, drop: 1},
		"name in the PASSporT":    {tokens: []string{named}, want: Valid, caller: "Desk 7"},
		"two that prove":          {tokens: []string{direct, named}, want: Valid, drop: 1},
		"more than are looked at": {tokens: append(strings.Split(strings.Repeat("x ", MaxPassports), " ")[:MaxPassports], direct), want: Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			got := d.verifier().VerifyAll(t.Context(), tc.tokens, call, epoch)
			if got.Verdict.Status != tc.want {
				t.Fatalf("%+v, want %s", got.Verdict, tc.want)
			}
			if !reflect.DeepEqual(got.Others, tc.others) || got.Dropped != tc.drop || got.Name != tc.caller || !reflect.DeepEqual(got.Priority, tc.prio) {
				t.Errorf("others %d of %d, dropped %d of %d, name %q, priority %v", len(got.Others), len(tc.others), got.Dropped, tc.drop, got.Name, got.Priority)
			}
		})
	}
	v := d.verifier()
	for i, want := range []Status{Valid, Replayed} {
		if got := v.VerifyAll(t.Context(), []string{first, toSecond, toLast}, call, epoch); got.Verdict.Status != want && i == 0 {
			t.Errorf("time %d: %+v", i+1, got.Verdict)
		} else if i == 1 && got.Verdict.Status == Valid {
			t.Error("the same PASSporTs proved a second call")
		}
	}
	if got := d.verifier().Verify(t.Context(), rcd, call, epoch); got.Status != Invalid {
		t.Errorf("an extension proved the caller: %+v", got)
	}
}

func TestExtensionClaims(t *testing.T) {
	d := newDiverted(t)
	for name, token := range map[string]string{
		"div a string":     d.token(t, d.diverter, "div", "13035550109", "", `"div":"13035550101"`),
		"div with a plus":  d.token(t, d.diverter, "div", "13035550109", "", `"div":{"tn":"+13035550101"}`),
		"div a uri":        d.token(t, d.diverter, "div", "13035550109", "", `"div":{"uri":"sip:a@b"}`),
		"rph empty":        d.token(t, d.diverter, "rph", "13035550109", "", `"rph":{"auth":[]}`),
		"rph too many":     d.token(t, d.diverter, "rph", "13035550109", "", `"rph":{"auth":[`+strings.Repeat(`"ets.0",`, maxPriorities)+`"ets.0"]}`),
		"rph missing":      d.token(t, d.diverter, "rph", "13035550109", "", ""),
		"rcd without name": d.token(t, d.office, "rcd", "13035550109", "", `"rcd":{}`),
		"rcd too long":     d.token(t, d.office, "rcd", "13035550109", "", `"rcd":{"nam":"`+strings.Repeat("x", maxCallerName+1)+`"}`),
	} {
		if _, err := ParsePassport(token); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	for name, token := range map[string]string{
		"rph at the limit": d.token(t, d.diverter, "rph", "13035550109", "", `"rph":{"auth":[`+strings.Repeat(`"ets.0",`, maxPriorities-1)+`"ets.0"]}`),
		"rcd at the limit": d.token(t, d.office, "rcd", "13035550109", "", `"rcd":{"nam":"`+strings.Repeat("x", maxCallerName)+`"}`),
	} {
		if _, err := ParsePassport(token); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVerifyIdentities(t *testing.T) {
	h := office(t)
	value, err := FormatIdentity(h.passport(t, testCall, epoch))
	must(t, err)
	v := h.verifier()
	for _, tc := range []struct {
		headers []string
		want    Status
	}{
		{nil, Missing},
		{[]string{"x"}, Invalid},
		{[]string{strings.Replace(value, ";info", "A;info", 1)}, Invalid},
		{[]string{strings.Replace(value, "<https://office.example", "<https://elsewhere.example", 1)}, Invalid},
		{[]string{".." + strings.Repeat("A", 86) + ";info=<" + testX + ">"}, Invalid},
		{[]string{"x", value}, Valid},
		{[]string{value}, Replayed},
	} {
		if got := v.VerifyIdentities(t.Context(), tc.headers, testCall, epoch); got.Verdict.Status != tc.want {
			t.Errorf("%.20q: %+v, want %s", tc.headers, got, tc.want)
		}
	}
	if got := v.VerifyIdentities(t.Context(), []string{value}, Call{From: policy.Number("+12025550101"), To: testCall.To}, epoch); got.Verdict.Status != Mismatch {
		t.Errorf("another caller: %+v", got.Verdict)
	}
}
