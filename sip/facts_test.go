package sip

import (
	"reflect"
	"strings"
	"testing"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/policy"
	"riptide/sip/siptest"
)

const (
	callerSession = "11111111111111111111111111111111"
	calleeSession = "22222222222222222222222222222222"
	pidfText      = "<?xml version=\"1.0\"?>\r\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"pres:a@b\"/>"
)

var testRules = NumberRules{Domain: "pbx.example", CountryCode: "1"}

// everyFact is all that an INVITE can say.
func everyFact() bridge.Facts {
	return bridge.Facts{
		Routing:    &bridge.Routing{Number: "+12025550177", Dipped: true},
		Carrier:    "+1-0288",
		TrunkGroup: &bridge.TrunkGroup{Name: "tg-7", Context: "carrier.example"},
		Category:   "payphone",
		Line:       "27",
		Diversions: []bridge.Diversion{
			{Number: "+12025550111", Reason: "no-answer", Counter: 1},
			{Number: "100@pbx.example", Reason: "unconditional", Counter: 1, Privacy: true},
		},
		Priority:   []string{"ets.0", "wps.3"},
		Location:   &bridge.Location{URI: "https://lis.example/1?x=2", PIDF: pidfText, Routing: true},
		Languages:  []string{"de-AT", "en", "fr"},
		CallerName: `Jörg "J" O'Neil, \ <x>`,
		Privacy:    []string{"id", "critical"},
		Charging:   &bridge.Charging{ID: "icid;1", Originating: "home1.example", Terminating: "home2.example"},
		Carried:    map[string][]string{"Subject": {"the heating"}, "X-Account": {"17", "18"}},
	}
}

func wholePolicy() bridge.FactPolicy {
	return bridge.FactPolicy{Accept: bridge.FactNames(), Send: bridge.FactNames(), Carry: []string{"Subject", "X-Account"}}
}

