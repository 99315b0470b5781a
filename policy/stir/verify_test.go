package stir

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/cryptosigner"

	"riptide/policy"
)

// tokenOf signs whatever bytes it is given, like a signer that is not ours.
func tokenOf(t testing.TB, n *node, header, claims string) string {
	t.Helper()
	input := b64(header) + "." + b64(claims)
	sig, err := cryptosigner.Opaque(n.key).SignPayload([]byte(input), jose.ES256)
	must(t, err)
	return input + "." + b64(string(sig))
}

func TestVerdicts(t *testing.T) {
	root := (*node)(nil).child(t, "root", asCA)
	list := tns(t, false, TNEntry{Start: "12025550100", Count: 100})
	leaf := root.child(t, "office", list)
	spc := root.child(t, "SHAKEN 709J", tns(t, false, TNEntry{SPC: "709J"}))
	strict := root.child(t, "strict", with(list, ext(oidClaimConstraints, true, ClaimConstraints{MustInclude: []string{"rcd"}}.append(t))))
	other := (*node)(nil).child(t, "other", asCA).child(t, "other", list)

	header := fmt.Sprintf(`{"alg":"ES256","ppt":"shaken","typ":"passport","x5u":%q}`, testX)
	claims := func(edit ...string) string {
		c := fmt.Sprintf(`{"attest":"B","dest":{"tn":["12025550199"]},"iat":%d,"orig":{"tn":"12025550100"},"origid":%q}`, epoch.Unix(), testID)
		return strings.NewReplacer(edit...).Replace(c)
	}
	good := tokenOf(t, leaf, header, claims())
	flip := func(token string) string { // another signature of the same form
		cut := strings.LastIndexByte(token, '.') + 5
		return token[:cut] + string('A'+(token[cut]-'A'+1)%26) + token[cut+1:]
	}
	swapClaims := func(token, c string) string {
		p := strings.Split(token, ".")
		return p[0] + "." + b64(c) + "." + p[2]
	}

	for _, tc := range []struct {
		name   string
		token  string
		call   Call          // zero = testCall
		age    time.Duration // when it is verified, after epoch
		leaf   *node         // what x5u yields; nil = leaf
		fetch  error
		spcs   []string
		want   Status
		reason string
	}{
		{name: "good", token: good, want: Valid},
		{name: "60 s old", token: good, age: 60 * time.Second, want: Valid},
		{name: "60 s early", token: good, age: -60 * time.Second, want: Valid},
		{name: "base form", token: tokenOf(t, leaf, strings.Replace(header, `"ppt":"shaken",`, "", 1), claims()), want: Valid},
		{name: "one dest of two", token: tokenOf(t, leaf, header, claims(`["12025550199"]`, `["911","12025550199"]`)), want: Valid},
		{name: "trusted provider", token: tokenOf(t, spc, header, claims()), leaf: spc, spcs: []string{"709J"}, want: Valid},
		{name: "members in another order", token: tokenOf(t, leaf, `{"x5u":"`+testX+`", "typ":"passport","ppt":"shaken","alg":"ES256"}`, " "+claims()), want: Valid},

		{name: "none", want: Missing, reason: "no PASSporT"},
		{name: "rubbish", token: "x", want: Invalid, reason: "three parts"},
		{name: "ppt", token: tokenOf(t, leaf, strings.Replace(header, "shaken", "div", 1), claims()), want: Invalid, reason: "div"},
		{name: "compact", token: ".." + strings.Split(good, ".")[2], want: Invalid, reason: "compact"},
		{name: "signature altered", token: flip(good), want: Invalid, reason: "does not fit"},
		{name: "claims altered", token: swapClaims(good, claims(`"B"`, `"A"`)), want: Invalid, reason: "does not fit"},
		{name: "signed with another key", token: tokenOf(t, spc, header, claims()), want: Invalid, reason: "does not fit"},
		{name: "claims forbidden by the certificate", token: tokenOf(t, strict, header, claims()), leaf: strict, want: Invalid, reason: "rcd"},

		{name: "x5u plain http", token: tokenOf(t, leaf, strings.Replace(header, "https", "http", 1), claims()), want: InfoUnavailable, reason: "only https"},
		{name: "fetch fails", token: good, fetch: errors.New("connection refused"), want: InfoUnavailable, reason: "connection refused"},
		{name: "nothing there", token: good, leaf: &node{}, want: InfoUnavailable, reason: "no certificate"},
		{name: "no chain there", token: good, fetch: fmt.Errorf("%w: no PEM", ErrChain), want: CredentialUnsupported, reason: "no PEM"},
		{name: "unknown CA", token: tokenOf(t, other, header, claims()), leaf: other, want: CredentialUnsupported, reason: "unknown authority"},
		{name: "expired certificate", token: good, age: 25 * time.Hour, want: CredentialUnsupported, reason: "expired"},

		{name: "number outside", token: tokenOf(t, leaf, header, claims("12025550100", "12025550200")), want: NotCovered, reason: "the caller is +12025550200"},
		{name: "caller is an address", token: tokenOf(t, leaf, header, claims(`"orig":{"tn":"12025550100"}`, `"orig":{"uri":"sip:100@pbx.example"}`)), want: NotCovered, reason: "otherwise"},
		{name: "caller is a service code", token: tokenOf(t, leaf, header, claims("12025550100", "*69")), want: NotCovered, reason: "otherwise"},
		{name: "provider nobody trusts", token: tokenOf(t, spc, header, claims()), leaf: spc, want: NotCovered, reason: "spc 709J"},
		{name: "61 s old", token: good, age: 61 * time.Second, want: Stale, reason: "1m1s ago"},
		{name: "61 s early", token: good, age: -61 * time.Second, want: Stale, reason: "1m1s from now"},
		{name: "iat in 36812", token: tokenOf(t, leaf, header, claims(fmt.Sprint(epoch.Unix()), "1099511627775")), want: Stale, reason: "from now"},
		{name: "iat 0", token: tokenOf(t, leaf, header, claims(fmt.Sprint(epoch.Unix()), "0")), want: Stale, reason: "ago"},
		{name: "other caller", token: good, call: Call{From: "+12025550101", To: testCall.To}, want: Mismatch, reason: "from +12025550100"},
		{name: "caller unknown", token: good, call: Call{To: testCall.To}, want: Mismatch, reason: `from ""`},
		{name: "other callee", token: good, call: Call{From: testCall.From, To: "+12025550198"}, want: Mismatch, reason: "to 12025550199"},
		{name: "callee unknown", token: good, call: Call{From: testCall.From}, want: Mismatch, reason: `to ""`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if tc.call == (Call{}) {
				tc.call = testCall
			}
			if tc.leaf == nil {
				tc.leaf = leaf
			}
			trust := trusting(t, root)
			trust.Providers = tc.spcs
			v := &Verifier{Trust: trust, Chain: func(context.Context, string) ([]*x509.Certificate, error) {
				if tc.fetch != nil || tc.leaf.cert == nil {
					return nil, tc.fetch
				}
				return chainOf(tc.leaf), nil
			}}
			got := v.Verify(t.Context(), tc.token, tc.call, epoch.Add(tc.age))
			if got.Status != tc.want || !strings.Contains(got.Reason, tc.reason) || (got.Reason == "") != (tc.want == Valid) {
				t.Errorf("got %+v, want %s %q", got, tc.want, tc.reason)
			}
			if got.Status != Valid && got.Attestation != "" {
				t.Error("an attestation that nobody vouches for")
			}
			// What is not accepted leaves no trace that would refuse the next.
			again := v.Verify(t.Context(), tc.token, tc.call, epoch.Add(tc.age))
			if tc.want == Valid && again.Status != Replayed || tc.want != Valid && again != got {
				t.Errorf("second time: %+v", again)
			}
		})
	}
}

