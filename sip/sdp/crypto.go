package sdp

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// Crypto is one a=crypto attribute (RFC 4568): the key with which its owner
// protects what it sends.
type Crypto struct {
	Tag   uint32
	Suite string // as it was written: an answer repeats it so
	Key   Secret // master key and salt
	MKI   []byte // that packets under the key carry; nil = none
}

// Secret is key material. It is written nowhere but in descriptions.
type Secret []byte

// Format prints the same whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalText is the same for JSON, which records and logs may be in.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

const redacted = "[redacted]"

// Suite is what a crypto suite is made of.
type Suite struct {
	Name string // as we write it
	Key  int    // bytes of the master key
	Salt int    // bytes of the master salt
}

// suites are those we speak, the best first. AES_CM_256 is how the suites of RFC
// 6188 are called by telephones that are older than it.
var suites = []struct {
	Suite
	alias string
}{
	{Suite{"AEAD_AES_256_GCM", 32, 12}, ""},
	{Suite{"AEAD_AES_128_GCM", 16, 12}, ""},
	{Suite{"AES_256_CM_HMAC_SHA1_80", 32, 14}, "AES_CM_256_HMAC_SHA1_80"},
	{Suite{"AES_256_CM_HMAC_SHA1_32", 32, 14}, "AES_CM_256_HMAC_SHA1_32"},
	{Suite{"AES_CM_128_HMAC_SHA1_80", 16, 14}, ""},
	{Suite{"AES_CM_128_HMAC_SHA1_32", 16, 14}, ""},
}

// Suites are the crypto suites we speak, the best first.
func Suites() []Suite {
	out := make([]Suite, len(suites))
	for i, s := range suites {
		out[i] = s.Suite
	}
	return out
}

// SuiteNamed finds a suite by the name that a=crypto writes.
func SuiteNamed(name string) (Suite, bool) {
	for _, s := range suites {
		if strings.EqualFold(name, s.Name) || s.alias != "" && strings.EqualFold(name, s.alias) {
			return s.Suite, true
		}
	}
	return Suite{}, false
}

// Equal tells whether both are the same key for the same suite.
func (c Crypto) Equal(o Crypto) bool {
	return (c.Suite == o.Suite || c.sameSuite(o)) && string(c.Key) == string(o.Key) && string(c.MKI) == string(o.MKI)
}

func (c Crypto) sameSuite(o Crypto) bool {
	s, ok1 := SuiteNamed(c.Suite)
	t, ok2 := SuiteNamed(o.Suite)
	return ok1 && ok2 && s == t
}

// maxCryptos bounds what one section holds of a=crypto.
const maxCryptos = 32

// maxMKI is the longest master key identifier (RFC 3711 section 3.1 has no
// bound; RFC 4568 section 6.1 has this one).
const maxMKI = 128

// parseCrypto reads "<tag> <suite> <key parameters> [<session parameters>]". ok
// is false for what we cannot use, which is then passed over as RFC 4568
// section 5.1.2 wants it.
func parseCrypto(value string) (c Crypto, ok bool) {
	f := strings.Fields(value)
	if len(f) < 3 || len(f[0]) > 9 {
		return Crypto{}, false
	}
	tag, err := strconv.ParseUint(f[0], 10, 32)
	suite, known := SuiteNamed(f[1])
	if err != nil || !known {
		return Crypto{}, false
	}
	c = Crypto{Tag: uint32(tag), Suite: f[1]}
	if c.Key, c.MKI, ok = inlineKey(f[2]); !ok || len(c.Key) != suite.Key+suite.Salt {
		return Crypto{}, false
	}
	for _, param := range f[3:] {
		if !harmless(param) {
			return Crypto{}, false
		}
	}
	return c, true
}

// harmless tells the session parameters that change nothing for us: a window
// size is advice, and those that begin with "-" may be ignored (RFC 4568
// sections 6.3.6 and 6.3.7). All others switch protection off or want what we
// have not.
func harmless(param string) bool {
	return strings.HasPrefix(param, "-") || len(param) > 4 && strings.EqualFold(param[:4], "WSH=")
}

// inlineKey reads "inline:<key||salt>[|<lifetime>][|<MKI>:<length>]". Several
// keys at once, to be changed by their MKI, are not for us. How long a key lives
// is for its owner to see to.
func inlineKey(s string) (key Secret, mki []byte, ok bool) {
	const method = "inline:"
	if len(s) < len(method) || !strings.EqualFold(s[:len(method)], method) || strings.Contains(s, ";") {
		return nil, nil, false
	}
	part := strings.Split(s[len(method):], "|")
	if len(part) > 3 {
		return nil, nil, false
	}
	key, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(part[0], "="))
	if err != nil {
		return nil, nil, false
	}
	for _, p := range part[1:] {
		if id, size, found := strings.Cut(p, ":"); found {
			if mki, ok = parseMKI(id, size); !ok {
				return nil, nil, false
			}
		}
	}
	return key, mki, true
}

// parseMKI reads a master key identifier: a number, and in how many bytes
// packets carry it.
func parseMKI(id, size string) ([]byte, bool) {
	value, err1 := strconv.ParseUint(id, 10, 64)
	n, err2 := strconv.ParseUint(size, 10, 8)
	if err1 != nil || err2 != nil || n == 0 || n > maxMKI {
		return nil, false
	}
	mki := make([]byte, n)
	for i := len(mki) - 1; i >= 0; i-- {
		mki[i] = byte(value)
		value >>= 8
	}
	return mki, value == 0
}

func (c Crypto) append(dst []byte) []byte {
	dst = append(dst, "a=crypto:"...)
	dst = strconv.AppendUint(dst, uint64(c.Tag), 10)
	dst = append(dst, ' ')
	dst = append(dst, c.Suite...)
	dst = append(dst, " inline:"...)
	dst = base64.StdEncoding.AppendEncode(dst, c.Key)
	if len(c.MKI) > 0 {
		var id uint64 // no more than that is ever read
		for _, b := range c.MKI {
			id = id<<8 | uint64(b)
		}
		dst = append(dst, '|')
		dst = strconv.AppendUint(dst, id, 10)
		dst = append(dst, ':')
		dst = strconv.AppendInt(dst, int64(len(c.MKI)), 10)
	}
	return append(dst, "\r\n"...)
}