// TestFactsOf reads every way in which SIP says each fact.
func TestFactsOf(t *testing.T) {
	t.Parallel()
	const from = "From: <sip:+12025550100@pbx.example>;tag=1"
	for name, tc := range map[string]struct {
		uri     string // "" = plain
		headers []string
		pidf    string
		want    bridge.Facts
	}{
		"nothing":             {headers: []string{from}},
		"rn and npdi":         {uri: "sip:+12025550199;npdi;rn=+1-202-555-0177@x;user=phone", want: bridge.Facts{Routing: &bridge.Routing{Number: "+12025550177", Dipped: true}}},
		"npdi alone":          {uri: "sip:+12025550199;npdi@x", want: bridge.Facts{Routing: &bridge.Routing{Dipped: true}}},
		"rn behind the host":  {uri: "sip:+12025550199@x;rn=+12025550177", want: bridge.Facts{Routing: &bridge.Routing{Number: "+12025550177"}}},
		"rn local":            {uri: "sip:+12025550199;rn=2025550177;rn-context=+1@x", want: bridge.Facts{Routing: &bridge.Routing{Number: "+12025550177"}}},
		"rn rubbish":          {uri: "sip:+12025550199;rn=+1@x", want: bridge.Facts{}},
		"tel":                 {uri: "tel:+12025550199;npdi;cic=+1-0288", want: bridge.Facts{Routing: &bridge.Routing{Dipped: true}, Carrier: "+1-0288"}},
		"cic":                 {uri: "sip:+12025550199;cic=%2B1-0288@x", want: bridge.Facts{Carrier: "+1-0288"}},
		"cic local":           {uri: "sip:+12025550199;cic=0288;cic-context=+1@x", want: bridge.Facts{Carrier: "+1-0288"}},
		"cic with an attack":  {uri: "sip:+12025550199;cic=0288%0D%0AVia:x@x"},
		"tgrp":                {headers: []string{from, "Contact: <sip:pbx;tgrp=tg-7;trunk-context=carrier.example@192.0.2.1>"}, want: bridge.Facts{TrunkGroup: &bridge.TrunkGroup{Name: "tg-7", Context: "carrier.example"}}},
		"otg":                 {headers: []string{"From: <sip:+12025550100@pbx.example;otg=tg-9>;tag=1"}, want: bridge.Facts{TrunkGroup: &bridge.TrunkGroup{Name: "tg-9"}}},
		"cpc and isup-oli":    {headers: []string{"From: <sip:+12025550100;cpc=Payphone;isup-oli=27@pbx.example>;tag=1"}, want: bridge.Facts{Category: "payphone", Line: "27"}},
		"cpc of the asserted": {headers: []string{from, "P-Asserted-Identity: <tel:+12025550100;cpc=priority;oli=0>"}, want: bridge.Facts{Category: "priority", Line: "00"}},
		"diversion": {headers: []string{from, `Diversion: "A, B" <sip:+12025550111@x>;reason="user-busy";counter=2;privacy=off, <tel:+12025550122>;reason=Unknown;privacy=full`},
			want: bridge.Facts{Diversions: []bridge.Diversion{{Number: "+12025550111", Reason: "user-busy", Counter: 2}, {Number: "+12025550122", Reason: "unknown", Privacy: true}}}},
		"diversion rubbish": {headers: []string{from, "Diversion: nonsense, <sip:@>;counter=x, <sip:+12025550111@x>;counter=x"}, want: bridge.Facts{Diversions: []bridge.Diversion{{Number: "+12025550111"}}}},
		"history": {headers: []string{from, "History-Info: <sip:+12025550111@x?Privacy=history>;index=1, <sip:+12025550122@x;cause=408>;index=1.1;mp=1", "History-Info: <sip:+12025550199@x;cause=302>;index=1.1.1;mp=1.1"},
			want: bridge.Facts{Diversions: []bridge.Diversion{{Number: "+12025550122", Reason: "unconditional", Counter: 1}, {Number: "+12025550111", Reason: "no-answer", Counter: 1, Privacy: true}}}},
		"history without diversion": {headers: []string{from, "History-Info: <sip:+12025550111@x>;index=1, <sip:+12025550199@x>;index=1.1"}},
		"both":                      {headers: []string{from, "History-Info: <sip:+12025550111@x>;index=1, <sip:+12025550199@x;cause=302>;index=1.1", "Diversion: <sip:+12025550122@x>"}, want: bridge.Facts{Diversions: []bridge.Diversion{{Number: "+12025550122"}}}},
		"priority":                  {headers: []string{from, "Resource-Priority: ets.0, wps.3", "Resource-Priority: q735.1"}, want: bridge.Facts{Priority: []string{"ets.0", "wps.3", "q735.1"}}},
		"priority rubbish":          {headers: []string{from, "Resource-Priority: ets"}},
		"location by reference":     {headers: []string{from, "Geolocation: <https://lis.example/1>;inserted-by=x", "Geolocation-Routing: no"}, want: bridge.Facts{Location: &bridge.Location{URI: "https://lis.example/1"}}},
		"location by value":         {headers: []string{from, "Geolocation: <cid:a@b>", "Geolocation-Routing: yes"}, pidf: pidfText, want: bridge.Facts{Location: &bridge.Location{PIDF: pidfText, Routing: true}}},
		"location that is lost":     {headers: []string{from, "Geolocation: <cid:a@b>"}},
		"languages":                 {headers: []string{from, "Accept-Language: fr;q=0.3, de-AT, *;q=0.1, en;q=0.8, xx;q=0"}, want: bridge.Facts{Languages: []string{"de-AT", "en", "fr"}}},
		"name":                      {headers: []string{`From: "The Office" <sip:+12025550100@pbx.example>;tag=1`}, want: bridge.Facts{CallerName: "The Office"}},
		"name of the asserted":      {headers: []string{`From: "The Office" <sip:+12025550100@pbx.example>;tag=1`, `P-Asserted-Identity: "Desk \"7\"" <sip:+12025550100@x>`}, want: bridge.Facts{CallerName: `Desk "7"`}},
		"name of nobody":            {headers: []string{`From: "Anonymous" <sip:anonymous@anonymous.invalid>;tag=1`}},
		"privacy":                   {headers: []string{from, "Privacy: ID;critical", "Privacy: id"}, want: bridge.Facts{Privacy: []string{"id", "critical"}}},
		"privacy none":              {headers: []string{from, "Privacy: none"}},
		"charging":                  {headers: []string{from, `P-Charging-Vector: icid-value="a;b";icid-generated-at=1.2.3.4;orig-ioi=home1;term-ioi="home2"`}, want: bridge.Facts{Charging: &bridge.Charging{ID: "a;b", Originating: "home1", Terminating: "home2"}}},
		"charging without id":       {headers: []string{from, "P-Charging-Vector: orig-ioi=home1"}},
		"carried":                   {headers: []string{from, "X-Account: 17", "X-Account: 18", "X-Other: 1", "Subject: s"}, want: bridge.Facts{Carried: map[string][]string{"X-Account": {"17", "18"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			uri, headers := tc.uri, tc.headers
			if uri == "" {
				uri = "sip:+12025550199@x"
			}
			if headers == nil {
				headers = []string{from}
			}
			req := message(t, "INVITE "+uri+" SIP/2.0", headers...).(*sipgo.Request)
			if got := factsOf(req, testRules, []string{"X-Account"}, tc.pidf); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got  %+v\nwant %+v", got, tc.want)
			}
		})
	}
}

// placed sends an INVITE with facts over a trunk and returns it as the peer
// reads it.
func placed(t *testing.T, in bridge.Intent, change func(*Trunk)) *sipgo.Request {
	t.Helper()
	p := newPeer(t)
	tr := Trunk{Peer: p.addr().String(), Numbers: testRules}
	if change != nil {
		change(&tr)
	}
	a := startAgent(t, newAcceptor(), tr)
	p.to = a.Addr()
	if _, err := a.Dial(ctx, in); err != nil {
		t.Fatal(err)
	}
	return p.request("INVITE")
}

// TestFactsThereAndBack: what is written is read again as it was.
func TestFactsThereAndBack(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Trunk){
		"diversion":    func(t *Trunk) { t.Facts = wholePolicy() },
		"history-info": func(t *Trunk) { t.Facts, t.HistoryInfo = wholePolicy(), true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := intent
			in.Facts, in.Trace = everyFact(), bridge.Trace{ID: callerSession}
			inv := placed(t, in, change)
			pidf, refused := unpack(inv)
			if refused != nil || !isSDP(inv) || !strings.HasPrefix(string(inv.Body()), "v=0") {
				t.Fatalf("body: %v\n%s", refused, inv)
			}
			want := everyFact()
			if got := factsOf(inv, testRules, []string{"Subject", "X-Account"}, pidf); !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v\n%s", got, want, inv)
			}
			if got := sessionOf(inv); got != callerSession {
				t.Errorf("session %q", got)
			}
			if n, withheld, err := testRules.withheldOf(inv); n != intent.From || !withheld || err != nil {
				t.Errorf("caller %s, withheld %v, %v", n, withheld, err)
			}
			for header, other := range map[string]string{"Diversion": "History-Info", "History-Info": "Diversion"} {
				if strings.EqualFold(header, name) && (len(headerValues(inv, header)) == 0 || len(headerValues(inv, other)) > 0) {
					t.Errorf("diversions are not in %s alone", header)
				}
			}
		})
	}
}

