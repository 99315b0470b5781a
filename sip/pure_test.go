package sip

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/policy"
	"riptide/sip/siptest"
)

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestNumberRulesRead(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "numbers", "scripted")
	us := NumberRules{CountryCode: "1", National: "1", International: "011", Domain: "pbx.example"}
	de := NumberRules{CountryCode: "49", National: "0", International: "00", Domain: "pbx.example"}
	bare := NumberRules{BareE164: true, Domain: "pbx.example"}
	plain := NumberRules{Domain: "pbx.example"}
	for _, tc := range []struct {
		rules NumberRules
		in    string
		want  policy.Number
	}{
		{plain, "+12025550123", "+12025550123"},
		{plain, "+1-202-555-0123", "+12025550123"},
		{plain, "+1(202)555.0123", "+12025550123"},
		{plain, "%2B12025550123", "+12025550123"},
		{plain, "+12025550123;npdi;rn=+12025550000", "+12025550123"},
		{plain, "12025550123", "12025550123@pbx.example"},
		{plain, "100", "100@pbx.example"},
		{plain, "alice", "alice@pbx.example"},
		{plain, "j.doe", "j.doe@pbx.example"},
		{plain, "2025550123;phone-context=+1", "+12025550123"},
		{plain, "100;phone-context=example.com", "100@example.com"},
		{us, "12025550123", "+12025550123"},
		{us, "011442079460000", "+442079460000"},
		{us, "100", "100@pbx.example"},
		{de, "030123456", "+4930123456"},
		{de, "00442079460000", "+442079460000"},
		{de, "0", "0@pbx.example"},
		{bare, "12025550123", "+12025550123"},
		{bare, "100", "100@pbx.example"},
		{plain, "", ""},
		{plain, "+", ""},
		{plain, "+12025550123456789", ""},
		{plain, "a b", ""},
		{plain, "a%0d%0aInjected", ""},
		{plain, strings.Repeat("9", 300), ""},
	} {
		got, err := tc.rules.Read(tc.in)
		if got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%q: %q, %v; want %q", tc.in, got, err, tc.want)
		}
		if err != nil && !errors.Is(err, policy.ErrNumber) {
			t.Errorf("%q: error %v", tc.in, err)
		}
	}
}

func TestNumberRulesFormat(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		rules NumberRules
		in    policy.Number
		want  string
	}{
		{NumberRules{}, "+12025550123", "+12025550123"},
		{NumberRules{Write: "bare"}, "+12025550123", "12025550123"},
		{NumberRules{Write: "national", CountryCode: "49", National: "0"}, "+4930123456", "030123456"},
		{NumberRules{Write: "national", CountryCode: "49", National: "0", International: "00"}, "+12025550123", "0012025550123"},
		{NumberRules{Write: "national", CountryCode: "49", National: "0"}, "+12025550123", "+12025550123"},
		{NumberRules{}, "100@pbx.example", "100"},
		{NumberRules{}, "a:b?c@pbx.example", "a%3Ab%3Fc"},
	} {
		if got := tc.rules.Format(tc.in); got != tc.want {
			t.Errorf("%q: %q, want %q", tc.in, got, tc.want)
		}
	}
	for _, bad := range []NumberRules{{National: "0"}, {Write: "loud"}, {CountryCode: "x"}, {Write: "national"}} {
		if bad.check() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

func TestCaller(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "privacy", "scripted")
	const from = "From: <sip:+12025550100@pbx.example>;tag=1"
	for name, tc := range map[string]struct {
		headers []string
		want    policy.Number
		anon    bool
	}{
		"from":               {[]string{from}, "+12025550100", false},
		"asserted":           {[]string{from, "P-Asserted-Identity: \"A, B\" <sip:+12025550111@x>, <tel:+12025550122>"}, "+12025550111", false},
		"asserted as tel":    {[]string{from, "P-Asserted-Identity: <tel:+1-202-555-0122>"}, "+12025550122", false},
		"preferred":          {[]string{from, "P-Preferred-Identity: <tel:+12025550122>"}, "+12025550122", false},
		"preferred, hidden":  {[]string{"From: <sip:anonymous@anonymous.invalid>;tag=1", "P-Preferred-Identity: <sip:+12025550111@x>", "Privacy: id"}, "+12025550111", true},
		"asserted first":     {[]string{from, "P-Preferred-Identity: <tel:+12025550122>", "P-Asserted-Identity: <tel:+12025550133>"}, "+12025550133", false},
		"from as tel":        {[]string{"From: <tel:0122;phone-context=+1202555>;tag=1"}, "+12025550122", false},
		"from of a phone":    {[]string{"From: <sip:555-0122;phone-context=+1202@x;user=phone>;tag=1"}, "+12025550122", false},
		"asserted nonsense":  {[]string{from, "P-Asserted-Identity: nobody"}, "+12025550100", false},
		"private number":     {[]string{"From: <sip:100@other.example>;tag=1"}, "100@pbx.example", false},
		"anonymous":          {[]string{"From: \"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=1"}, "", true},
		"anonymous asserted": {[]string{"From: <sip:anonymous@anonymous.invalid>;tag=1", "P-Asserted-Identity: <sip:+12025550111@x>"}, "+12025550111", true},
		"asserted anonymous": {[]string{from, "P-Asserted-Identity: <sip:anonymous@anonymous.invalid>"}, "+12025550100", false},
		"privacy":            {[]string{from, "P-Asserted-Identity: <sip:+12025550111@x>", "Privacy: id"}, "+12025550111", true},
		"privacy list":       {[]string{from, "Privacy: critical;user"}, "+12025550100", true},
		"privacy none":       {[]string{from, "Privacy: none"}, "+12025550100", false},
	} {
		req := message(t, "INVITE sip:+12025550199@x SIP/2.0", tc.headers...).(*sipgo.Request)
		got, withheld, err := NumberRules{Domain: "pbx.example"}.withheldOf(req)
		if got != tc.want || withheld != tc.anon || err != nil {
			t.Errorf("%s: %q, withheld %v, %v", name, got, withheld, err)
		}
	}
}

