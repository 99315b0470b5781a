package stir

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"

	"riptide/policy"
)

// Call is what a PASSporT speaks about.
type Call struct {
	From policy.Number
	To   policy.Number
}

// Passport is a parsed PASSporT in full form (RFC 8225). Nothing in it is to
// be believed before Verifier.Verify said so.
type Passport struct {
	Header Header
	Claims Claims

	extra extra
	raw   map[string]stdjson.RawMessage // every claim, also those unknown here
	token string
}

// Header is the JOSE header (RFC 8225 section 4).
type Header struct {
	Alg string `json:"alg"`
	PPT string `json:"ppt"` // "shaken", an extension, or "" for the base form
	Typ string `json:"typ"`
	X5U string `json:"x5u"` // where the certificate chain is
}

// Claims are the claims of RFC 8225 section 5 and RFC 8588, in the order in
// which they are signed.
type Claims struct {
	Attest   string `json:"attest,omitempty"` // "A", "B", "C"; "" in the base form
	Dest     Dest   `json:"dest"`
	IssuedAt int64  `json:"iat"` // seconds since 1970
	Orig     Orig   `json:"orig"`
	OrigID   string `json:"origid,omitempty"`
}

// Orig is the calling party: one of the two.
type Orig struct {
	TN  string `json:"tn,omitempty"` // canonical digits, no plus
	URI string `json:"uri,omitempty"`
}

// Dest are the called parties, at least one.
type Dest struct {
	TN  []string `json:"tn,omitempty"`
	URI []string `json:"uri,omitempty"`
}

func (d Dest) String() string {
	return strings.Join(append(append([]string{}, d.TN...), d.URI...), ", ")
}

// ErrPassport is wrapped by every error of ParsePassport, ErrCompact also by
// that for the compact form.
var (
	ErrPassport = errors.New("not a usable PASSporT")
	ErrCompact  = errors.New("compact form, whose claims SHAKEN does not allow to leave out")
)

// Limits of a PASSporT.
const (
	maxPassport = 8 << 10 // bytes
	maxDest     = 32
	maxClaim    = 255 // bytes of one string
	es256Size   = 64  // r and s, RFC 7518 section 3.4
)

const (
	algES256  = string(jose.ES256)
	typ       = "passport"
	pptShaken = "shaken"
)

// ParsePassport reads a PASSporT in full form, of at most 8 KiB. It accepts
// ES256 and the types "shaken", "div", "rph", "rcd" and none. Errors wrap ErrPassport and
// never quote the token.
func ParsePassport(token string) (*Passport, error) {
	p := &Passport{token: token}
	if err := p.parse(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPassport, err)
	}
	return p, nil
}

func (p *Passport) parse() error {
	if len(p.token) > maxPassport {
		return fmt.Errorf("longer than %d bytes", maxPassport)
	}
	parts := strings.Split(p.token, ".")
	if len(parts) != 3 {
		return errors.New("not three parts with dots between them")
	}
	if parts[0] == "" && parts[1] == "" && parts[2] != "" {
		return ErrCompact
	}
	var decoded [3][]byte
	for i, part := range parts {
		b, err := decodeStrict(part)
		if err != nil {
			return fmt.Errorf("part %d is not base64url", i+1)
		}
		decoded[i] = b
	}
	if err := p.parseHeader(decoded[0]); err != nil {
		return err
	}
	if len(decoded[2]) != es256Size {
		return fmt.Errorf("signature of %d bytes, ES256 has %d", len(decoded[2]), es256Size)
	}
	return p.parseClaims(decoded[1])
}

// decodeStrict takes exactly one spelling of each value, so that a token
// cannot be given a second face for the replay cache.
func decodeStrict(s string) ([]byte, error) {
	if s == "" || strings.ContainsAny(s, "\r\n") { // which the decoder would skip
		return nil, errors.New("empty or broken")
	}
	return base64.RawURLEncoding.Strict().DecodeString(s)
}

func (p *Passport) parseHeader(b []byte) error {
	var members map[string]stdjson.RawMessage
	if err := json.Unmarshal(b, &members); err != nil || members == nil {
		return errors.New("header is not a JSON object of distinct members")
	}
	if members["crit"] != nil || members["b64"] != nil {
		return errors.New("header demands extensions of JWS (crit) that PASSporTs do not have")
	}
	if err := json.Unmarshal(b, &p.Header); err != nil {
		return errors.New("header members are not strings")
	}
	switch h := p.Header; {
	case h.Alg != algES256:
		return fmt.Errorf("alg is %.20q, want ES256", h.Alg)
	case h.Typ != typ:
		return fmt.Errorf("typ is %.20q, want passport", h.Typ)
	case !knownPPT(h.PPT) && members["ppt"] != nil:
		return fmt.Errorf("ppt %.20q is not supported, these are: %s", h.PPT, pptList())
	case h.X5U == "" || len(h.X5U) > maxURL:
		return fmt.Errorf("x5u is not 1 to %d bytes", maxURL)
	}
	return nil
}