// TestEachFactAlone: a trunk that is told one fact is told nothing else.
func TestEachFactAlone(t *testing.T) {
	t.Parallel()
	shown := map[bridge.Fact][]string{ // by what each is known in a message
		bridge.FactRouting: {"rn=", "npdi"}, bridge.FactCarrier: {"cic="}, bridge.FactTrunkGroup: {"tgrp="}, bridge.FactCategory: {"cpc="},
		bridge.FactLine: {"oli="}, bridge.FactDiversions: {"Diversion"}, bridge.FactPriority: {"Resource-Priority"}, bridge.FactLocation: {"Geolocation", "multipart/mixed;boundary", "presence"},
		bridge.FactLanguages: {"Accept-Language"}, bridge.FactCallerName: {"Office"}, bridge.FactCharging: {"P-Charging-Vector"}, bridge.FactPrivacy: {"session"},
	}
	in := intent
	in.Facts = everyFact()
	in.Facts.CallerName, in.Facts.Privacy = "Office", []string{"session"}
	for fact := range shown {
		t.Run(string(fact), func(t *testing.T) {
			t.Parallel()
			text := placed(t, in, func(t *Trunk) { t.Facts.Send = []bridge.Fact{fact} }).String()
			for other, words := range shown {
				for _, w := range words {
					if strings.Contains(text, w) != (other == fact) {
						t.Errorf("%q in the INVITE: %v\n%s", w, other != fact, text)
					}
				}
			}
		})
	}
	plain := placed(t, in, nil)
	for fact, words := range shown {
		for _, w := range words {
			if strings.Contains(plain.String(), w) {
				t.Errorf("%s: a trunk that is told nothing gets %q", fact, w)
			}
		}
	}
	for _, h := range plain.Headers() {
		switch h.Name() {
		case "Via", "Max-Forwards", "From", "To", "Call-ID", "CSeq", "Contact", "P-Asserted-Identity", "Allow", "Accept", "Supported", "Content-Type", "Content-Length":
		default:
			t.Errorf("header field %s: %s", h.Name(), h.Value())
		}
	}
}

