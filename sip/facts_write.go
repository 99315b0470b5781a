package sip

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/policy"
)

// calledUser is the user part of the called number with what its trunk is told
// of portability and carrier (RFC 4694 section 4).
func calledUser(number string, f bridge.Facts) string {
	if f.Routing != nil {
		if f.Routing.Dipped {
			number += ";npdi"
		}
		if f.Routing.Number.IsE164() {
			number += ";rn=" + string(f.Routing.Number)
		}
	}
	if f.Carrier != "" {
		number += ";cic=" + escapeParam(f.Carrier)
	}
	return number
}

// callerUser is the same of the calling number: what kind of line it is.
func callerUser(number string, f bridge.Facts) string {
	if f.Category != "" {
		number += ";cpc=" + escapeParam(f.Category)
	}
	if f.Line != "" {
		number += ";isup-oli=" + f.Line
	}
	return number
}

// contactUser names the trunk group that the call came from (RFC 4904 section
// 5).
func contactUser(user string, f bridge.Facts) string {
	if g := f.TrunkGroup; g != nil && g.Context != "" {
		user += ";tgrp=" + escapeParam(g.Name) + ";trunk-context=" + escapeParam(g.Context)
	}
	return user
}

// escapeParam writes a parameter's value so that nothing in it is syntax.
func escapeParam(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("-_.!~*'()+", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// numberURI is a number as this trunk writes it, at our host.
func (a *Agent) numberURI(n policy.Number, t *trunk, user func(string, bridge.Facts) string, f bridge.Facts) string {
	u := sipgo.Uri{Scheme: "sip", User: t.Numbers.Format(n), Host: a.originOf(t).host}
	if user != nil {
		u.User = user(u.User, f)
	}
	if n.IsE164() {
		u.UriParams.Add("user", "phone")
	}
	return u.String()
}

// callerHeaders say who calls. A caller who wants privacy is not shown in From
// (RFC 3323 section 4.1.1.3), and asserted only to a trunk that is trusted to
// keep it (RFC 3325 section 7).
func (a *Agent) callerHeaders(in bridge.Intent, t *trunk, f bridge.Facts) []sipgo.Header {
	private := in.Facts.Anonymous() || in.From == ""
	out := []sipgo.Header{a.fromHeader(in.From, t, f, private)}
	if private {
		words := in.Facts.Privacy
		if len(words) == 0 {
			words = []string{"id"}
		}
		out = append(out, sipgo.NewHeader("Privacy", strings.Join(words, ";")))
	} else if len(f.Privacy) > 0 {
		out = append(out, sipgo.NewHeader("Privacy", strings.Join(f.Privacy, ";")))
	}
	if in.From == "" || private && !t.Facts.Trusts() {
		return out
	}
	name := ""
	if f.CallerName != "" {
		name = quote(f.CallerName) + " "
	}
	return append(out, sipgo.NewHeader("P-Asserted-Identity", name+"<"+a.numberURI(in.From, t, callerUser, f)+">"))
}

// fromHeader names the caller, or hides it.
func (a *Agent) fromHeader(n policy.Number, t *trunk, f bridge.Facts, private bool) *sipgo.FromHeader {
	h := &sipgo.FromHeader{DisplayName: "Anonymous", Address: sipgo.Uri{Scheme: "sip", User: "anonymous", Host: "anonymous.invalid"}}
	if !private {
		quoted := quote(f.CallerName)
		h.DisplayName = quoted[1 : len(quoted)-1]
		h.Address = sipgo.Uri{Scheme: "sip", User: t.Numbers.Format(n), Host: a.originOf(t).host}
	}
	if g := f.TrunkGroup; g != nil && g.Context == "" {
		h.Address.UriParams.Add("otg", escapeParam(g.Name))
	}
	h.Params.Add("tag", newToken())
	return h
}

// factHeaders are the header fields of an INVITE that say the rest. id names
// the location document in the body.
func (a *Agent) factHeaders(in bridge.Intent, t *trunk, f bridge.Facts, id string) []sipgo.Header {
	var shown []bridge.Diversion
	for _, d := range f.Diversions {
		if !d.Privacy || t.Facts.Trusts() {
			shown = append(shown, d)
		}
	}
	uri := func(d bridge.Diversion) string { return a.numberURI(d.Number, t, nil, f) }
	out := diversionHeaders(shown, uri, a.numberURI(in.To, t, nil, f), t.HistoryInfo)
	if len(f.Priority) > 0 {
		out = append(out, sipgo.NewHeader("Resource-Priority", strings.Join(f.Priority, ", ")))
	}
	out = append(out, locationHeaders(f.Location, id)...)
	if len(f.Languages) > 0 {
		out = append(out, sipgo.NewHeader("Accept-Language", languageList(f.Languages)))
	}
	return append(out, commonHeaders(f)...)
}

// commonHeaders are those that an answer has as well.
func commonHeaders(f bridge.Facts) []sipgo.Header {
	var out []sipgo.Header
	if c := f.Charging; c != nil {
		v := "icid-value=" + quote(c.ID)
		if c.Originating != "" {
			v += ";orig-ioi=" + quote(c.Originating)
		}
		if c.Terminating != "" {
			v += ";term-ioi=" + quote(c.Terminating)
		}
		out = append(out, sipgo.NewHeader("P-Charging-Vector", v))
	}
	for _, name := range slices.Sorted(maps.Keys(f.Carried)) {
		for _, v := range f.Carried[name] {
			if policy.CanCarry(name) {
				out = append(out, sipgo.NewHeader(name, v))
			}
		}
	}
	return out
}

// languageList writes languages so that their order is seen: with qualities.
func languageList(tags []string) string {
	var out []string
	for i, tag := range tags {
		if q := 1000 - 50*i; i > 0 {
			tag += fmt.Sprintf(";q=0.%03d", q)
		}
		out = append(out, tag)
	}
	return strings.Join(out, ", ")
}

// answerHeaders are what a caller's trunk is told of the answer. Who answered
// and wants privacy is asserted only to a trunk that is trusted.
func (a *Agent) answerHeaders(t *trunk, all bridge.Facts) []sipgo.Header {
	f := t.Facts.Sendable(all)
	out := commonHeaders(f)
	if f.Connected == "" || all.Anonymous() && !t.Facts.Trusts() {
		return out
	}
	out = append(out, sipgo.NewHeader("P-Asserted-Identity", "<"+a.numberURI(f.Connected, t, nil, f)+">"))
	if all.Anonymous() {
		out = append(out, sipgo.NewHeader("Privacy", strings.Join(all.Privacy, ";")))
	}
	return out
}
