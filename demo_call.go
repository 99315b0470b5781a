package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"riptide/bridge/bridgetest"
	"riptide/policy"
	"riptide/policy/stir"
)

// Numbers of the calls that --call places.
const (
	numberOffice = "+12025550100"
	numberTelco  = "+12025550199"
)

// number is a constant as a policy.Number.
func number(s string) policy.Number { return policy.Number(s) }

// demoResult is one row of the table.
type demoResult struct {
	direction string
	caller    bridgetest.Heard
	callee    *bridgetest.Heard // nil: a real peer answered, whose account we do not have
	calleeHz  float64
	callerHz  float64
	err       error
}

// callBothWays places one call from either end and prints what came of them. It
// fails if anything was not as it should be.
func (d *demo) callBothWays(ctx context.Context) error {
	var results []demoResult
	for _, way := range []struct {
		name         string
		from, to     *telephone
		trunk        string
		caller, dest string
	}{
		{"office → telco", d.pbx, d.carrier, d.office.Name, numberOffice, numberTelco},
		{"telco → office", d.carrier, d.pbx, d.telco.Name, numberTelco, numberOffice},
	} {
		if way.from == nil {
			fmt.Fprintf(d.out, "\n%s: the caller is a real peer; place this call from there.\n", way.name)
			continue
		}
		fmt.Fprintf(d.out, "\nCalling %s, from %s to %s …", way.name, way.caller, way.dest)
		r := demoResult{direction: way.name, callerHz: way.from.hz}
		r.caller, r.err = way.from.call(ctx, way.trunk, way.caller, way.dest)
		if r.err == nil && way.to != nil {
			r.calleeHz = way.to.hz
			r.callee, r.err = way.to.account(ctx)
		}
		results = append(results, r)
	}
	fmt.Fprint(d.out, "\n\n")
	return d.table(results)
}

// account waits for what the answering end has to say about its last call.
func (t *telephone) account(ctx context.Context) (*bridgetest.Heard, error) {
	select {
	case h := <-t.heard:
		return &h, nil
	case <-time.After(10 * time.Second):
		return nil, fmt.Errorf("the answering telephone never saw the call end")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// table prints the results, and fails if any is bad.
func (d *demo) table(results []demoResult) error {
	w := tabwriter.NewWriter(d.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DIRECTION\tSET-UP\tEND\tSENT\tRECEIVED\tLOST\tHEARD\tCALLER IDENTITY")
	bad := 0
	for _, r := range results {
		if r.err != nil {
			bad++
			fmt.Fprintf(w, "%s\tfailed: %v\n", r.direction, r.err)
			continue
		}
		ok := r.row(w, "caller", &r.caller, r.calleeHz, "")
		if r.callee != nil {
			ok = r.row(w, "callee", r.callee, r.callerHz, identityWord(r.callee)) && ok
			ok = ok && r.callee.Info.Identity.Verdict.Status == stir.Valid
		}
		if !ok {
			bad++
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if bad > 0 || len(results) == 0 {
		return fmt.Errorf("%d of %d calls were not as they should be\noffice log:\n%s\ntelco log:\n%s",
			bad, len(results), d.node("office").lastLog(), d.node("telco").lastLog())
	}
	fmt.Fprintln(d.out, "\nBoth ends heard each other in every call, over HTTP/3, from a verified caller.")
	return nil
}

// row prints one end of a call and tells whether it was good. wantHz 0 means
// that a real peer talks there: any sound will do.
func (r demoResult) row(w *tabwriter.Writer, end string, h *bridgetest.Heard, wantHz float64, identity string) bool {
	direction, setUp := "", ""
	if end == "caller" {
		direction, setUp = r.direction, h.SetUp.Round(time.Millisecond).String()
	}
	heard := h.Tone.Is(wantHz)
	word := fmt.Sprintf("yes, %.0f Hz, %.0f dB over the rest", h.Tone.Hz, h.Tone.OverRest)
	if wantHz == 0 {
		heard = h.Media.Received > 0
		word = fmt.Sprintf("%d packets", h.Media.Received)
	}
	if !heard {
		word = fmt.Sprintf("NO (%.0f Hz, %.0f dB over the rest)", h.Tone.Hz, h.Tone.OverRest)
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", direction, setUp, end, h.Media.Sent, h.Media.Received, h.Media.Lost, word, identity)
	return heard
}

func identityWord(h *bridgetest.Heard) string {
	v := h.Info.Identity.Verdict
	if v.Status != stir.Valid {
		return fmt.Sprintf("NOT VERIFIED: %s %s", v.Status, v.Reason)
	}
	return fmt.Sprintf("verified, attestation %s, signed by %s", v.Attestation, v.Signer)
}
