package stir

import (
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// ClaimConstraints says which claims a certificate's PASSporTs must have, may
// have and must not have: JWTClaimConstraints (RFC 8226 section 8) or
// EnhancedJWTClaimConstraints (RFC 9118 section 4).
type ClaimConstraints struct {
	MustInclude []string
	Permitted   []PermittedValues
	MustExclude []string // enhanced form only
}

// PermittedValues are the values that a claim may have if it is there.
type PermittedValues struct {
	Claim  string
	Values []string
}

// ErrClaimConstraints is wrapped by the errors of ParseClaimConstraints.
var ErrClaimConstraints = errors.New("not JWT claim constraints of RFC 8226 or 9118")

var (
	oidClaimConstraints         = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 27}
	oidEnhancedClaimConstraints = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 33}
)

const (
	maxClaimConstraints = 8 << 10 // bytes of DER
	maxClaimNames       = 64      // entries of one list
)

// ParseClaimConstraints reads the DER value of either extension.
func ParseClaimConstraints(der []byte, enhanced bool) (ClaimConstraints, error) {
	if len(der) > maxClaimConstraints {
		return ClaimConstraints{}, fmt.Errorf("%w: %d bytes, at most %d", ErrClaimConstraints, len(der), maxClaimConstraints)
	}
	var c ClaimConstraints
	in := cryptobyte.String(der)
	var seq cryptobyte.String
	ok := in.ReadASN1(&seq, cbasn1.SEQUENCE) && in.Empty() && !seq.Empty() &&
		readOptional(&seq, 0, func(s *cryptobyte.String) bool { return readStrings(s, cbasn1.IA5String, &c.MustInclude) }) &&
		readOptional(&seq, 1, func(s *cryptobyte.String) bool { return readPermitted(s, &c.Permitted) }) &&
		(!enhanced || readOptional(&seq, 2, func(s *cryptobyte.String) bool { return readStrings(s, cbasn1.IA5String, &c.MustExclude) })) &&
		seq.Empty()
	if !ok {
		return ClaimConstraints{}, ErrClaimConstraints
	}
	return c, nil
}

func readOptional(in *cryptobyte.String, tag uint8, read func(*cryptobyte.String) bool) bool {
	var inner cryptobyte.String
	var present bool
	if !in.ReadOptionalASN1(&inner, &present, cbasn1.Tag(tag).ContextSpecific().Constructed()) {
		return false
	}
	return !present || read(&inner) && inner.Empty()
}

func readStrings(in *cryptobyte.String, tag cbasn1.Tag, out *[]string) bool {
	var list, s cryptobyte.String
	if !in.ReadASN1(&list, cbasn1.SEQUENCE) || list.Empty() {
		return false
	}
	for !list.Empty() {
		if len(*out) == maxClaimNames || !list.ReadASN1(&s, tag) {
			return false
		}
		*out = append(*out, string(s))
	}
	return true
}

func readPermitted(in *cryptobyte.String, out *[]PermittedValues) bool {
	var list, one, claim cryptobyte.String
	if !in.ReadASN1(&list, cbasn1.SEQUENCE) || list.Empty() {
		return false
	}
	for !list.Empty() {
		var p PermittedValues
		if len(*out) == maxClaimNames || !list.ReadASN1(&one, cbasn1.SEQUENCE) ||
			!one.ReadASN1(&claim, cbasn1.IA5String) ||
			!readStrings(&one, cbasn1.UTF8String, &p.Values) || !one.Empty() {
			return false
		}
		p.Claim = string(claim)
		*out = append(*out, p)
	}
	return true
}

// check tells why a set of claims, by name with their JSON values, is not
// permitted. iat, orig and dest need no mention in mustInclude.
func (c ClaimConstraints) check(claims map[string]json.RawMessage) error {
	for _, name := range c.MustInclude {
		if claims[name] == nil {
			return fmt.Errorf("the certificate demands the claim %q", name)
		}
	}
	for _, name := range c.MustExclude {
		if claims[name] != nil {
			return fmt.Errorf("the certificate forbids the claim %q", name)
		}
	}
	for _, p := range c.Permitted {
		if raw := claims[p.Claim]; raw != nil && !slices.Contains(p.Values, claimText(raw)) {
			return fmt.Errorf("the certificate does not permit this value of the claim %q", p.Claim)
		}
	}
	return nil
}

// claimText is the value of a claim as permittedValues writes it: a string
// without quotes, anything else as it stands.
func claimText(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}
