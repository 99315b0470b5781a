package sip

import (
	"slices"
	"strings"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/policy"
)

// What a provider says about a call stands in SIP all over the message: in
// parameters of URIs, in header fields of a dozen RFCs, in a part of the body.
// Here it becomes bridge.Facts, and those become SIP again. What is not read
// here does not cross the bridge, unless a trunk's configuration lists the
// header field by its name.

// factsOf reads an INVITE, or the answer to one. pidf is the location document
// that came in the body, "" if none did.
func factsOf(msg sipgo.Message, r NumberRules, carry []string, pidf string) bridge.Facts {
	f := bridge.Facts{
		Diversions: diversionsOf(msg, r),
		Priority:   listOf(msg, "Resource-Priority"),
		Location:   locationOf(msg, pidf),
		Languages:  languagesOf(msg),
		Privacy:    privacyOf(msg),
		Charging:   chargingOf(msg),
		Carried:    carriedOf(msg, carry),
	}
	asserted, hasAsserted := assertedOf(msg)
	if req, ok := msg.(*sipgo.Request); ok {
		readParams(&f, req, asserted.uri, r)
		f.CallerName = callerName(req, asserted.name)
	} else if hasAsserted { // of an answer: who answered (RFC 3325 section 9.1)
		f.Connected, _ = r.numberOf(&asserted.uri)
	}
	return f.Cleaned()
}

// readParams reads what URIs say beside their address.
func readParams(f *bridge.Facts, req *sipgo.Request, asserted sipgo.Uri, r NumberRules) {
	to := telParams(&req.Recipient)
	f.Carrier = carrierOf(to)
	_, dipped := to["npdi"]
	routing := bridge.Routing{Dipped: dipped}
	if rn := to["rn"]; rn != "" {
		if context := to["rn-context"]; strings.HasPrefix(context, "+") && !strings.HasPrefix(rn, "+") {
			rn = context + rn // RFC 4694 section 5.2
		}
		routing.Number, _ = r.Read(rn)
	}
	if routing != (bridge.Routing{}) {
		f.Routing = &routing
	}
	var contact, from map[string]string
	if c := req.Contact(); c != nil {
		contact = telParams(&c.Address)
	}
	if h := req.From(); h != nil {
		from = telParams(&h.Address)
	}
	caller := telParams(&asserted)
	first := func(names ...string) string {
		for _, where := range []map[string]string{caller, from, contact} {
			for _, name := range names {
				if v := where[name]; v != "" {
					return v
				}
			}
		}
		return ""
	}
	switch { // RFC 4904 section 5: the originating trunk group is named in Contact
	case contact["tgrp"] != "":
		f.TrunkGroup = &bridge.TrunkGroup{Name: contact["tgrp"], Context: contact["trunk-context"]}
	case first("otg") != "":
		f.TrunkGroup = &bridge.TrunkGroup{Name: first("otg")}
	}
	f.Category = strings.ToLower(first("cpc"))
	if f.Line = first("isup-oli", "oli"); len(f.Line) == 1 {
		f.Line = "0" + f.Line
	}
}

// telParams are the parameters of a telephone number, whichever way they are
// written: behind the number in a tel URI or in the user part of a SIP URI (RFC
// 3261 section 19.1.6), or, as many do, behind the host.
func telParams(u *sipgo.Uri) map[string]string {
	out := map[string]string{}
	user := unescape(u.User)
	if u.Scheme == "tel" {
		user = unescape(u.Raw())
	}
	for _, kv := range u.UriParams {
		out[strings.ToLower(kv.K)] = unescape(kv.V)
	}
	_, params, _ := strings.Cut(user, ";")
	for p := range strings.SplitSeq(params, ";") {
		if name, value, _ := strings.Cut(p, "="); name != "" {
			out[strings.ToLower(name)] = unquote(value)
		}
	}
	return out
}

// carrierOf is cic in its global form (RFC 4694 section 4).
func carrierOf(p map[string]string) string {
	cic := p["cic"]
	if context := p["cic-context"]; strings.HasPrefix(context, "+") && cic != "" && !strings.HasPrefix(cic, "+") {
		cic = context + "-" + cic
	}
	return cic
}

// party is an address with its display name.
type party struct {
	uri  sipgo.Uri
	name string
}

func parseParty(v string) (party, sipgo.HeaderParams, bool) {
	var p party
	var params sipgo.HeaderParams
	name, err := sipgo.ParseAddressValue(v, &p.uri, &params)
	p.name = plainName(name)
	return p, params, err == nil
}

// assertedOf is the first asserted identity (RFC 3325 section 9.1), else the one
// that a PBX prefers to be asserted (section 9.2): we are who asserts it.
func assertedOf(msg sipgo.Message) (party, bool) {
	for _, v := range identitiesOf(msg) {
		if p, _, ok := parseParty(v); ok {
			return p, true
		}
	}
	return party{}, false
}

func identitiesOf(msg sipgo.Message) []string {
	if asserted := listOf(msg, "P-Asserted-Identity"); len(asserted) > 0 {
		return asserted
	}
	return listOf(msg, "P-Preferred-Identity")
}

// callerName is the name the network asserts, else the one the caller shows.
func callerName(req *sipgo.Request, asserted string) string {
	if asserted != "" {
		return asserted
	}
	from := req.From()
	if from == nil || isAnonymous(&from.Address) {
		return ""
	}
	return plainName(from.DisplayName)
}

// plainName is a display name without its quotes and escapes. The parser has
// taken the quotes off names that it knew for such.
func plainName(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > 1 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	return strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(s)
}