func TestCallerWantsPrivacy(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "privacy", "scripted")
	in := intent
	in.Facts.Privacy, in.Facts.CallerName = []string{"id"}, "Office"
	in.Facts.Diversions = []bridge.Diversion{{Number: "+12025550111", Privacy: true}, {Number: "+12025550122"}}
	for name, trusted := range map[string]bool{"trusted": true, "not trusted": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inv := placed(t, in, func(t *Trunk) {
				t.Facts.Send = []bridge.Fact{bridge.FactCallerName, bridge.FactDiversions}
				if trusted {
					t.Facts.Send = append(t.Facts.Send, bridge.FactPrivacy)
				}
			})
			text := inv.String()
			if inv.From().Address.Host != "anonymous.invalid" || strings.Join(headerValues(inv, "Privacy"), "") != "id" {
				t.Errorf("not private:\n%s", text)
			}
			for _, secret := range []string{"2025550100", "+12025550111"} {
				if strings.Contains(text, secret) != trusted {
					t.Errorf("%s is told: %v\n%s", secret, !trusted, text)
				}
			}
			if !strings.Contains(text, "+12025550122") {
				t.Error("a diversion that may be shown is not")
			}
		})
	}
}

func TestAnonymousPolicy(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "privacy", "scripted")
	const hidden = "<sip:anonymous@anonymous.invalid>;tag=x"
	for name, tc := range map[string]struct {
		trunk   Trunk
		from    string
		headers []string
		status  int // 0: accepted
		number  policy.Number
		privacy []string
	}{
		"refused":                  {Trunk{}, hidden, []string{"P-Asserted-Identity: <tel:+12025550100>", "Privacy: id"}, 433, "", nil},
		"refused without Privacy":  {Trunk{}, hidden, []string{"P-Asserted-Identity: <tel:+12025550100>"}, 433, "", nil},
		"asserted":                 {Trunk{AllowAnonymous: true}, hidden, []string{"P-Asserted-Identity: <tel:+12025550100>", "Privacy: id"}, 0, "+12025550100", []string{"id"}},
		"asserted without Privacy": {Trunk{AllowAnonymous: true}, hidden, []string{"P-Asserted-Identity: <tel:+12025550100>"}, 0, "+12025550100", []string{"id"}},
		"rubbish beside the wish":  {Trunk{AllowAnonymous: true}, "<sip:+12025550100@x>;tag=x", []string{`Privacy: id;"x"`}, 0, "+12025550100", []string{"id"}},
		"in From":                  {Trunk{AllowAnonymous: true}, "<sip:+12025550100@x>;tag=x", []string{"Privacy: user;critical"}, 0, "+12025550100", []string{"user", "critical"}},
		"nobody knows":             {Trunk{AllowAnonymous: true}, hidden, nil, 433, "", nil},
		"the trunk's own":          {Trunk{AllowAnonymous: true, Number: "+12025550155"}, hidden, nil, 0, "+12025550155", []string{"id"}},
		"not hidden":               {Trunk{}, "<sip:+12025550100@x>;tag=x", []string{"Privacy: none"}, 0, "+12025550100", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			acc := newAcceptor()
			a := startAgent(t, acc, tc.trunk)
			d := newPeer(t).caller(a)
			d.local = tc.from
			d.invite(offerSDP(1, 40000), tc.headers...)
			if tc.status != 0 {
				d.answer(tc.status, "INVITE")
				return
			}
			info := acc.next(t).Info()
			if info.From != tc.number || !reflect.DeepEqual(info.Facts.Privacy, tc.privacy) {
				t.Errorf("from %s, privacy %v", info.From, info.Facts.Privacy)
			}
		})
	}
}

