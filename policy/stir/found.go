package stir

import (
	"cmp"
	"context"
	"time"
)

// MaxPassports is how many PASSporTs of one call are looked at: each costs a
// signature.
const MaxPassports = 6

// Found is what all PASSporTs of a call say together.
type Found struct {
	Verdict  Verdict  // on the caller
	Passport string   // that proves the caller, or of which Verdict says why not; "" if there was none
	Others   []string // further ones that hold: of diversions, of priority, of the caller's name
	Dropped  int      // further ones that do not
	Name     string   // of the caller, if somebody signed it (RFC 9795)
	Priority []string // that somebody authorised (RFC 8443)
}

// VerifyAll judges the PASSporTs of a call, in full form and in any order. One
// that proves the caller is enough. If the call was diverted, it may be for
// whoever was called first, provided that diversions lead from there to c.To
// without a gap (RFC 8946 section 6).
func (v *Verifier) VerifyAll(ctx context.Context, passports []string, c Call, now time.Time) Found {
	found := Found{Verdict: Verdict{Status: Missing, Reason: "the call carries no PASSporT"}}
	var mains, divs, rest []*Passport
	for _, token := range passports[:min(len(passports), MaxPassports)] {
		p, err := ParsePassport(token)
		switch {
		case err != nil:
			found.failed(token, Verdict{Status: Invalid, Reason: err.Error()})
		case p.Extension() == "":
			mains = append(mains, p)
		case p.Extension() == pptDiv:
			divs = append(divs, p)
		default:
			rest = append(rest, p)
		}
	}
	calls := v.diversions(ctx, &found, divs, c, now)
	for _, p := range mains {
		if found.Verdict.Status == Valid {
			found.Dropped++
			continue
		}
		verdict := v.verify(ctx, p, p.among(calls), now)
		if verdict.Status != Valid {
			found.failed(p.token, verdict)
			continue
		}
		found.Verdict, found.Passport, found.Name = verdict, p.token, p.extra.name
	}
	for _, p := range rest {
		if v.verify(ctx, p, p.among(calls), now).Status != Valid {
			found.Dropped++
			continue
		}
		found.Others = append(found.Others, p.token)
		found.Priority = append(found.Priority, p.extra.priority...)
		if p.extra.name != "" {
			found.Name = p.extra.name
		}
	}
	if found.Verdict.Status != Valid {
		found.Others, found.Name, found.Priority = nil, "", nil // they say nothing about a caller nobody knows
	}
	return found
}

// VerifyIdentities is VerifyAll of the values of SIP's Identity header fields
// (RFC 8224 section 6.2). Those that cannot be read count as PASSporTs that do
// not hold.
func (v *Verifier) VerifyIdentities(ctx context.Context, headers []string, c Call, now time.Time) Found {
	var passports []string
	var unread error
	for _, header := range headers[:min(len(headers), MaxPassports)] {
		id, err := ParseIdentity(header)
		if err == nil && id.Compact() {
			err = ErrCompact
		}
		if err != nil {
			unread = cmp.Or(unread, err)
			continue
		}
		passports = append(passports, id.Passport)
	}
	found := v.VerifyAll(ctx, passports, c, now)
	if unread != nil && found.Verdict.Status == Missing {
		found.Verdict = Verdict{Status: Invalid, Reason: unread.Error()}
	}
	return found
}

// failed notes why the first PASSporT that should prove the caller does not.
func (f *Found) failed(token string, verdict Verdict) {
	if f.Verdict.Status == Missing {
		f.Verdict, f.Passport = verdict, token
	}
}

// diversions follows the call back from the number called now to the one called
// first, and returns it as it was at each step.
func (v *Verifier) diversions(ctx context.Context, found *Found, divs []*Passport, c Call, now time.Time) []Call {
	calls := []Call{c}
	for len(divs) > 0 {
		at := calls[len(calls)-1]
		next := -1
		for i, p := range divs {
			if p.Claims.To(at.To) && v.verify(ctx, p, at, now).Status == Valid {
				next = i
				break
			}
		}
		if next < 0 {
			break
		}
		found.Others = append(found.Others, divs[next].token)
		calls = append(calls, Call{From: c.From, To: divs[next].extra.diverted})
		divs = append(divs[:next:next], divs[next+1:]...)
	}
	found.Dropped += len(divs)
	return calls
}

// among picks the call that the PASSporT is for; the present one if none.
func (p *Passport) among(calls []Call) Call {
	for _, c := range calls {
		if p.Claims.To(c.To) {
			return c
		}
	}
	return calls[0]
}