func isAnonymous(u *sipgo.Uri) bool {
	return strings.EqualFold(u.User, "anonymous") || strings.EqualFold(u.Host, "anonymous.invalid")
}

// listOf are the members of a header field that is a list.
func listOf(msg sipgo.Message, name string) []string {
	var out []string
	for _, v := range headerValues(msg, name) {
		for _, one := range splitList(v) {
			if one != "" {
				out = append(out, one)
			}
		}
	}
	return out
}

// privacyOf are the caller's wishes (RFC 3323 section 4.2).
func privacyOf(msg sipgo.Message) []string {
	var out []string
	for _, v := range headerValues(msg, "Privacy") {
		for p := range strings.FieldsFuncSeq(v, func(c rune) bool { return c == ';' || c == ',' || c == ' ' }) {
			if p = strings.ToLower(p); p != "none" && !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out
}

// languagesOf are the languages of Accept-Language, best first.
func languagesOf(msg sipgo.Message) []string {
	type ranked struct {
		tag string
		q   string
	}
	var all []ranked
	for _, v := range listOf(msg, "Accept-Language") {
		tag, params, _ := strings.Cut(v, ";")
		q := "1"
		if name, value, ok := strings.Cut(strings.TrimSpace(params), "="); ok && strings.EqualFold(strings.TrimSpace(name), "q") {
			q = strings.TrimSpace(value)
		}
		if tag = strings.TrimSpace(tag); tag != "" && tag != "*" && strings.Trim(q, "0.") != "" {
			all = append(all, ranked{tag, q})
		}
	}
	// A quality has at most three digits behind the point, so that its text is
	// in its order.
	slices.SortStableFunc(all, func(a, b ranked) int { return strings.Compare(b.q, a.q) })
	var out []string
	for _, l := range all {
		out = append(out, l.tag)
	}
	return out
}

// chargingOf reads P-Charging-Vector (RFC 7315 section 4.6).
func chargingOf(msg sipgo.Message) *bridge.Charging {
	var c bridge.Charging
	for _, v := range headerValues(msg, "P-Charging-Vector") {
		for _, p := range splitOutside(v, ';') {
			name, value, _ := strings.Cut(p, "=")
			value = unquote(strings.TrimSpace(value))
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "icid-value":
				c.ID = value
			case "orig-ioi":
				c.Originating = value
			case "term-ioi":
				c.Terminating = value
			}
		}
	}
	if c.ID == "" {
		return nil
	}
	return &c
}

// carriedOf takes the header fields that the trunk's configuration lists.
func carriedOf(msg sipgo.Message, names []string) map[string][]string {
	var out map[string][]string
	for _, name := range names {
		if values := headerValues(msg, name); len(values) > 0 && policy.CanCarry(name) {
			if out == nil {
				out = map[string][]string{}
			}
			out[name] = values
		}
	}
	return out
}

// withheldOf finds who calls, and whether that may be shown: the asserted or
// preferred identity, which trunks vouch for (RFC 3325), else From.
func (r NumberRules) withheldOf(req *sipgo.Request) (n policy.Number, withheld bool, err error) {
	from := &req.From().Address
	withheld = isAnonymous(from) || (bridge.Facts{Privacy: privacyOf(req)}).Anonymous()
	for _, v := range identitiesOf(req) {
		if p, _, ok := parseParty(v); ok {
			if n, err := r.numberOf(&p.uri); err == nil && !isAnonymous(&p.uri) {
				return n, withheld, nil
			}
		}
	}
	if isAnonymous(from) {
		return "", true, nil
	}
	n, err = r.numberOf(from)
	return n, withheld, err
}

// callerOf is the caller as the trunk's policy has it. A caller who wants not to
// be shown is known to us all the same, or stood for by the trunk's own number:
// no call crosses without a caller somebody can be asked about (RFC 5079 for
// those that do not).
func (t *trunk) callerOf(req *sipgo.Request) (n policy.Number, privacy []string, err error) {
	n, withheld, err := t.Numbers.withheldOf(req)
	privacy = privacyOf(req)
	switch {
	case withheld && !t.AllowAnonymous:
		return "", nil, bridge.CauseAnonymous.With("trunk %q does not take anonymous calls (trunks.%s.sip: anonymous: allow)", t.Name, t.Name)
	case err != nil:
		return "", nil, bridge.Cause{Code: "caller-forbidden"}.With("calling number of a call from trunk %q: %v", t.Name, err)
	case withheld && n == "" && t.Number == "":
		return "", nil, bridge.CauseAnonymous.With("a call from trunk %q tells no calling number, and none stands for it (trunks.%s.sip: number)", t.Name, t.Name)
	case withheld && n == "":
		n = t.Number
	}
	if withheld && !(bridge.Facts{Privacy: privacy}).Anonymous() {
		privacy = append(privacy, "id")
	}
	// What cannot cross would have the other side refuse the call.
	return n, bridge.Facts{Privacy: privacy}.Cleaned().Privacy, nil
}

// uncallable is why a Request-URI leads nowhere: its number lacks digits, or it
// is an address that nobody has here (RFC 3261 section 8.2.2.1).
func (t *trunk) uncallable(u *sipgo.Uri, err error) bridge.Cause {
	number, _ := splitTelephoneSubscriber(u.User)
	if number == "" || isDigits(strings.TrimPrefix(number, "+")) {
		return bridge.Cause{Code: "number-incomplete"}.With("called number of a call from trunk %q: %v", t.Name, err)
	}
	return bridge.CauseNotFound.With("called address of a call from trunk %q: %v", t.Name, err)
}
