package sip

import (
	"fmt"
	"strings"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/policy"
)

// NumberRules says how a trunk writes numbers. The zero value takes and writes
// E.164 with a plus; everything else is a private number of Domain.
type NumberRules struct {
	CountryCode   string    // "1", "44": needed for National and for Write "national"
	International string    // prefix before a country code: "00", "011"
	National      string    // prefix before a national number: "0", "1"
	BareE164      bool      // digits without plus and prefix are E.164 already
	Domain        string    // of private numbers; default: the host of the trunk's peer
	Write         string    // how we write E.164: "plus" (default), "bare", "national"
	Rewrite       []Rewrite // of what the peer dials, before all else; the first that fits
}

// Rewrite replaces the beginning of a number as the peer dials it.
type Rewrite struct{ From, To string }

func (r NumberRules) check() error {
	for name, v := range map[string]string{"country code": r.CountryCode, "international prefix": r.International, "national prefix": r.National} {
		if strings.Trim(v, "0123456789") != "" {
			return fmt.Errorf("numbers: %s %q holds something that is not a digit", name, v)
		}
	}
	for _, w := range r.Rewrite {
		if w.From == "" || strings.Trim(w.From, "+*#0123456789") != "" || strings.Trim(w.To, "+0123456789") != "" {
			return fmt.Errorf("numbers: rewrite %q to %q: want the digits a number begins with, and those to put there", w.From, w.To)
		}
	}
	if r.CountryCode == "" && (r.National != "" || r.Write == "national") {
		return fmt.Errorf("numbers: national numbers need the country code")
	}
	switch r.Write {
	case "", "plus", "bare", "national":
		return nil
	}
	return fmt.Errorf("numbers: write %q is not known, use plus, bare or national", r.Write)
}

// Step is what one rule made of a number. Rule is the rule's key in the
// configuration, below the trunk's numbers; "" = no rule had to do with it.
type Step struct{ Rule, Result string }

// Read turns the user part of a SIP URI, or a tel URI's number, into a Number.
func (r NumberRules) Read(user string) (policy.Number, error) {
	n, _, err := r.Explain(user)
	return n, err
}

// Explain is Read that says which rules made what of the number.
func (r NumberRules) Explain(user string) (policy.Number, []Step, error) {
	digits, context := splitTelephoneSubscriber(user)
	var steps []Step
	for i, w := range r.Rewrite {
		if rest, ok := strings.CutPrefix(digits, w.From); ok && isDialled(digits) {
			digits = w.To + rest
			steps = append(steps, Step{fmt.Sprintf("rewrite[%d]", i), digits})
			break
		}
	}
	text, rule := r.normal(digits, context)
	n, err := policy.ParseNumber(text)
	switch {
	case digits == "":
		return "", steps, fmt.Errorf("%w: no user part", policy.ErrNumber)
	case err != nil:
		return "", steps, err
	}
	return n, append(steps, Step{rule, string(n)}), nil
}

// normal is digits as policy.ParseNumber reads them, and the rule that made them
// so.
func (r NumberRules) normal(digits, context string) (text, rule string) {
	switch {
	case strings.HasPrefix(digits, "+"):
		return digits, ""
	case strings.HasPrefix(context, "+") && isDigits(digits):
		return context + digits, "" // RFC 3966 section 5.1.5
	case context != "" && !strings.HasPrefix(context, "+"):
		return digits + "@" + context, ""
	case !isDigits(digits):
	case r.International != "" && strings.HasPrefix(digits, r.International):
		return "+" + digits[len(r.International):], "international"
	case r.National != "" && strings.HasPrefix(digits, r.National) && len(digits) > 6:
		return "+" + r.CountryCode + digits[len(r.National):], "national"
	case r.BareE164 && len(digits) > 6:
		return "+" + digits, "bare"
	}
	return digits + "@" + r.Domain, "domain"
}

// isDialled tells what is typed at a telephone from a name.
func isDialled(s string) bool { return s != "" && strings.Trim(s, "+*#0123456789") == "" }

// Format writes a number as the user part of a URI on this trunk.
func (r NumberRules) Format(n policy.Number) string {
	if !n.IsE164() {
		return escape(n.User())
	}
	switch r.Write {
	case "bare":
		return n.TN()
	case "national":
		if rest, ok := strings.CutPrefix(n.TN(), r.CountryCode); ok {
			return r.National + rest
		}
		if r.International != "" {
			return r.International + n.TN()
		}
	}
	return string(n)
}

// splitTelephoneSubscriber drops the parameters of RFC 3966 behind a number
// and its visual separators. A user part that is no number stays as it is.
func splitTelephoneSubscriber(user string) (number, context string) {
	user = unescape(user)
	number, params, _ := strings.Cut(user, ";")
	for p := range strings.SplitSeq(params, ";") {
		if name, value, _ := strings.Cut(p, "="); strings.EqualFold(name, "phone-context") {
			context = value
		}
	}
	bare := strings.Map(func(c rune) rune {
		if strings.ContainsRune("-.()", c) {
			return -1
		}
		return c
	}, number)
	if isDigits(strings.TrimPrefix(bare, "+")) {
		number = bare
	}
	return number, context
}

// unescape undoes %XX (RFC 3261 section 19.1.2); what is not a valid escape
// stays as it is.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := hexValue(s[i+1]), hexValue(s[i+2])
			if hi >= 0 && lo >= 0 {
				b.WriteByte(byte(hi<<4 | lo))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// escape writes a user part so that nothing in it is taken for syntax.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("-_.!~*'()&=+$,/", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func hexValue(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// numberOf reads a party from its URI: tel, sip or sips. An address whose user
// is no number keeps its own domain, unless that is just one of our hosts.
func (r NumberRules) numberOf(u *sipgo.Uri) (policy.Number, error) {
	switch u.Scheme {
	case "tel":
		return r.Read(u.Raw())
	case "", "sip", "sips":
		return r.Read(u.User)
	}
	return "", fmt.Errorf("%w: scheme %q", policy.ErrNumber, u.Scheme)
}
