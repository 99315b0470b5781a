package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"riptide/bridge"
	"riptide/configs"
	"riptide/policy"
	"riptide/sip"
)

// numberRules is how a SIP peer writes numbers, as the SIP edge wants it.
func numberRules(t *configs.SIPTrunk) sip.NumberRules {
	n := t.Numbers
	rules := sip.NumberRules{
		CountryCode: n.Country, International: n.International, National: n.National,
		BareE164: n.Bare == "e164", Domain: n.Domain, Write: n.Write,
	}
	if rules.Domain == "" {
		rules.Domain = t.Peer.Host
	}
	for _, r := range n.Rewrite {
		rules.Rewrite = append(rules.Rewrite, sip.Rewrite{From: r.From, To: r.To})
	}
	return rules
}

// dialled is a number to try out: what would become of a call.
type dialled struct {
	trunk  string // that the call comes from
	number string // as the peer there dials it
	caller string // as the peer shows it; "" = one that it may show
}

// tryNumber says what each rule makes of a dialled number, which route takes the
// call, and how it is written there.
func tryNumber(w io.Writer, cfg *configs.Config, d dialled) error {
	from, ok := cfg.Trunk(d.trunk)
	if !ok {
		return fmt.Errorf("no trunk %q is configured; there are %s", d.trunk, trunkNames(cfg))
	}
	fmt.Fprintf(w, "a call from trunk %s to %s\n", from.Name, d.number)
	to, err := readNumber(w, "called", from, d.number)
	if err != nil {
		return refusedNumber(w, bridge.Cause{Code: "number-incomplete"}.With("%v", err))
	}
	calls, err := makePolicy(cfg)
	if err != nil {
		return err
	}
	caller, err := callerToTry(w, from, calls.Trunks[from.Name], d.caller)
	if err != nil {
		return refusedNumber(w, bridge.Cause{Code: "caller-forbidden"}.With("%v", err))
	}
	way, err := calls.Decide(policy.Request{Trunk: from.Name, From: caller, To: to, Hops: bridge.DefaultHops})
	var refusal *policy.Refusal
	switch {
	case errors.As(err, &refusal):
		return refusedNumber(w, bridge.Cause{Code: bridge.Code(refusal.Rule)}.With("%s", refusal.Text))
	case err != nil:
		return err
	}
	route := cfg.Routes[way.Route]
	fmt.Fprintf(w, "  route:  from %s to %s goes to trunk %s (routes[%d])\n", route.From, route.To, strings.Join(route.Trunk, ", then "), way.Route)
	if t, ok := cfg.Trunk(route.Via()); ok && t.SIP != nil {
		fmt.Fprintf(w, "  dialled there: %s (trunks.%s.sip.numbers.write: %s)\n", numberRules(t.SIP).Format(to), t.Name, t.SIP.Numbers.Write)
	} else {
		fmt.Fprintf(w, "  dialled there: %s\n", to)
	}
	return nil
}

// readNumber reads a number as its trunk writes it, and says how.
func readNumber(w io.Writer, what string, t configs.Trunk, text string) (policy.Number, error) {
	if t.SIP == nil {
		n, err := policy.ParseNumber(text)
		if err == nil {
			fmt.Fprintf(w, "  %s: %s\n", what, n)
		}
		return n, err
	}
	n, steps, err := numberRules(t.SIP).Explain(text)
	for _, s := range steps {
		rule := ""
		if s.Rule != "" {
			rule = fmt.Sprintf(" (trunks.%s.sip.numbers.%s)", t.Name, s.Rule)
		}
		fmt.Fprintf(w, "  %s: %s%s\n", what, s.Result, rule)
	}
	return n, err
}

// callerToTry is the caller's number: the one that is given, or any that the
// trunk may show.
func callerToTry(w io.Writer, t configs.Trunk, p policy.Trunk, text string) (policy.Number, error) {
	if text != "" {
		return readNumber(w, "caller", t, text)
	}
	if len(p.Callers.Allow) == 0 || p.Callers.Allow[0] == "*" {
		return anyCaller, nil
	}
	pattern := p.Callers.Allow[0]
	if start, _, ok := pattern.Block(); ok {
		return policy.ParseNumber("+" + start)
	}
	if head, ok := strings.CutSuffix(string(pattern), "*"); ok { // of a prefix
		return policy.ParseNumber(head + strings.Repeat("0", max(0, len(anyCaller)-len(head))))
	}
	return policy.ParseNumber(strings.Replace(string(pattern), "*@", "caller@", 1))
}

// anyCaller stands for a caller where any will do.
const anyCaller = policy.Number("+12025550100")

// refusedNumber says what a caller would hear.
func refusedNumber(w io.Writer, c bridge.Cause) error {
	status, phrase := c.SIPStatus()
	fmt.Fprintf(w, "  refused with %d %s (%s): %s\n", status, phrase, c.Code, c.Text)
	return cli.Exit("", 1)
}

func trunkNames(cfg *configs.Config) string {
	var names []string
	for _, t := range cfg.Trunks {
		names = append(names, t.Name)
	}
	return strings.Join(names, ", ")
}
