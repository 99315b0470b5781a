package bridge

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"riptide/policy"
)

// everyFact says everything there is to say.
func everyFact() Facts {
	return Facts{
		Routing:    &Routing{Number: "+12025550199", Dipped: true},
		Carrier:    "+1-0288",
		TrunkGroup: &TrunkGroup{Name: "tg-7", Context: "carrier.example"},
		Category:   "payphone",
		Line:       "27",
		Diversions: []Diversion{{Number: "+12025550111", Reason: "no-answer", Counter: 2, Privacy: true}, {Number: "100@pbx.example", Reason: "unconditional"}},
		Priority:   []string{"ets.0", "wps.3"},
		Location:   &Location{URI: "https://lis.example/1", PIDF: "<presence>\r\n</presence>", Routing: true},
		Languages:  []string{"de-AT", "en"},
		CallerName: `Jörg "J" O'Neil <x>`,
		Privacy:    []string{"id"},
		Charging:   &Charging{ID: "icid-1", Originating: "home1.example", Terminating: "home2.example"},
		Connected:  "+13035550188",
		Session:    strings.Repeat("ab", 16),
		Carried:    map[string][]string{"X-Account": {"17", "18"}},
	}
}

func TestFactsCheck(t *testing.T) {
	ok := map[string]func(*Facts){
		"nothing":         func(f *Facts) { *f = Facts{} },
		"everything":      func(*Facts) {},
		"longest word":    func(f *Facts) { f.Category = strings.Repeat("x", maxToken) },
		"longest name":    func(f *Facts) { f.CallerName = strings.Repeat("x", maxText) },
		"most diversions": func(f *Facts) { f.Diversions = make10(maxDiversions) },
		"longest URI":     func(f *Facts) { f.Location = &Location{URI: strings.Repeat("u", maxURI)} },
		"most carried":    func(f *Facts) { f.Carried = carried(maxCarried, 1, 4) },
		"npdi alone":      func(f *Facts) { f.Routing = &Routing{Dipped: true} },
		"largest": func(f *Facts) {
			*f = Facts{Location: &Location{PIDF: "x"}}
			f.Location.PIDF = strings.Repeat("x", 1+MaxFacts-f.size())
		},
	}
	for name, change := range ok {
		f := everyFact()
		change(&f)
		if err := f.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := f.Cleaned(); !reflect.DeepEqual(got, f) {
			t.Errorf("%s: cleaned to %+v", name, got)
		}
	}
	bad := map[string]func(*Facts){
		"routing":      func(f *Facts) { f.Routing = &Routing{Number: "12025550199"} },
		"routing 2":    func(f *Facts) { f.Routing = &Routing{} },
		"carrier":      func(f *Facts) { f.Carrier = "+1-0288;x=1" },
		"trunkGroup":   func(f *Facts) { f.TrunkGroup = &TrunkGroup{Name: "a b"} },
		"category":     func(f *Facts) { f.Category = strings.Repeat("x", maxToken+1) },
		"line":         func(f *Facts) { f.Line = "270" },
		"diversions":   func(f *Facts) { f.Diversions = make10(maxDiversions + 1) },
		"priority":     func(f *Facts) { f.Priority = []string{"ets"} },
		"location":     func(f *Facts) { f.Location.URI = "https://x/>\"" },
		"location 2":   func(f *Facts) { f.Location.URI = strings.Repeat("u", maxURI+1) },
		"location 3":   func(f *Facts) { f.Location.PIDF = "<a>\x00</a>" },
		"languages":    func(f *Facts) { f.Languages = []string{"en\r\nX: y"} },
		"callerName":   func(f *Facts) { f.CallerName = "Eve\r\nVia: evil" },
		"callerName 2": func(f *Facts) { f.CallerName = strings.Repeat("x", maxText+1) },
		"privacy":      func(f *Facts) { f.Privacy = []string{"id;x"} },
		"charging":     func(f *Facts) { f.Charging.ID = "" },
		"connected":    func(f *Facts) { f.Connected = "nobody" },
		"session":      func(f *Facts) { f.Session = strings.Repeat("0", 32) },
		"carried":      func(f *Facts) { f.Carried = carried(maxCarried+1, 1, 4) },
		"carried 2":    func(f *Facts) { f.Carried = carried(1, maxCarriedEach+1, 4) },
		"carried 3":    func(f *Facts) { f.Carried = carried(1, 1, maxCarriedText+1) },
		"carried 4":    func(f *Facts) { f.Carried = map[string][]string{"X-A": {"a\nB: c"}} },
		"carried 5":    func(f *Facts) { f.Carried = map[string][]string{"X-A: b\r\nC": {"d"}} },
		"bytes": func(f *Facts) {
			*f = Facts{Location: &Location{PIDF: "x"}}
			f.Location.PIDF = strings.Repeat("x", 2+MaxFacts-f.size())
		},
	}
	for name, change := range bad {
		f := everyFact()
		change(&f)
		err := f.Check()
		if !errors.Is(err, ErrFacts) || !strings.Contains(err.Error(), strings.Split(name, " ")[0]) {
			t.Errorf("%s: %v", name, err)
		}
		clean := f.Cleaned()
		if err := clean.Check(); err != nil {
			t.Errorf("%s: not clean after cleaning: %v", name, err)
		}
		if name != "bytes" && (clean.Line == "" && name != "line" || clean.Session == "" && name != "session") {
			t.Errorf("%s: cleaning took innocent facts too: %+v", name, clean)
		}
	}
}

