package seal

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"hash"
)

// Suite is a cipher suite of SFrame's registry (RFC 9605 section 8.1).
type Suite uint16

// The suites of RFC 9605. Numbers without a suite are refused.
const (
	AES128CTRHMAC80 Suite = 1
	AES128CTRHMAC64 Suite = 2
	AES128CTRHMAC32 Suite = 3
	AES128GCM       Suite = 4
	AES256GCM       Suite = 5
)

// nonceLen is Nn of every suite.
const nonceLen = 12

// traits of a suite (RFC 9605 table 1).
type traits struct {
	name   string
	aes    int // bytes of the AES key
	hmac   int // bytes of the HMAC key behind it; 0: GCM
	tagLen int
	hash   func() hash.Hash
}

var suites = map[Suite]traits{
	AES128CTRHMAC80: {"AES_128_CTR_HMAC_SHA256_80", 16, 32, 10, sha256.New},
	AES128CTRHMAC64: {"AES_128_CTR_HMAC_SHA256_64", 16, 32, 8, sha256.New},
	AES128CTRHMAC32: {"AES_128_CTR_HMAC_SHA256_32", 16, 32, 4, sha256.New},
	AES128GCM:       {"AES_128_GCM_SHA256_128", 16, 0, 16, sha256.New},
	AES256GCM:       {"AES_256_GCM_SHA512_128", 32, 0, 16, sha512.New},
}

// String is the suite's name in the registry.
func (s Suite) String() string {
	if t, ok := suites[s]; ok {
		return t.name
	}
	return fmt.Sprintf("suite-%d", uint16(s))
}

// MaxOverhead is how many bytes sealing adds at most: the tag, and the package's
// tag and length.
const MaxOverhead = 16 + 1 + 4

// UnmarshalJSON takes the number or the name of the registry.
func (s *Suite) UnmarshalJSON(b []byte) error {
	var number uint16
	if json.Unmarshal(b, &number) == nil {
		*s = Suite(number)
	} else {
		var name string
		if err := json.Unmarshal(b, &name); err != nil {
			return fmt.Errorf("suite: want a number or a name of SFrame's registry")
		}
		*s = 0
		for n, t := range suites {
			if t.name == name {
				*s = n
			}
		}
	}
	if _, ok := suites[*s]; !ok {
		return fmt.Errorf("suite %s: want 1 to 5, or such as %q", b, AES128GCM)
	}
	return nil
}
