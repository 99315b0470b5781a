package bridge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"riptide/policy"
)

// Limits of facts. They are part of the protocol (docs/spec/baseline.md).
const (
	MaxFacts       = 8 << 10 // bytes of the whole, as JSON
	maxToken       = 64      // bytes of a word
	maxText        = 256     // bytes of a name, an address, an id
	maxURI         = 1 << 10
	maxDiversions  = 10
	maxPriorities  = 8
	maxLanguages   = 16
	maxPrivacies   = 8
	maxCarried     = 16  // header fields by name
	maxCarriedEach = 8   // values of one
	maxCarriedText = 512 // bytes of a value
)

// ErrFacts is wrapped by every error of Facts.Check.
var ErrFacts = errors.New("facts are not as they should be")

// factRow is what must be known of one member of Facts.
type factRow struct {
	name  Fact
	check func(*Facts) error
	clear func(*Facts)
}

var factTable = []factRow{
	{FactRouting, checkRouting, func(f *Facts) { f.Routing = nil }},
	{FactCarrier, checkCarrier, func(f *Facts) { f.Carrier = "" }},
	{FactTrunkGroup, checkTrunkGroup, func(f *Facts) { f.TrunkGroup = nil }},
	{FactCategory, func(f *Facts) error { return checkWord(f.Category) }, func(f *Facts) { f.Category = "" }},
	{FactLine, checkLine, func(f *Facts) { f.Line = "" }},
	{FactDiversions, checkDiversions, func(f *Facts) { f.Diversions = nil }},
	{FactPriority, checkPriority, func(f *Facts) { f.Priority = nil }},
	{FactLocation, checkLocation, func(f *Facts) { f.Location = nil }},
	{FactLanguages, func(f *Facts) error { return checkWords(f.Languages, maxLanguages) }, func(f *Facts) { f.Languages = nil }},
	{FactCallerName, func(f *Facts) error { return checkLineOfText(f.CallerName, maxText) }, func(f *Facts) { f.CallerName = "" }},
	{FactPrivacy, func(f *Facts) error { return checkWords(f.Privacy, maxPrivacies) }, func(f *Facts) { f.Privacy = nil }},
	{FactCharging, checkCharging, func(f *Facts) { f.Charging = nil }},
	{FactConnected, func(f *Facts) error { return checkNumber(f.Connected, true) }, func(f *Facts) { f.Connected = "" }},
	{"session", checkSession, func(f *Facts) { f.Session = "" }},
	{"carried", checkCarried, func(f *Facts) { f.Carried = nil }},
}

// KnownFact tells whether a configuration may name it.
func KnownFact(name Fact) bool {
	return name != "session" && name != "carried" &&
		slices.ContainsFunc(factTable, func(r factRow) bool { return r.name == name })
}

// FactNames are the names a configuration may use, in the order of the protocol.
func FactNames() []Fact {
	var names []Fact
	for _, r := range factTable {
		if KnownFact(r.name) {
			names = append(names, r.name)
		}
	}
	return names
}

// IsZero tells that nothing is said.
func (f Facts) IsZero() bool { return reflect.ValueOf(f).IsZero() }

// Check tells what is wrong with facts that came from a peer: too much, too
// long, or characters that could end a header field. Errors wrap ErrFacts and
// name the member.
func (f Facts) Check() error {
	for _, row := range factTable {
		if err := row.check(&f); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrFacts, row.name, err)
		}
	}
	if n := f.size(); n > MaxFacts {
		return fmt.Errorf("%w: %d bytes, at most %d are taken", ErrFacts, n, MaxFacts)
	}
	return nil
}

// Cleaned is what is left of facts when everything is dropped that Check would
// refuse: the call is worth more than what is said beside it.
func (f Facts) Cleaned() Facts {
	f.Privacy = cleanedPrivacy(f.Privacy)
	for _, row := range factTable {
		if row.check(&f) != nil {
			row.clear(&f)
		}
	}
	for _, name := range bulky {
		if f.size() <= MaxFacts {
			break
		}
		for _, row := range factTable {
			if row.name == name {
				row.clear(&f)
			}
		}
	}
	return f
}

// cleanedPrivacy drops the words that cannot be taken, one by one: a caller who
// wants not to be shown must not be shown because of what stands beside the
// wish. Where there are too many, a word that hides the caller is among those
// that stay.
func cleanedPrivacy(words []string) []string {
	if checkWords(words, maxPrivacies) == nil {
		return words
	}
	var out []string
	for _, w := range words {
		switch {
		case w == "" || checkWord(w) != nil:
		case len(out) < maxPrivacies:
			out = append(out, w)
		case (Facts{Privacy: []string{w}}).Anonymous() && !(Facts{Privacy: out}).Anonymous():
			out[maxPrivacies-1] = w
		}
	}
	return out
}

// bulky are the facts that can be large, in the order in which they are given
// up; without them the rest is below MaxFacts.
var bulky = []Fact{"carried", FactLocation, FactDiversions, FactCharging, FactTrunkGroup, FactCallerName}