// TestLocationInTheBody: INVITEs with several parts, and without any offer.
func TestLocationInTheBody(t *testing.T) {
	t.Parallel()
	parts := func(list ...string) string {
		var b strings.Builder
		for _, p := range list {
			b.WriteString("--xyz\r\n" + p + "\r\n")
		}
		return b.String() + "--xyz--\r\n"
	}
	sdpPart := "Content-Type: application/sdp\r\n\r\n" + offerSDP(1, 40000)
	pidfPart := "Content-Type: application/pidf+xml\r\nContent-ID: <a@b>\r\n\r\n" + pidfText
	other := func(disposition string) string {
		return "Content-Type: application/isup\r\nContent-Disposition: " + disposition + "\r\n\r\n\x01\x02"
	}
	for name, tc := range map[string]struct {
		kind, body string
		status     int // 0: accepted
		offer      bool
		pidf       bool
	}{
		"both":                {"multipart/mixed;boundary=xyz", parts(sdpPart, pidfPart), 0, true, true},
		"both, the other way": {`Multipart/Mixed; Boundary="xyz"`, parts(pidfPart, sdpPart), 0, true, true},
		"location alone":      {"application/pidf+xml", pidfText, 0, false, true},
		"location in parts":   {"multipart/mixed;boundary=xyz", parts(pidfPart), 0, false, true},
		"optional part":       {"multipart/mixed;boundary=xyz", parts(sdpPart, other("signal;handling=optional")), 0, true, false},
		"part without a word": {"multipart/mixed;boundary=xyz", parts(sdpPart, "Content-Type: text/plain\r\n\r\nhello"), 0, true, false},
		"required part":       {"multipart/mixed;boundary=xyz", parts(sdpPart, other("signal;handling=required")), 415, false, false},
		"no boundary":         {"multipart/mixed", parts(sdpPart), 400, false, false},
		"cut short":           {"multipart/mixed;boundary=xyz", "--xyz\r\nContent-Type: appl", 400, false, false},
		"most parts":          {"multipart/mixed;boundary=xyz", parts(append([]string{sdpPart}, repeat("Content-Type: a/b\r\n\r\nx", maxParts-1)...)...), 0, true, false},
		"too many parts":      {"multipart/mixed;boundary=xyz", parts(append([]string{sdpPart}, repeat("Content-Type: a/b\r\n\r\nx", maxParts)...)...), 400, false, false},
		"another type":        {"application/isup", "x", 415, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			acc := newAcceptor()
			a := startAgent(t, acc, Trunk{Facts: wholePolicy()})
			d := newPeer(t).caller(a)
			d.seq++
			d.branch = newBranch()
			text := d.make("INVITE", d.seq, d.branch, tc.body, "Geolocation: <cid:a@b>")
			d.send(strings.Replace(text, "Content-Type: application/sdp", "Content-Type: "+tc.kind, 1))
			if tc.status != 0 {
				d.answer(tc.status, "INVITE")
				return
			}
			l := acc.next(t)
			if got := l.Info().Facts.Location; (got != nil) != tc.pidf || got != nil && got.PIDF != pidfText {
				t.Errorf("location %+v", got)
			}
			if err := l.Answer(ctx, bridge.Answer{Media: bridge.MediaPlan{Speech: bridge.PCMU, Ptime: bridge.DefaultPtime}}); err != nil {
				t.Fatal(err)
			}
			res := d.answer(200, "INVITE")
			d.learn(res)
			if tc.offer {
				d.ack("")
			} else {
				d.ack(offerSDP(1, 40000))
			}
		})
	}
}