func TestVerifyBaseFormHasNoAttestation(t *testing.T) {
	root := (*node)(nil).child(t, "root", asCA)
	leaf := root.child(t, "office", tns(t, false, TNEntry{Start: "12025550100", Count: 1}))
	v := &Verifier{Trust: trusting(t, root), Chain: func(context.Context, string) ([]*x509.Certificate, error) { return chainOf(leaf), nil }}
	token := tokenOf(t, leaf, fmt.Sprintf(`{"alg":"ES256","typ":"passport","x5u":%q}`, testX),
		fmt.Sprintf(`{"attest":"A","dest":{"tn":["12025550199"]},"iat":%d,"orig":{"tn":"12025550100"}}`, epoch.Unix()))
	if got := v.Verify(t.Context(), token, testCall, epoch); got != (Verdict{Status: Valid, Signer: "office"}) {
		t.Errorf("%+v", got)
	}
}

func TestVerifyReplayWindow(t *testing.T) {
	h := office(t)
	v := h.verifier()
	v.MaxAge = 10 * time.Second
	token := h.passport(t, testCall, epoch)
	if got := v.Verify(t.Context(), token, testCall, epoch.Add(-10*time.Second)); got.Status != Valid {
		t.Fatalf("at first: %+v", got)
	}
	for _, at := range []time.Duration{0, 10 * time.Second} {
		if got := v.Verify(t.Context(), token, testCall, epoch.Add(at)); got.Status != Replayed {
			t.Errorf("at %s: %+v", at, got)
		}
	}
	if got := v.Verify(t.Context(), token, testCall, epoch.Add(11*time.Second)); got.Status != Stale {
		t.Errorf("after the window: %+v", got)
	}
	v.replays.limit = 1
	if got := v.Verify(t.Context(), h.passport(t, testCall, epoch), testCall, epoch); got.Status != Replayed || !strings.Contains(got.Reason, "too many") {
		t.Errorf("full: %+v", got)
	}
}

