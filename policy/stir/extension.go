package stir

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4/json"

	"riptide/policy"
)

// PASSporT extensions that say something beside who is calling. They come
// along with the PASSporT that proves the caller, and prove nothing alone.
const (
	pptDiv = "div" // RFC 8946: who was called before
	pptRPH = "rph" // RFC 8443: the call's priority was authorised
	pptRCD = "rcd" // RFC 9795: the caller's name
)

var ppts = []string{pptShaken, pptDiv, pptRPH, pptRCD}

// extra are the claims of extensions.
type extra struct {
	diverted policy.Number // div
	priority []string      // rph: "ets.0"
	name     string        // rcd; any PASSporT may have one (RFC 9795 section 7)
}

// Extension is the PASSporT's ppt if it is one that accompanies another, ""
// for a PASSporT that proves the caller.
func (p *Passport) Extension() string {
	if p.Header.PPT == pptShaken {
		return ""
	}
	return p.Header.PPT
}

// Limits of extension claims.
const (
	maxPriorities = 8
	maxCallerName = 256 // bytes
)

func (p *Passport) parseExtra() error {
	if err := p.parseName(); err != nil {
		return err
	}
	switch p.Header.PPT {
	case pptDiv:
		return p.parseDiv()
	case pptRPH:
		var rph struct {
			Auth []string `json:"auth"`
		}
		if json.Unmarshal(p.raw[pptRPH], &rph) != nil || len(rph.Auth) == 0 || len(rph.Auth) > maxPriorities {
			return fmt.Errorf("rph is not an object with auth, 1 to %d values (RFC 8443 section 3)", maxPriorities)
		}
		for _, v := range rph.Auth {
			if len(v) > maxClaim {
				return errors.New("a value of rph is too long")
			}
		}
		p.extra.priority = rph.Auth
	case pptRCD:
		if p.extra.name == "" {
			return errors.New("rcd has no nam (RFC 9795 section 5.1.1)")
		}
	}
	return nil
}

// parseName reads the claim rcd, if there is one.
func (p *Passport) parseName() error {
	if p.raw[pptRCD] == nil {
		return nil
	}
	var rcd struct {
		Name string `json:"nam"`
	}
	if json.Unmarshal(p.raw[pptRCD], &rcd) != nil || len(rcd.Name) > maxCallerName {
		return fmt.Errorf("rcd is not an object whose nam has up to %d bytes", maxCallerName)
	}
	p.extra.name = rcd.Name
	return nil
}

// parseDiv reads who was called before (RFC 8946 section 4). Only numbers are of
// use: certificates speak for nothing else.
func (p *Passport) parseDiv() error {
	var members map[string]stdjson.RawMessage
	var div struct {
		TN string `json:"tn"`
	}
	if json.Unmarshal(p.raw[pptDiv], &members) != nil || json.Unmarshal(p.raw[pptDiv], &div) != nil {
		return errors.New("div is not an object (RFC 8946 section 4)")
	}
	if err := (TNEntry{Start: div.TN, Count: 1}).check(); err != nil {
		return fmt.Errorf("tn of div is not canonical: %w", err)
	}
	p.extra.diverted = numberOf(div.TN, "")
	if p.extra.diverted == "" {
		return errors.New("div names no number")
	}
	return nil
}

// subject is the number that the signer's certificate must be for: the caller's,
// of a diversion that of whoever diverted (RFC 8946 section 5). For an
// authorised priority there is none: its authority is no owner of numbers (RFC
// 8443 section 7).
func (p *Passport) subject() (n policy.Number, needed bool) {
	switch p.Header.PPT {
	case pptDiv:
		return p.extra.diverted, true
	case pptRPH:
		return "", false
	}
	return p.Claims.From(), true
}

// subjectIs says in words who that is.
func (p *Passport) subjectIs() string {
	if p.Header.PPT == pptDiv {
		return "the one who diverted the call"
	}
	return "the caller"
}

func knownPPT(s string) bool { return slices.Contains(ppts, s) }

func pptList() string { return strings.Join(ppts, ", ") }