func repeat(s string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = s
	}
	return out
}

// TestSessionID: both halves, on both sides, to the end.
func TestSessionID(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{Facts: wholePolicy()})
	d := newPeer(t).caller(a)
	d.invite(offerSDP(1, 40000), "Session-ID: "+strings.ToUpper(callerSession)+";remote="+nilSession)
	l := acc.next(t)
	if got := l.Info().Trace; got.ID != callerSession {
		t.Errorf("trace %+v", got)
	}
	facts := bridge.Facts{Session: calleeSession, Connected: "+12025550188", Charging: &bridge.Charging{ID: "i", Terminating: "t"}, Carried: map[string][]string{"Subject": {"s"}}}
	if err := l.Answer(ctx, bridge.Answer{Media: bridge.MediaPlan{Speech: bridge.PCMU, Ptime: bridge.DefaultPtime}, Facts: facts}); err != nil {
		t.Fatal(err)
	}
	res := d.answer(200, "INVITE")
	want := calleeSession + ";remote=" + callerSession
	if got := strings.Join(headerValues(res, "Session-ID"), "|"); got != want {
		t.Errorf("Session-ID %q of the 200, want %q", got, want)
	}
	facts.Session = ""
	if got := factsOf(res, testRules, []string{"Subject"}, ""); !reflect.DeepEqual(got, facts) {
		t.Errorf("facts of the 200: %+v", got)
	}
	d.learn(res)
	d.ack("")
	d.do("BYE", "", "Reason: Q.850;cause=16;location=U")
	if ev := event(t, l, bridge.Ended); ev.Cause.Location != bridge.PlaceUser {
		t.Errorf("cause %+v", ev.Cause)
	}
}