// One PASSporT sent on many calls at once is accepted for one of them.
func TestVerifyConcurrently(t *testing.T) {
	h := office(t)
	v := h.verifier()
	s := h.signer(t)
	shared := h.passport(t, testCall, epoch)
	var wg sync.WaitGroup
	var mu sync.Mutex
	counts := map[Status]int{}
	for range 32 {
		wg.Go(func() {
			own, err := s.Sign(testCall, "A", testID, epoch)
			a := v.Verify(t.Context(), shared, testCall, epoch)
			b := v.Verify(t.Context(), own, testCall, epoch)
			mu.Lock()
			defer mu.Unlock()
			if err != nil || b.Status != Valid {
				t.Errorf("own: %v, %+v", err, b)
			}
			counts[a.Status]++
		})
	}
	wg.Wait()
	if counts[Valid] != 1 || counts[Replayed] != 31 {
		t.Errorf("shared: %v", counts)
	}
}

func TestCredentialCache(t *testing.T) {
	h := office(t)
	v := h.verifier()
	cred, _, err := v.credential(t.Context(), testX, epoch)
	must(t, err)
	same, _, err := v.credential(t.Context(), testX, epoch.Add(credentialTTL))
	must(t, err)
	later, _, err := v.credential(t.Context(), testX, epoch.Add(credentialTTL+1))
	must(t, err)
	if cred != same || cred == later {
		t.Errorf("kept for its time: %v, and no longer: %v", cred == same, cred != later)
	}
	if v.credentials.get(h.chain[0], h.chain[0].NotBefore.Add(-1)) != nil {
		t.Error("served before it is valid")
	}
	// Near its end a certificate is kept only while it is valid.
	end := h.chain[0].NotAfter
	v.credentials.put(cred, end.Add(-time.Second))
	if v.credentials.get(h.chain[0], end) == nil || v.credentials.get(h.chain[0], end.Add(1)) != nil {
		t.Error("kept beyond NotAfter, or not until then")
	}

	var cc credentialCache
	fake := func(i int) *Credential {
		return &Credential{Leaf: &x509.Certificate{Raw: fmt.Append(nil, i)}, NotAfter: epoch.Add(time.Hour)}
	}
	for i := range maxCredentials + 1 {
		cc.put(fake(i), epoch)
	}
	if len(cc.known) != maxCredentials {
		t.Errorf("%d kept, limit %d", len(cc.known), maxCredentials)
	}
	cc.put(fake(-1), epoch.Add(credentialTTL+1))
	if len(cc.known) != 1 {
		t.Errorf("%d kept after all the others expired", len(cc.known))
	}
}

// A PASSporT that passed one bridge is verified by the next one unchanged,
// while the chain comes through a Source.
func TestVerifyThroughSource(t *testing.T) {
	h := office(t)
	src := NewSource(func(context.Context, string) ([]byte, time.Duration, error) {
		return EncodeChain(h.chain), 0, nil
	}, func() time.Time { return epoch })
	v := &Verifier{Trust: Trust{Roots: h.roots}, Chain: src.Chain}
	for i, n := range []policy.Number{"+12025550199", "100@pbx.example"} {
		c := Call{From: testCall.From, To: n}
		if got := v.Verify(t.Context(), h.passport(t, c, epoch), c, epoch); got.Status != Valid {
			t.Errorf("call %d: %+v", i, got)
		}
	}
}