func message(t *testing.T, start string, headers ...string) sipgo.Message {
	t.Helper()
	msg, err := parse([]byte(start + "\r\n" + strings.Join(headers, "\r\n") + "\r\nContent-Length: 0\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

func TestReason(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in   []string
		want reason
	}{
		{nil, reason{}},
		{[]string{"Q.850;cause=16"}, reason{q850: 16}},
		{[]string{`q.850 ; text="a; \"b\", c" ;cause=17`}, reason{q850: 17, text: `a; "b", c`}},
		{[]string{`SIP;cause=600;text="Busy Everywhere", Q.850;cause=17`}, reason{sip: 600, q850: 17, text: "Busy Everywhere"}},
		{[]string{"SIP;cause=480", "Q.850;cause=31"}, reason{sip: 480, q850: 31}},
		{[]string{"preemption;cause=1;text=\"x\"", "Q.850;cause=200", "SIP;cause=0", "SIP;cause=abc", ";;;", "SIP"}, reason{}},
	} {
		if got := parseReason(tc.in); got != tc.want {
			t.Errorf("%q: %+v, want %+v", tc.in, got, tc.want)
		}
	}
	if c := (reason{sip: 200, text: "done"}).ended(); c.Code != "normal" {
		t.Errorf("%+v", c)
	}
	// What we write we can read, whatever is in it.
	c := bridge.CauseBusy.With("line\r\nInjected: yes \"quoted\" \\ end")
	var values []string
	for _, h := range reasonHeaders(c, 486, "Busy Here", "pbx") {
		if strings.ContainsAny(h.Value(), "\r\n") {
			t.Errorf("header injection: %q", h.Value())
		}
		values = append(values, h.Value())
	}
	if got := parseReason(values); got.sip != 486 || got.q850 != 17 || !strings.Contains(got.text, `"quoted" \ end`) {
		t.Errorf("%+v", got)
	}
}

// A long text keeps its end, where the cause and the hint are.
func TestReasonTextIsShortened(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ in, begins, ends string }{
		{strings.Repeat("a", maxReasonText), "aaa", "aaa"},
		{"dial trunk: " + strings.Repeat("é", maxReasonText) + ": refused (mend this)", "dial trunk: ", ": refused (mend this)"},
	} {
		got := shorten(tc.in, maxReasonText)
		if len(got) > maxReasonText || !strings.HasPrefix(got, tc.begins) || !strings.HasSuffix(got, tc.ends) || !utf8.ValidString(got) {
			t.Errorf("%d bytes: %q", len(got), got)
		}
	}
}

func TestFrameLimits(t *testing.T) {
	t.Parallel()
	head := "OPTIONS sip:x SIP/2.0\r\nContent-Length: "
	exact := maxMessage - len(head) - len("00000\r\n\r\n")
	for _, tc := range []struct {
		in         string
		skip, size int
		err        error
	}{
		{"", 0, 0, nil},
		{"\r\n\r\n", 4, 0, nil},
		{"\r\n\r\nX", 4, 0, nil},
		{head + "0\r\n\r\nNEXT", 0, len(head) + 5, nil},
		{head + "4\r\n\r\nabc", 0, 0, nil},
		{head + "4\r\n\r\nabcd", 0, len(head) + 9, nil},
		{head + "00000"[:5-len(itoa(exact))] + itoa(exact) + "\r\n\r\n" + strings.Repeat("x", exact), 0, maxMessage, nil},
		{head + "00000"[:5-len(itoa(exact+1))] + itoa(exact+1) + "\r\n\r\n", 0, 0, errTooLarge},
		{strings.Repeat("x", maxMessage), 0, 0, nil},
		{strings.Repeat("x", maxMessage+1), 0, 0, errTooLarge},
		{"A\r\nl: 1\r\nContent-Length: 2\r\n\r\n", 0, 0, errFraming},
		{"A\r\nl: 1\r\nContent-Length: 1\r\n\r\nx", 0, 31, nil},
		{"A\r\n\r\n", 0, 0, errFraming},
	} {
		skip, size, err := frame([]byte(tc.in))
		if skip != tc.skip || size != tc.size || !errors.Is(err, tc.err) {
			t.Errorf("%.60q: %d %d %v, want %d %d %v", tc.in, skip, size, err, tc.skip, tc.size, tc.err)
		}
	}
	if _, err := parse(make([]byte, maxMessage+1)); !errors.Is(err, errTooLarge) {
		t.Errorf("parse takes more than the limit: %v", err)
	}
}

func itoa(n int) string { return portText(uint16(n)) }

// sipgo's parsing loop is told of commas by the text of an error. If that ever
// changes, lists would silently become text.
func TestListsAreStillSplit(t *testing.T) {
	t.Parallel()
	msg := message(t, "SIP/2.0 200 OK", "Record-Route: <sip:a;lr>, <sip:b;lr>", "Via: SIP/2.0/UDP a;branch=1, SIP/2.0/UDP b;branch=2")
	if n := len(recordRoutes(msg)); n != 2 {
		t.Errorf("%d routes", n)
	}
	if n := len(msg.GetHeaders("Via")); n != 2 {
		t.Errorf("%d Vias", n)
	}
}

func TestStrictRouting(t *testing.T) {
	t.Parallel()
	d := &dialog{callID: "1", localTag: "l", remoteTag: "r", target: sipgo.Uri{Scheme: "sip", User: "t", Host: "target"}}
	strict := sipgo.Uri{Scheme: "sip", Host: "strict"}
	loose := sipgo.Uri{Scheme: "sip", Host: "loose"}
	loose.UriParams.Add("lr", "")
	for _, tc := range []struct {
		routes    []sipgo.Uri
		recipient string
		route     string
	}{
		{nil, "sip:t@target", ""},
		{[]sipgo.Uri{loose, strict}, "sip:t@target", "<sip:loose;lr> <sip:strict>"},
		{[]sipgo.Uri{strict, loose}, "sip:strict", "<sip:loose;lr> <sip:t@target>"},
	} {
		d.routes = tc.routes
		req := d.request(sipgo.BYE)
		if got := req.Recipient.String(); got != tc.recipient {
			t.Errorf("Request-URI %s, want %s", got, tc.recipient)
		}
		if got := strings.Join(headerValues(req, "Route"), " "); got != tc.route {
			t.Errorf("Route %s, want %s", got, tc.route)
		}
	}
}

func FuzzMessage(f *testing.F) {
	f.Add([]byte("OPTIONS sip:x@y SIP/2.0\r\nVia: SIP/2.0/UDP a:1;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"))
	f.Add([]byte("SIP/2.0 200 OK\r\nv: SIP/2.0/UDP [::1]:5060;branch=z9hG4bK1\r\nf: \"x\" <sip:a@b>;tag=1\r\nt: sip:c@d\r\ni: 1\r\nCSeq: 1 INVITE\r\nm: *\r\nl: 3\r\n\r\nabc"))
	f.Add([]byte("INVITE <sip:x@y> SIP/2.0\r\nVia: SIP/2.0/UDP a;;,;\r\nFrom : <sip:a@b> ; tag = 1\r\nTo: <sip:c@d>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\r\n"))
	f.Add([]byte("INVITE tel:+1 SIP/2.0\r\nVia: ,\r\nCSeq:\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if skip, size, err := frame(b); err == nil && skip+size > len(b) {
			t.Fatalf("frame %d+%d of %d bytes", skip, size, len(b))
		}
		plausible(b)
		msg, broken := parse(b)
		if msg == nil {
			return
		}
		_ = encode(msg)
		parseReason(headerValues(msg, "Reason"))
		recordRoutes(msg)
		req, ok := msg.(*sipgo.Request)
		salvageVia(msg)
		if !ok || req.Via() == nil || req.CSeq() == nil {
			return
		}
		serverKey(req, sipgo.INVITE)
		if r := checkSyntax(req, broken); r != nil {
			_ = encode(newResponse(req, r.status, r.phrase, nil))
			return
		}
		pidf, refused := unpack(req)
		if refused != nil {
			return
		}
		rules := NumberRules{Domain: "x.example"}
		if n, _, err := rules.withheldOf(req); err == nil && strings.ContainsAny(string(n), "\r\n<>") {
			t.Fatalf("number %q", n)
		}
		if err := factsOf(req, rules, []string{"Subject", "X-Any"}, pidf).Check(); err != nil {
			t.Fatalf("facts: %v", err)
		}
		sessionOf(req)
		checkMethod(req)
		(&Trunk{}).checkContent(req)
		if terms := agreeTimer(TimerRequire, 1800, sessionTerms{}, readTimer(req)); terms.seconds <= 0 {
			t.Fatalf("session timer of %d s", terms.seconds)
		}
		d := dialogOfRequest(req, "tag")
		_ = encode(d.request(sipgo.BYE))
		d.nextHop()
	})
}