func (p *Passport) parseClaims(b []byte) error {
	if err := json.Unmarshal(b, &p.raw); err != nil || p.raw == nil {
		return errors.New("payload is not a JSON object of distinct members")
	}
	var err error
	if p.Claims.IssuedAt, err = parseIssuedAt(p.raw["iat"]); err != nil {
		return err
	}
	for _, m := range []struct {
		name string
		into any
	}{
		{"orig", &p.Claims.Orig},
		{"dest", &p.Claims.Dest},
	} {
		if p.raw[m.name] == nil || json.Unmarshal(p.raw[m.name], m.into) != nil {
			return fmt.Errorf("%s is missing or not as in RFC 8225 section 5.2", m.name)
		}
	}
	if err := p.Claims.checkParties(); err != nil {
		return err
	}
	if err := p.parseExtra(); err != nil {
		return err
	}
	if p.Header.PPT != pptShaken {
		return nil
	}
	// RFC 8588 sections 4 and 5: both must be there.
	if json.Unmarshal(p.raw["attest"], &p.Claims.Attest) != nil || !attestation(p.Claims.Attest) {
		return errors.New("attest is not A, B or C")
	}
	if json.Unmarshal(p.raw["origid"], &p.Claims.OrigID) != nil || p.Claims.OrigID == "" || len(p.Claims.OrigID) > maxClaim {
		return fmt.Errorf("origid is not 1 to %d bytes", maxClaim)
	}
	return nil
}

// parseIssuedAt takes whole seconds only: RFC 8225 section 5.1.1 wants a
// NumericDate, and early drafts wrote a string.
func parseIssuedAt(raw []byte) (int64, error) {
	n, err := strconv.ParseUint(string(raw), 10, 40)
	if err != nil {
		return 0, errors.New("iat is missing or no integer of seconds")
	}
	return int64(n), nil
}

func attestation(s string) bool { return s == "A" || s == "B" || s == "C" }

func (c Claims) checkParties() error {
	if (c.Orig.TN == "") == (c.Orig.URI == "") {
		return errors.New("orig is not one tn or one uri")
	}
	if n := len(c.Dest.TN) + len(c.Dest.URI); n == 0 || n > maxDest {
		return fmt.Errorf("dest holds %d parties, want 1 to %d", n, maxDest)
	}
	for _, tn := range append([]string{c.Orig.TN}, c.Dest.TN...) {
		if tn == "" && c.Orig.URI != "" {
			continue
		}
		if err := (TNEntry{Start: tn, Count: 1}).check(); err != nil {
			return fmt.Errorf("a tn is not canonical (RFC 8224 section 8.3): %w", err)
		}
	}
	for _, uri := range append([]string{c.Orig.URI}, c.Dest.URI...) {
		if len(uri) > maxClaim {
			return fmt.Errorf("a uri is longer than %d bytes", maxClaim)
		}
	}
	return nil
}

// Append writes the claims as they are signed: members in lexicographic order,
// no white space (RFC 8225 section 9).
func (c Claims) Append(dst []byte) []byte {
	var b bytes.Buffer
	enc := stdjson.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(c); err != nil {
		panic(err) // strings and integers only: it cannot
	}
	return append(dst, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
}

// From is the calling party in riptide's form, "" if it has none there.
func (c Claims) From() policy.Number { return numberOf(c.Orig.TN, c.Orig.URI) }

// To tells whether the number is among the called parties.
func (c Claims) To(n policy.Number) bool {
	if n == "" {
		return false
	}
	for _, tn := range c.Dest.TN {
		if numberOf(tn, "") == n {
			return true
		}
	}
	for _, uri := range c.Dest.URI {
		if numberOf("", uri) == n {
			return true
		}
	}
	return false
}

// numberOf reads a tn, or a SIP URI of an address. E.164 numbers are never
// written as addresses, and are not taken from them: the domain of a URI is no
// proof for a number.
func numberOf(tn, uri string) policy.Number {
	s := "+" + tn
	if tn == "" {
		var scheme string
		scheme, s, _ = strings.Cut(uri, ":")
		if i := strings.IndexAny(s, ";?"); i >= 0 {
			s = s[:i]
		}
		sip := strings.EqualFold(scheme, "sip") || strings.EqualFold(scheme, "sips")
		if !sip || strings.HasPrefix(s, "+") || !strings.Contains(s, "@") {
			return ""
		}
	}
	n, err := policy.ParseNumber(s)
	if err != nil {
		return ""
	}
	return n
}

// verifySignature checks the signature with the leaf's key, over the bytes as
// they were received.
func (p *Passport) verifySignature(leaf *x509.Certificate) error {
	key, ok := p256(leaf.PublicKey)
	if !ok {
		return errors.New("certificate has no P-256 key")
	}
	jws, err := jose.ParseSignedCompact(p.token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return fmt.Errorf("read signature: %w", err)
	}
	if _, err := jws.Verify(key); err != nil {
		return errors.New("signature does not fit the certificate; the PASSporT was altered or signed with another key")
	}
	return nil
}

// replayKey names this signature. (r, s) and (r, n-s) are one: both verify,
// and anyone can make the second from the first.
func (p *Passport) replayKey() [sha256.Size]byte {
	cut := strings.LastIndexByte(p.token, '.')
	sig, err := decodeStrict(p.token[cut+1:])
	if err != nil || len(sig) != es256Size {
		return sha256.Sum256([]byte(p.token)) // not from ParsePassport
	}
	return sha256.Sum256(append([]byte(p.token[:cut+1]), canonicalSignature(sig)...))
}