func TestSessionIDOfTheCalled(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	a := startAgent(t, newAcceptor(), Trunk{Peer: p.addr().String(), Facts: wholePolicy()})
	p.to = a.Addr()
	in := intent
	in.Trace = bridge.Trace{ID: callerSession}
	l, err := a.Dial(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	inv := p.request("INVITE")
	if got := strings.Join(headerValues(inv, "Session-ID"), "|"); got != callerSession+";remote="+nilSession {
		t.Errorf("Session-ID of the INVITE: %q", got)
	}
	p.respond(inv, 200, "OK", "a", offerSDP(1, 41000), "Session-ID: "+calleeSession+";remote="+callerSession,
		"P-Asserted-Identity: <sip:+12025550188@x>", "Privacy: id", "P-Charging-Vector: icid-value=i;term-ioi=t", "X-Account: 7", "X-Other: 8")
	ev := event(t, l, bridge.Answered)
	want := bridge.Facts{Session: calleeSession, Connected: "+12025550188", Privacy: []string{"id"}, Charging: &bridge.Charging{ID: "i", Terminating: "t"}, Carried: map[string][]string{"X-Account": {"7"}}}
	if !reflect.DeepEqual(ev.Facts, &want) {
		t.Errorf("facts %+v, want %+v", ev.Facts, want)
	}
	if err := l.End(ctx, bridge.Cause{Code: "normal", Q850: 16, Location: bridge.PlacePublicLocal}); err != nil {
		t.Fatal(err)
	}
	bye := p.request("BYE")
	if got := strings.Join(headerValues(bye, "Session-ID"), "|"); got != callerSession+";remote="+calleeSession {
		t.Errorf("Session-ID of the BYE: %q", got)
	}
	if got := strings.Join(headerValues(bye, "Reason"), "|"); !strings.HasPrefix(got, "Q.850;cause=16;location=LN;") {
		t.Errorf("Reason %q", got)
	}
	p.respond(bye, 200, "OK", "", "")
}

func TestReasonKeepsItsLocation(t *testing.T) {
	t.Parallel()
	r := parseReason([]string{`Q.850;cause=17;location=RLN;text="busy"`, "SIP;cause=486"})
	if c := r.ended(); c.Location != bridge.PlacePublicRemote || c.Q850 != 17 || c.Code != "busy" {
		t.Errorf("cause %+v", c)
	}
	if c := parseReason([]string{"Q.850;cause=16;location=LOC-6"}).cancelled(); c.Location != "" {
		t.Errorf("a location of national use became %q", c.Location)
	}
}

func TestCarryMistake(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Via", "contact", "IDENTITY", "v", "Content-Length", "X-A: b", ""} {
		if policy.CanCarry(name) {
			t.Errorf("%q can be carried", name)
		}
	}
	for _, name := range []string{"X-Account", "Subject", "P-Access-Network-Info", "User-to-User"} {
		if !policy.CanCarry(name) {
			t.Errorf("%q cannot be carried", name)
		}
	}
	_, err := New(Config{Listen: []string{"127.0.0.1:0"}, Trunks: []Trunk{{Name: "pbx", Peer: "127.0.0.1:5060", Facts: bridge.FactPolicy{Carry: []string{"Route"}}}}})
	if err == nil || !strings.Contains(err.Error(), "Route") {
		t.Errorf("a trunk that carries Route: %v", err)
	}
}

func FuzzContent(f *testing.F) {
	f.Add("multipart/mixed;boundary=xyz", "--xyz\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--xyz\r\nContent-Type: application/pidf+xml\r\n\r\n<a/>\r\n--xyz--\r\n")
	f.Add("application/pidf+xml", "<a/>")
	f.Add(`multipart/mixed;boundary="a;b"`, "--a;b--")
	f.Fuzz(func(t *testing.T, kind, body string) {
		if strings.ContainsAny(kind, "\r\n") {
			return
		}
		req := sipgo.NewRequest(sipgo.INVITE, sipgo.Uri{Host: "x"})
		req.AppendHeader(sipgo.NewHeader("Content-Type", kind))
		req.SetBody([]byte(body))
		pidf, refused := unpack(req)
		if refused != nil {
			return
		}
		packed, headers := pack(req.Body(), pidf, "id@host")
		again := sipgo.NewRequest(sipgo.INVITE, sipgo.Uri{Host: "x"})
		for _, h := range headers {
			again.AppendHeader(h)
		}
		again.SetBody(packed)
		got, refused := unpack(again)
		if refused != nil || got != pidf || string(again.Body()) != string(req.Body()) {
			t.Fatalf("%q and %q became %q and %q (%v)", req.Body(), pidf, again.Body(), got, refused)
		}
	})
}
