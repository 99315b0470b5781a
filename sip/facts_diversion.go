package sip

import (
	"strconv"
	"strings"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
)

// diversionReasons maps the reasons of Diversion (RFC 5806 section 3.2) to the
// causes of History-Info (RFC 7544 section 5, RFC 4458). Where several reasons
// share a cause, the first is what the cause means.
var diversionReasons = []struct {
	reason string
	cause  int
}{
	{"unknown", 404},
	{"user-busy", 486},
	{"no-answer", 408},
	{"unconditional", 302},
	{"deflection", 480},
	{"deflection", 487},
	{"unavailable", 503},
	{"time-of-day", 404},
	{"do-not-disturb", 404},
	{"follow-me", 404},
	{"out-of-service", 404},
	{"away", 404},
}

func diversionReason(cause int) string {
	for _, row := range diversionReasons {
		if row.cause == cause {
			return row.reason
		}
	}
	return diversionReasons[0].reason
}

func diversionCause(reason string) int {
	for _, row := range diversionReasons {
		if row.reason == reason {
			return row.cause
		}
	}
	return diversionReasons[0].cause
}

// diversionsOf tells who was called before, the latest first. Diversion has it
// in this very order; a message with both header fields means the same twice
// (RFC 7544 section 4).
func diversionsOf(msg sipgo.Message, r NumberRules) []bridge.Diversion {
	var out []bridge.Diversion
	for _, v := range listOf(msg, "Diversion") {
		p, params, ok := parseParty(v)
		if !ok {
			continue
		}
		d := bridge.Diversion{Reason: strings.ToLower(unquote(params.GetOr("reason", "")))}
		var err error
		if d.Number, err = r.numberOf(&p.uri); err != nil {
			continue
		}
		d.Counter, _ = strconv.Atoi(params.GetOr("counter", "0"))
		d.Privacy = params.Has("privacy") && !strings.EqualFold(unquote(params.GetOr("privacy", "")), "off")
		out = append(out, d)
	}
	if len(out) > 0 {
		return out
	}
	return historyOf(msg, r)
}

// historyEntry is one hi-entry (RFC 7044 section 5).
type historyEntry struct {
	party
	index   string
	cause   int // why the call came to this entry; 0 = it was not diverted
	private bool
}

// historyOf reads diversions from History-Info: an entry with a cause was
// reached because the one before it sent the call on.
func historyOf(msg sipgo.Message, r NumberRules) []bridge.Diversion {
	var entries []historyEntry
	for _, v := range listOf(msg, "History-Info") {
		p, params, ok := parseParty(v)
		if !ok {
			continue
		}
		e := historyEntry{party: p, index: params.GetOr("index", "")}
		e.cause, _ = strconv.Atoi(telParams(&p.uri)["cause"])
		for _, h := range p.uri.Headers {
			e.private = e.private || strings.EqualFold(h.K, "Privacy") && strings.Contains(unescape(h.V), "history")
		}
		entries = append(entries, e)
	}
	var out []bridge.Diversion
	for i := len(entries) - 1; i > 0; i-- {
		if entries[i].cause == 0 {
			continue
		}
		by := entries[i-1]
		for _, e := range entries[:i] { // the parent in the tree, where the indices say so
			if parent, _, ok := cutLast(entries[i].index, '.'); ok && e.index == parent {
				by = e
			}
		}
		n, err := r.numberOf(&by.uri)
		if err != nil {
			continue
		}
		out = append(out, bridge.Diversion{Number: n, Reason: diversionReason(entries[i].cause), Counter: 1, Privacy: by.private})
	}
	return out
}

func cutLast(s string, sep byte) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// diversionHeaders writes diversions for a trunk: as Diversion, or as
// History-Info where the trunk wants that. last is where the call goes now.
func diversionHeaders(all []bridge.Diversion, uri func(bridge.Diversion) string, last string, history bool) []sipgo.Header {
	if len(all) == 0 {
		return nil
	}
	if history {
		return []sipgo.Header{sipgo.NewHeader("History-Info", historyInfo(all, uri, last))}
	}
	var out []sipgo.Header
	for _, d := range all {
		v := "<" + uri(d) + ">"
		if d.Reason != "" {
			v += ";reason=" + d.Reason
		}
		if d.Counter > 0 {
			v += ";counter=" + strconv.Itoa(d.Counter)
		}
		if d.Privacy {
			v += ";privacy=full"
		}
		out = append(out, sipgo.NewHeader("Diversion", v))
	}
	return out
}

// historyInfo is a chain in the order of time: each who diverted, then the
// number called now (RFC 7544 section 6).
func historyInfo(all []bridge.Diversion, uri func(bridge.Diversion) string, last string) string {
	var entries []string
	index, cause := "1", 0
	add := func(u string, private bool) {
		parent := ""
		if cause != 0 {
			u += ";cause=" + strconv.Itoa(cause)
			parent, _, _ = cutLast(index, '.')
			parent = ";mp=" + parent
		}
		if private {
			u += "?Privacy=history"
		}
		entries = append(entries, "<"+u+">;index="+index+parent)
		index += ".1"
	}
	for i := len(all) - 1; i >= 0; i-- {
		add(uri(all[i]), all[i].Privacy)
		cause = diversionCause(all[i].Reason)
	}
	add(last, false)
	return strings.Join(entries, ", ")
}
