package main_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"riptide/bridge"
	"riptide/bridge/store"
	"riptide/configs/setup"
	"riptide/h3"
	"riptide/policy"
	"riptide/policy/stir"
	"riptide/sip/siptest"
)

const outsideNumber = "+13125550100" // of nobody in these scenarios

// wanted is how a fault is refused over HTTP, and what that makes of a SIP call.
type wanted struct {
	http   int
	code   bridge.Code
	sip    int
	detail string // in the problem
}

// TestRefusedOverRIPT: a client with the right keys places faulty calls, and
// each is refused with its own problem, before there is a call.
func TestRefusedOverRIPT(t *testing.T) {
	t.Parallel()
	trusted := newPublisher(t)   // web server we trust, as far as TLS goes
	publisher := newPublisher(t) // one nobody knows
	callee := siptest.Sipp{Scenario: siptest.UASRefuses}.Start(t)
	p := startSite(t, siteOptions{to: callee.Addr, prepare: trusted.trust})
	c := newRIPTClient(t, p.telco, p.office.dir, "office")
	token := c.token(c.tg)
	good := c.enrol("+1202555xxxx")
	one := c.enrol("+12025550100")
	now := time.Now()
	before := p.telco.metrics(t)
	passport := func() string { return good.sign(officeNumber, telcoNumber, now) }
	for _, tc := range []struct {
		name, token, passport, to string
		want                      wanted
	}{
		{"no token", "", passport(), telcoNumber, wanted{401, "token-missing", 503, "Authorization: Bearer"}},
		{"token of nobody", "abc.def.ghi", passport(), telcoNumber, wanted{401, "token-invalid", 503, "JWT"}},
		{"token with another signature", forge(token), passport(), telcoNumber, wanted{401, "token-invalid", 503, "signature"}},
		{"wrong audience", c.token(c.base + "/.well-known/ript"), passport(), telcoNumber, wanted{401, "token-audience", 503, "resource=" + c.tg}},
		{"no PASSporT", token, "", telcoNumber, wanted{400, "identity-missing", 428, "PASSporT"}},
		{"no PASSporT but a word", token, "passport", telcoNumber, wanted{403, "identity-invalid", 438, "PASSporT"}},
		{"forged signature", token, forge(passport()), telcoNumber, wanted{403, "identity-invalid", 438, "signature"}},
		{"stale iat", token, good.sign(officeNumber, telcoNumber, now.Add(-2*time.Minute)), telcoNumber, wanted{403, "identity-stale", 403, "clocks"}},
		{"iat to come", token, good.sign(officeNumber, telcoNumber, now.Add(3*time.Minute)), telcoNumber, wanted{403, "identity-stale", 403, "clocks"}},
		{"number outside the certificate", token, one.sign("+12025550101", telcoNumber, now), telcoNumber, wanted{403, "identity-number-not-covered", 403, "+12025550101"}},
		{"PASSporT of another call", token, good.sign(officeNumber, "+12025550123", now), telcoNumber, wanted{403, "identity-mismatch", 438, telcoNumber}},
		{"destination outside the TG", token, good.sign(officeNumber, outsideNumber, now), outsideNumber, wanted{403, "destination-forbidden", 403, outsideNumber}},
		{"certificate of an unknown CA", token, trusted.issue(trusted.dir, "+1202555xxxx", now, time.Hour).sign(officeNumber, telcoNumber, now), telcoNumber, wanted{403, "identity-credential-unsupported", 437, "unknown authority"}},
		{"certificate at an unknown web server", token, publisher.issue(publisher.dir, "+1202555xxxx", now, time.Hour).sign(officeNumber, telcoNumber, now), telcoNumber, wanted{424, "identity-info-unavailable", 436, "cannot be fetched"}},
		{"certificate that is not there", token, (&passportKey{t, good.key, good.x5u[:len(good.x5u)-8] + "XXXX.pem"}).sign(officeNumber, telcoNumber, now), telcoNumber, wanted{424, "identity-info-unavailable", 436, "404"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			checkRefusal(t, c.call(tc.token, tc.passport, tc.to), tc.want, tc.token, tc.passport)
		})
	}
	m := p.telco.metrics(t)
	if n := sum(m, "riptide_calls_total") + sum(m, "riptide_calls_active"); n != 0 {
		t.Errorf("%d calls came of refused requests", n)
	}
	t.Run("TLS certificate of an unknown CA", func(t *testing.T) {
		stranger := *c
		stranger.http = http3Client(t, filepath.Join(p.office.dir, setup.CACert))
		a, err := stranger.try(http.MethodGet, c.base+"/healthz", "", "", nil)
		if !untrusted(err) {
			t.Errorf("got %d, %v", a.status, err)
		}
	})
	t.Run("and a good one is taken", func(t *testing.T) {
		if a := c.call(token, passport(), telcoNumber); a.status != http.StatusCreated {
			t.Errorf("%d %s", a.status, a.body)
		}
		callee.Check(t, 1)
	})
	if log := p.telco.logText(t); !strings.Contains(log, `msg="token refused"`) || strings.Contains(log, "eyJ") {
		t.Error("the telco's log says nothing of refused tokens, or quotes them")
	}
	// Each is counted by its cause, whether or not somebody knows the token.
	m = p.telco.metrics(t)
	for code, n := range map[string]int{"token-missing": 1, "token-invalid": 2, "token-audience": 1, "identity-invalid": 2, "identity-stale": 2, "destination-forbidden": 1} {
		if got := sum(m, "riptide_ript_refused_total", `cause="`+code+`"`) - sum(before, "riptide_ript_refused_total", `cause="`+code+`"`); got != n {
			t.Errorf("%d refusals %s are counted, want %d", got, code, n)
		}
	}
	if got := sum(m, "riptide_calls_refused_total", `from="ript"`, `cause="identity-stale"`); got != 2 {
		t.Errorf("%d calls refused as stale are counted, want 2", got)
	}
}