func make10(n int) []Diversion {
	out := make([]Diversion, n)
	for i := range out {
		out[i].Number = policy.Number("+12025550100")
	}
	return out
}

func carried(names, values, length int) map[string][]string {
	out := map[string][]string{}
	for i := range names {
		for range values {
			name := "X-" + string(rune('A'+i))
			out[name] = append(out[name], strings.Repeat("v", length))
		}
	}
	return out
}

func TestFactPolicy(t *testing.T) {
	all := everyFact()
	if got := (FactPolicy{}).Accepted(all); !reflect.DeepEqual(got, Facts{Privacy: all.Privacy, Session: all.Session}) {
		t.Errorf("a policy that accepts nothing took %+v", got)
	}
	if got := (FactPolicy{}).Sendable(all); !reflect.DeepEqual(got, Facts{Session: all.Session}) {
		t.Errorf("a policy that sends nothing sent %+v", got)
	}
	whole := FactPolicy{Accept: FactNames(), Send: FactNames(), Carry: []string{"x-account"}}
	if got := whole.Accepted(all); !reflect.DeepEqual(got, all) {
		t.Errorf("accepted %+v of %+v", got, all)
	}
	if got := whole.Sendable(all); !reflect.DeepEqual(got, all) {
		t.Errorf("sent %+v of %+v", got, all)
	}
	for _, name := range FactNames() {
		got := FactPolicy{Send: []Fact{name}}.Sendable(all)
		got.Session = ""
		if text, _ := json.Marshal(got); !strings.HasPrefix(string(text), `{"`+string(name)+`":`) || strings.Count(string(text), `":`) > 8 {
			t.Errorf("with %s alone went %s", name, text)
		}
	}
	for _, name := range DefaultFacts() {
		if !KnownFact(name) {
			t.Errorf("the default %q is no fact", name)
		}
	}
	if whole.Sendable(all); len(all.Carried) != 1 {
		t.Error("filtering changed what it was given")
	}
}

func TestFactsAnonymous(t *testing.T) {
	for want, words := range map[bool][][]string{
		true:  {{"id"}, {"critical", "user"}, {"header"}},
		false: {nil, {"none"}, {"session"}, {"critical"}},
	} {
		for _, w := range words {
			if (Facts{Privacy: w}).Anonymous() != want {
				t.Errorf("%v: not %v", w, want)
			}
		}
	}
}

func FuzzFacts(f *testing.F) {
	text, err := json.Marshal(everyFact())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"carried":{"X":["a\r\nVia: b"]},"location":{"pidf":"\u0000"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var in Facts
		if json.Unmarshal(b, &in) != nil {
			return
		}
		clean := in.Cleaned()
		if err := clean.Check(); err != nil {
			t.Fatalf("cleaned facts fail: %v", err)
		}
		if in.Check() == nil && !reflect.DeepEqual(in, clean) {
			t.Fatalf("good facts were cleaned: %+v, %+v", in, clean)
		}
		for _, v := range append(append([]string{clean.CallerName, clean.Carrier, clean.Category}, clean.Languages...), clean.Privacy...) {
			if strings.ContainsAny(v, "\r\n") {
				t.Fatalf("line break in %q", v)
			}
		}
	})
}

// TestPrivacySurvivesRubbish: no spelling, and nothing beside it, undoes a
// caller's wish not to be shown.
func TestPrivacySurvivesRubbish(t *testing.T) {
	for name, words := range map[string][]string{
		"capitals":      {"ID"},
		"an empty word": {"id", ""},
		"bad bytes":     {"x\r\ny", "user"},
		"a long word":   {strings.Repeat("x", maxToken+1), "header"},
		"too many":      {"a", "b", "c", "d", "e", "f", "g", "h", "Id"},
	} {
		got := Facts{Privacy: words}.Cleaned()
		if !got.Anonymous() {
			t.Errorf("%s: %q are left of %q", name, got.Privacy, words)
		}
		if err := got.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
