package sdp

import (
	"crypto"
	_ "crypto/sha1"   // hashes that fingerprints are made with:
	_ "crypto/sha256" // registered for crypto.Hash
	_ "crypto/sha512"
	"encoding/hex"
	"strings"
)

// Fingerprint is the hash of the certificate that its owner shows in a DTLS
// handshake (RFC 8122 section 5).
type Fingerprint struct {
	Hash string // "sha-256", in lower case
	Sum  string // the bytes
}

// hashes are those that are still worth something, or still in use.
var hashes = map[string]crypto.Hash{
	"sha-1": crypto.SHA1, "sha-224": crypto.SHA224, "sha-256": crypto.SHA256, "sha-384": crypto.SHA384, "sha-512": crypto.SHA512,
}

// FingerprintOf is the SHA-256 fingerprint of a certificate in DER.
func FingerprintOf(certificate []byte) Fingerprint {
	h := crypto.SHA256.New()
	h.Write(certificate)
	return Fingerprint{"sha-256", string(h.Sum(nil))}
}

// IsZero tells that there is none.
func (f Fingerprint) IsZero() bool { return f == Fingerprint{} }

// Matches tells whether f is the fingerprint of a certificate in DER.
func (f Fingerprint) Matches(certificate []byte) bool {
	hash, ok := hashes[f.Hash]
	if !ok {
		return false
	}
	h := hash.New()
	h.Write(certificate)
	return string(h.Sum(nil)) == f.Sum
}

// parseFingerprint reads "<hash function> <HH:HH:...>".
func parseFingerprint(value string) (Fingerprint, bool) {
	name, text, _ := strings.Cut(strings.TrimSpace(value), " ")
	name = strings.ToLower(name)
	hash, ok := hashes[name]
	if !ok {
		return Fingerprint{}, false
	}
	sum, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(text), ":", ""))
	if err != nil || len(sum) != hash.Size() {
		return Fingerprint{}, false
	}
	return Fingerprint{name, string(sum)}, true
}

func (f Fingerprint) append(dst []byte) []byte {
	dst = append(dst, "a=fingerprint:"...)
	dst = append(dst, f.Hash...)
	for i := range len(f.Sum) {
		dst = append(dst, " :"[min(i, 1)])
		const digits = "0123456789ABCDEF"
		dst = append(dst, digits[f.Sum[i]>>4], digits[f.Sum[i]&15])
	}
	return append(dst, "\r\n"...)
}

// Setup says who begins a DTLS handshake (RFC 4145 section 4).
type Setup uint8

// The values of a=setup. The zero value: not said, which means active of an
// offer.
const (
	SetupUnsaid Setup = iota
	SetupActive
	SetupPassive
	SetupActpass
)

var setupNames = [...]string{SetupActive: "active", SetupPassive: "passive", SetupActpass: "actpass"}

func (s Setup) String() string { return setupNames[s] }

func setupNamed(name string) Setup {
	name = strings.ToLower(strings.TrimSpace(name))
	for s, n := range setupNames {
		if n == name {
			return Setup(s)
		}
	}
	return SetupUnsaid
}

// answer is what we answer an offered setup with. Where the choice is ours, we
// begin, since that takes the shortest time (RFC 5763 section 5), unless we
// wait in the association that there is.
func (s Setup) answer(passive bool) Setup {
	switch {
	case s == SetupPassive, s == SetupActpass && !passive:
		return SetupActive
	}
	return SetupPassive
}

func (s Setup) append(dst []byte) []byte {
	if s == SetupUnsaid {
		return dst
	}
	dst = append(dst, "a=setup:"...)
	dst = append(dst, s.String()...)
	return append(dst, "\r\n"...)
}