// takesNone is a bridge that is not to be asked.
type takesNone struct{ t testing.TB }

func (a takesNone) Accept(context.Context, bridge.Leg) error {
	a.t.Error("the bridge was asked about the call")
	return bridge.CauseInternal
}

// TestExpiredTokenOverRIPT: tokens live for minutes, so this telco has a clock
// of the test's; everything else is as above.
func TestExpiredTokenOverRIPT(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	office, telco := filepath.Join(dir, "office"), filepath.Join(dir, "telco")
	for _, d := range []string{office, telco} {
		if err := setup.Create(setup.Options{Dir: d, Node: "node", Hosts: []string{"127.0.0.1"}, Now: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(telco, setup.TLSCert), filepath.Join(telco, setup.TLSKey))
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", siptest.FreePorts(t, nil, "127.0.0.1", 1))
	var later atomic.Int64
	server, err := h3.NewServer(h3.ServerConfig{
		Listen: addr, Authority: addr, Certificate: pair, Store: store.NewMemory(), Acceptor: takesNone{t}, Verifier: &stir.Verifier{},
		TGs:     []h3.TGConfig{{Name: "office", ClientID: "office", Destinations: policy.NumberSet{Allow: patterns(t, "*")}}},
		Clients: []h3.OAuthClient{{ID: "office", Keys: jose.JSONWebKeySet{Keys: []jose.JSONWebKey{clientJWK(t, readKey(t, filepath.Join(office, setup.ClientKey)))}}}},
		Now:     func() time.Time { return time.Now().Add(time.Duration(later.Load())) },
	})
	if err == nil {
		err = server.Listen(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(context.Background()) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(server.Shutdown(ctx), <-served); err != nil {
			t.Error(err)
		}
	})
	c := newRIPTClient(t, node{ript: addr, dir: telco}, office, "office")
	token := c.token(c.tg)
	checkRefusal(t, c.call(token, "", telcoNumber), wanted{400, "identity-missing", 428, "PASSporT"}, token)
	later.Store(int64(6 * time.Minute))
	checkRefusal(t, c.call(token, "", telcoNumber), wanted{401, "token-expired", 503, "new token"}, token)
}

// checkRefusal judges a problem, and that it repeats no secret.
func checkRefusal(t testing.TB, a answer, want wanted, secrets ...string) {
	t.Helper()
	var p struct {
		Type, Title, Detail string
		Status              int
		Reason              struct {
			Code bridge.Code
			SIP  int
			Q850 int
		}
	}
	if kind := a.header.Get("Content-Type"); kind != "application/problem+json" {
		t.Errorf("Content-Type %q", kind)
	}
	if err := json.Unmarshal(a.body, &p); err != nil {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	if a.status != want.http || p.Status != want.http || p.Type != "/problems/"+string(want.code) || p.Reason.Code != want.code || p.Reason.SIP != want.sip || p.Title == "" {
		t.Errorf("%d %s\nwant %+v", a.status, a.body, want)
	}
	if !strings.Contains(p.Detail, want.detail) {
		t.Errorf("detail %q says nothing of %q", p.Detail, want.detail)
	}
	for _, s := range secrets {
		for part := range strings.SplitSeq(s, ".") {
			if len(part) > 8 && bytes.Contains(a.body, []byte(part)) {
				t.Errorf("the refusal repeats %q: %s", part, a.body)
			}
		}
	}
	// What our own client makes of it is what a SIP caller hears.
	cause := bridge.CauseFromRIPT("", p.Reason.Code, a.status, p.Reason.SIP, p.Reason.Q850)
	if status, phrase := cause.SIPStatus(); status != want.sip || phrase != p.Title {
		t.Errorf("a SIP caller gets %d %s, want %d %s", status, phrase, want.sip, p.Title)
	}
	// A peer that says it with the problem type alone is understood alike.
	if bare := bridge.CauseFromRIPT("", want.code, a.status, 0, 0); bare.Code != want.code || bare.HTTPStatus() != want.http {
		t.Errorf("the type alone means %v", bare)
	}
}

// refusal is a call with a fault, and what its caller is to hear of it.
type refusal struct {
	name     string
	from, to string
	headers  []string
	host     string // of the caller
	status   int
	code     bridge.Code
	reason   string // in the Reason header
}

// place makes the call, and looks for the reason in the answer, the log and the
// counters of the office.
func (r refusal) place(t *testing.T, p *pair) {
	before := sum(p.office.metrics(t), "riptide_calls_refused_total", `cause="`+string(r.code)+`"`) +
		sum(p.office.metrics(t), "riptide_calls_total", `cause="`+string(r.code)+`"`)
	logged := len(p.office.logText(t))
	run := siptest.Sipp{
		Scenario: siptest.UACRefused, Script: siptest.Script{From: r.from, Status: r.status, Headers: r.headers},
		Remote: p.office.sip, Service: r.to, Host: r.host,
	}.Start(t)
	run.Check(t, 1)
	reason := reasons(run.Messages())
	t.Logf("%d %s", r.status, reason)
	_, phrase := bridge.Cause{Code: r.code}.SIPStatus()
	for _, want := range []string{r.reason, fmt.Sprintf(`SIP;cause=%d;text="%s"`, r.status, phrase)} {
		if !strings.Contains(reason, want) {
			t.Errorf("Reason %q says nothing of %q", reason, want)
		}
	}
	if len(reason) > 0 && strings.Contains(reason, "eyJ") {
		t.Errorf("Reason repeats a PASSporT or token: %s", reason)
	}
	p.office.settle(t)
	log := p.office.logText(t)[logged:]
	if !strings.Contains(log, "cause="+string(r.code)) {
		t.Errorf("the log does not say cause=%s:\n%s", r.code, log)
	}
	m := p.office.metrics(t)
	after := sum(m, "riptide_calls_refused_total", `cause="`+string(r.code)+`"`) + sum(m, "riptide_calls_total", `cause="`+string(r.code)+`"`)
	if after != before+1 {
		t.Errorf("the call was counted %d times", after-before)
	}
}

// TestRefusedOverSIP: what a caller hears of each fault that a caller or an
// operator can make. Where several share a status, the Reason's text and the
// log's cause tell them apart.
func TestRefusedOverSIP(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "identity", "sipp")
	siptest.Shows(t, "privacy", "sipp")
	publisher := newPublisher(t)
	p := startSite(t, siteOptions{
		prepare: publisher.trust,
		edit: func(name, config string) string {
			if name == "telco" { // it believes its own CA only
				return replace(t, config, "roots: [", "roots: [] # [")
			}
			config = replace(t, config, "match: [\"127.0.0.0/8\"]\n      callers: [\"+1202555xxxx\"]",
				"match: [127.0.0.1/32]\n      callers: [\"+1202555xxxx\", \"+1312*\"]")
			config = replace(t, config, "  telco:\n", `  strict:
    sip: {peer: 127.0.0.2:5999, match: [127.0.0.2/32], identity: required, callers: ["+1202555xxxx"]}
  telco:
`)
			return replace(t, config, `{from: pbx, to: "+1202555xxxx", trunk: telco}`,
				"{from: pbx, to: \"+1202555xxxx\", trunk: telco}\n  - {from: pbx, to: \"+1312*\", trunk: telco}\n  - {from: strict, to: \"+*\", trunk: telco}")
		},
	})
	now := time.Now()
	good := publisher.issue(p.telco.dir, "+1202555xxxx", now, time.Hour)
	one := publisher.issue(p.telco.dir, "+12025550101", now, time.Hour)
	expired := publisher.issue(p.telco.dir, "+1202555xxxx", now.Add(-2*time.Hour), time.Hour)
	unknown := publisher.issue(publisher.dir, "+1202555xxxx", now, time.Hour)
	ofOffice := publisher.issue(p.office.dir, "+1xxxxxxxxxx", now, time.Hour)
	ofTelco := publisher.issue(p.telco.dir, "+1xxxxxxxxxx", now, time.Hour)
	missing := &passportKey{t, good.key, publisher.server.URL + "/none.pem"}
	closed := &passportKey{t, good.key, "https://127.0.0.1:1/none.pem"}
	garbage := &passportKey{t, good.key, publisher.server.URL + "/garbage.pem"}
	publisher.publish("/garbage.pem", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	id := func(k *passportKey) []string { return []string{k.identity(officeNumber, telcoNumber, now)} }
	for _, r := range []refusal{
		{name: "forged signature", headers: []string{identityHeader(t, forge(good.sign(officeNumber, telcoNumber, now)))}, status: 438, code: "identity-invalid", reason: "signature"},
		{name: "no PASSporT in it", headers: []string{"Identity: nonsense"}, status: 438, code: "identity-invalid", reason: "Identity header"},
		{name: "PASSporT of another call", headers: []string{good.identity(officeNumber, "+12025550123", now)}, status: 438, code: "identity-mismatch", reason: "for a call to 12025550123"},
		{name: "PASSporT of another caller", headers: []string{good.identity("+12025550123", telcoNumber, now)}, status: 438, code: "identity-mismatch", reason: "for a call from +12025550123"},
		{name: "stale", headers: []string{good.identity(officeNumber, telcoNumber, now.Add(-2*time.Minute))}, status: 403, code: "identity-stale", reason: "clocks"},
		{name: "outside the certificate", headers: id(one), status: 403, code: "identity-number-not-covered", reason: "the caller is " + officeNumber},
		{name: "expired certificate", headers: []string{expired.identity(officeNumber, telcoNumber, now)}, status: 437, code: "identity-credential-unsupported", reason: "expired"},
		{name: "unknown CA", headers: id(unknown), status: 437, code: "identity-credential-unsupported", reason: "unknown authority"},
		{name: "certificate is garbage", headers: id(garbage), status: 437, code: "identity-credential-unsupported", reason: "malformed certificate"},
		{name: "certificate is not there", headers: id(missing), status: 436, code: "identity-info-unavailable", reason: "404"},
		{name: "certificate cannot be fetched", headers: id(closed), status: 436, code: "identity-info-unavailable", reason: "cannot be fetched"},
		{name: "CA unknown to the far side", headers: id(ofOffice), status: 437, code: "identity-credential-unsupported", reason: "unknown authority"},
		{name: "caller outside the TG's origins", from: outsideNumber, headers: []string{ofTelco.identity(outsideNumber, telcoNumber, now)}, status: 403, code: "identity-number-not-covered", reason: "not among the TG's origins"},
		{name: "caller outside the enrolled block", from: outsideNumber, status: 403, code: "caller-forbidden", reason: "outside the numbers we may sign for"},
		{name: "caller outside the trunk's callers", from: "+14155550100", status: 403, code: "caller-forbidden", reason: "trunks.pbx: callers"},
		{name: "destination outside the TG", to: outsideNumber, status: 403, code: "destination-forbidden", reason: "not among the destinations"},
		{name: "no route", to: "+14155550100", status: 404, code: "no-route", reason: "+14155550100"},
		{name: "anonymous", from: "anonymous", status: 433, code: "identity-anonymous", reason: "anonymous"},
		{name: "privacy asked for", headers: []string{"Privacy: id"}, status: 433, code: "identity-anonymous", reason: "anonymous"},
		{name: "Identity required", host: "127.0.0.2", status: 428, code: "identity-missing", reason: "must send an Identity"},
	} {
		t.Run(r.name, func(t *testing.T) {
			if r.from == "" {
				r.from = officeNumber
			}
			if r.to == "" {
				r.to = telcoNumber
			}
			r.place(t, p)
		})
	}
}

// TestRefusedTrunk: a trunk that the other side, or we, do not trust is out of
// service for callers, and the Reason says what to mend.
func TestRefusedTrunk(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		prepare func(t *testing.T, dir string)
		refusal
	}{
		{"the client key was changed", func(t *testing.T, dir string) {
			other := newPublisher(t).dir
			copyFile(t, filepath.Join(other, setup.ClientKey), filepath.Join(dir, "office", setup.ClientKey))
		}, refusal{status: 503, code: "token-invalid", reason: "client key"}},
		{"the server's CA was changed", func(t *testing.T, dir string) {
			copyFile(t, newPublisher(t).ca, filepath.Join(dir, "telco", setup.CACert))
		}, refusal{status: 503, code: "tls-untrusted", reason: "CA that issued"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := startSite(t, siteOptions{
				prepare:  func(dir string) { tc.prepare(t, dir) },
				notReady: tc.reason,
			})
			tc.from, tc.to = officeNumber, telcoNumber
			tc.place(t, p)
		})
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestRefusalsDiffer: what shares a SIP status is told apart by the phrase, and
// what shares an HTTP status by the type.
func TestRefusalsDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]bridge.Code{}
	for _, code := range []bridge.Code{
		"token-missing", "token-invalid", "token-expired", "token-audience", "token-scope", "tls-untrusted", "unreachable", "overloaded",
		"identity-missing", "identity-anonymous", "identity-info-unavailable", "identity-credential-unsupported", "identity-invalid",
		"identity-mismatch", "identity-stale", "identity-number-not-covered", "identity-replayed",
		"destination-forbidden", "caller-forbidden", "forbidden", "no-route", "not-found",
	} {
		c := bridge.CauseFromRIPT("", code, 0, 0, 0)
		status, phrase := c.SIPStatus()
		key := fmt.Sprint(status, " ", phrase)
		if other, dup := seen[key]; dup || c.Code != code {
			t.Errorf("%s and %s are both %s", code, other, key)
		}
		seen[key] = code
	}
}