func (f Facts) size() int {
	if f.IsZero() {
		return 0
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // the shortest form that JSON allows
	_ = enc.Encode(f)        // strings, numbers and booleans: it cannot fail
	return b.Len() - 1       // the new line
}

// only keeps the facts that are named, and the header fields that are carried.
func (f Facts) only(names []Fact, carry []string) Facts {
	for _, row := range factTable {
		if row.name != "session" && row.name != "carried" && !slices.Contains(names, row.name) {
			row.clear(&f)
		}
	}
	carried := map[string][]string{}
	for name, values := range f.Carried {
		if slices.ContainsFunc(carry, func(c string) bool { return strings.EqualFold(c, name) }) {
			carried[name] = values
		}
	}
	if f.Carried = carried; len(carried) == 0 {
		f.Carried = nil
	}
	return f
}

var (
	errChars = errors.New("holds characters that have no place there")
	errLong  = errors.New("is too long")
	errMany  = errors.New("has too many members")
	errEmpty = errors.New("says nothing")
)

func checkRouting(f *Facts) error {
	if f.Routing == nil {
		return nil
	}
	if !f.Routing.Dipped && f.Routing.Number == "" {
		return errEmpty
	}
	return checkNumber(f.Routing.Number, true)
}

func checkCarrier(f *Facts) error {
	digits := strings.Replace(strings.TrimPrefix(f.Carrier, "+"), "-", "", 1)
	if strings.Trim(digits, "0123456789abcdefABCDEF") != "" {
		return errChars
	}
	return checkWord(f.Carrier)
}

func checkTrunkGroup(f *Facts) error {
	if f.TrunkGroup == nil {
		return nil
	}
	if f.TrunkGroup.Name == "" {
		return errEmpty
	}
	return errors.Join(checkWord(f.TrunkGroup.Name), checkLineOfText(f.TrunkGroup.Context, maxText), checkNoSpace(f.TrunkGroup.Context))
}

func checkLine(f *Facts) error {
	if f.Line != "" && (len(f.Line) != 2 || strings.Trim(f.Line, "0123456789") != "") {
		return errors.New("is not two digits")
	}
	return nil
}

func checkDiversions(f *Facts) error {
	if len(f.Diversions) > maxDiversions {
		return errMany
	}
	for _, d := range f.Diversions {
		if err := errors.Join(checkNumber(d.Number, false), checkWord(d.Reason)); err != nil {
			return err
		}
		if d.Counter < 0 || d.Counter > 99 {
			return errors.New("counter is not 0 to 99") // RFC 5806 section 3.2: 1*2DIGIT
		}
	}
	return nil
}

func checkPriority(f *Facts) error {
	for _, p := range f.Priority {
		if namespace, value, ok := strings.Cut(p, "."); !ok || namespace == "" || value == "" {
			return errors.New("is not namespace.value")
		}
	}
	return checkWords(f.Priority, maxPriorities)
}

func checkLocation(f *Facts) error {
	l := f.Location
	if l == nil {
		return nil
	}
	if l.URI == "" && l.PIDF == "" {
		return errEmpty
	}
	if !utf8.ValidString(l.PIDF) || strings.ContainsFunc(l.PIDF, func(r rune) bool {
		return unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t'
	}) {
		return errChars
	}
	if strings.ContainsAny(l.URI, `<>"`) {
		return errChars
	}
	return errors.Join(checkLineOfText(l.URI, maxURI), checkNoSpace(l.URI))
}

func checkCharging(f *Facts) error {
	c := f.Charging
	if c == nil {
		return nil
	}
	if c.ID == "" {
		return errEmpty
	}
	return errors.Join(checkLineOfText(c.ID, maxText), checkLineOfText(c.Originating, maxText), checkLineOfText(c.Terminating, maxText))
}

func checkSession(f *Facts) error {
	if f.Session == "" || hexID(f.Session, 32) {
		return nil
	}
	return errors.New("is not 32 lower-case hexadecimal digits")
}

func checkCarried(f *Facts) error {
	if len(f.Carried) > maxCarried {
		return errMany
	}
	for _, name := range slices.Sorted(maps.Keys(f.Carried)) {
		values := f.Carried[name]
		if name == "" || len(values) == 0 || len(values) > maxCarriedEach {
			return errMany
		}
		if err := checkWord(name); err != nil {
			return err
		}
		for _, v := range values {
			if err := checkLineOfText(v, maxCarriedText); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkWords(words []string, limit int) error {
	if len(words) > limit {
		return errMany
	}
	for _, w := range words {
		if w == "" {
			return errEmpty
		}
		if err := checkWord(w); err != nil {
			return err
		}
	}
	return nil
}

// checkWord takes a token of RFC 3261 section 25.1, or nothing.
func checkWord(s string) error {
	if len(s) > maxToken {
		return errLong
	}
	for i := range len(s) {
		c := s[i]
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("-.!%*_+`'~", c) >= 0 {
			continue
		}
		return errChars
	}
	return nil
}

// checkLineOfText takes text without control characters, whatever it says.
func checkLineOfText(s string, limit int) error {
	if len(s) > limit {
		return errLong
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return errChars
	}
	return nil
}

func checkNoSpace(s string) error {
	if strings.ContainsFunc(s, unicode.IsSpace) {
		return errChars
	}
	return nil
}

func checkNumber(n policy.Number, mayLack bool) error {
	if n == "" && mayLack {
		return nil
	}
	if got, err := policy.ParseNumber(string(n)); err != nil || got != n {
		return errors.New("is neither an E.164 number with its plus nor number@domain")
	}
	return nil
}
