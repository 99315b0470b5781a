package sip

import (
	"cmp"
	"crypto/md5" //nolint:gosec // RFC 2617: most of the installed base speaks nothing else
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
)

// Password is a secret of a trunk. However it is printed, it does not show.
type Password string

const redactedPassword = "[redacted]"

func (Password) String() string       { return redactedPassword }
func (Password) GoString() string     { return redactedPassword }
func (Password) LogValue() slog.Value { return slog.StringValue(redactedPassword) }

// Format makes every verb safe.
func (Password) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redactedPassword) }

// algorithm is a hash of digest authentication (RFC 7616 section 6.1). The
// session variants hash nonce and cnonce into the key.
type algorithm struct {
	name    string // as written
	hash    func() hash.Hash
	session bool
}

// algorithms are those we answer, by name in lower case.
var algorithms = map[string]algorithm{
	"":                 {"", md5.New, false}, // RFC 2617: no algorithm is MD5
	"md5":              {"MD5", md5.New, false},
	"md5-sess":         {"MD5-sess", md5.New, true},
	"sha-256":          {"SHA-256", sha256.New, false},
	"sha-256-sess":     {"SHA-256-sess", sha256.New, true},
	"sha-512-256":      {"SHA-512-256", sha512.New512_256, false},
	"sha-512-256-sess": {"SHA-512-256-sess", sha512.New512_256, true},
}

// among tells whether an algorithm is one of those named, or the session
// variant of one.
func (a algorithm) among(names []string) bool {
	own := strings.TrimSuffix(cmp.Or(a.name, "MD5"), "-sess")
	return slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, own) })
}

func (a algorithm) of(parts ...string) string {
	h := a.hash()
	_, _ = io.WriteString(h, strings.Join(parts, ":")) // never fails (hash.Hash)
	return hex.EncodeToString(h.Sum(nil))
}

// proof is what a digest is made of besides user and password.
type proof struct {
	realm, nonce, method, uri string
	qop, cnonce               string // qop "" is RFC 2069: no cnonce and no count
	count                     uint32
}

// response is the digest itself (RFC 7616 section 3.4.1, for qop auth or none).
func (a algorithm) response(user string, password Password, p proof) string {
	key := a.of(user, p.realm, string(password))
	if a.session {
		key = a.of(key, p.nonce, p.cnonce)
	}
	what := a.of(p.method, p.uri)
	if p.qop == "" {
		return a.of(key, p.nonce, what)
	}
	return a.of(key, p.nonce, countText(p.count), p.cnonce, p.qop, what)
}

func countText(n uint32) string { return fmt.Sprintf("%08x", n) }

// Limits of what is read of a challenge or of credentials.
const (
	maxDigestField  = 4 << 10
	maxEchoed       = 3 << 10 // of realm, nonce and opaque, as an answer repeats them
	maxDigestParams = 32
)

var errDigest = errors.New("not a digest")

// digestParams reads the value of an Authorization or WWW-Authenticate header
// field, or of the Proxy- kinds: "Digest" and name=value pairs (RFC 3261
// section 25.1). Names come in lower case, values without quotes.
func digestParams(value string) (map[string]string, error) {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(value), " ")
	if !strings.EqualFold(scheme, "digest") {
		return nil, fmt.Errorf("%w: scheme %q", errDigest, clip(scheme, 32))
	}
	if len(rest) > maxDigestField {
		return nil, fmt.Errorf("%w: %d bytes", errDigest, len(rest))
	}
	params := map[string]string{}
	for _, pair := range splitList(rest) {
		name, v, ok := strings.Cut(pair, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		if !ok || name == "" {
			return nil, fmt.Errorf("%w: %q is no pair", errDigest, clip(pair, 64))
		}
		if _, twice := params[name]; twice {
			return nil, fmt.Errorf("%w: %s is there twice", errDigest, clip(name, 64))
		}
		if params[name] = unquote(strings.TrimSpace(v)); len(params) > maxDigestParams {
			return nil, fmt.Errorf("%w: more than %d parameters", errDigest, maxDigestParams)
		}
	}
	return params, nil
}

// challenge is one demand for credentials.
type challenge struct {
	realm, nonce, opaque string
	algorithm            algorithm
	qop                  bool // "auth" is offered; if not, RFC 2069 is meant
	stale                bool // the password was right, the nonce too old
}

// parseChallenge reads one challenge, and refuses those that we cannot answer.
// What is not UTF-8 in it grows when the answer quotes it.
func parseChallenge(value string) (challenge, error) {
	p, err := digestParams(value)
	if err != nil {
		return challenge{}, err
	}
	c := challenge{realm: p["realm"], nonce: p["nonce"], opaque: p["opaque"], stale: strings.EqualFold(p["stale"], "true")}
	if c.nonce == "" {
		return c, fmt.Errorf("%w: no nonce", errDigest)
	}
	if n := len(quote(c.realm)) + len(quote(c.nonce)) + len(quote(c.opaque)); n > maxEchoed {
		return c, fmt.Errorf("%w: an answer would repeat %d bytes of it, at most %d", errDigest, n, maxEchoed)
	}
	var known bool
	if c.algorithm, known = algorithms[strings.ToLower(p["algorithm"])]; !known {
		return c, fmt.Errorf("%w: algorithm %q is not known", errDigest, clip(p["algorithm"], 32))
	}
	for _, q := range splitList(p["qop"]) {
		c.qop = c.qop || strings.EqualFold(q, "auth")
	}
	if p["qop"] != "" && !c.qop {
		return c, fmt.Errorf("%w: qop %q is not served, only auth", errDigest, clip(p["qop"], 32))
	}
	return c, nil
}

// answer is the value of an Authorization header field.
func (c challenge) answer(user string, password Password, method, uri, cnonce string, count uint32) string {
	p := proof{realm: c.realm, nonce: c.nonce, method: method, uri: uri}
	if c.qop || c.algorithm.session {
		p.cnonce = cnonce
	}
	if c.qop {
		p.qop, p.count = "auth", count
	}
	var b strings.Builder
	b.WriteString("Digest username=" + quote(user) + ", realm=" + quote(c.realm) + ", nonce=" + quote(c.nonce) + ", uri=" + quote(uri) +
		", response=" + quote(c.algorithm.response(user, password, p)))
	if c.algorithm.name != "" {
		b.WriteString(", algorithm=" + c.algorithm.name)
	}
	if p.cnonce != "" {
		b.WriteString(", cnonce=" + quote(p.cnonce))
	}
	if p.qop != "" {
		b.WriteString(", qop=auth, nc=" + countText(count))
	}
	if c.opaque != "" {
		b.WriteString(", opaque=" + quote(c.opaque))
	}
	return b.String()
}

// credential is what a peer says to a challenge of ours.
type credential struct {
	user, realm, nonce, uri, response string
	qop, cnonce                       string
	count                             uint32
	algorithm                         algorithm
}

// parseCredential reads the value of an Authorization header field.
func parseCredential(value string) (credential, error) {
	p, err := digestParams(value)
	if err != nil {
		return credential{}, err
	}
	c := credential{user: p["username"], realm: p["realm"], nonce: p["nonce"], uri: p["uri"], response: strings.ToLower(p["response"]), cnonce: p["cnonce"], qop: strings.ToLower(p["qop"])}
	var known bool
	switch c.algorithm, known = algorithms[strings.ToLower(p["algorithm"])]; {
	case !known:
		return c, fmt.Errorf("%w: algorithm %q is not known", errDigest, clip(p["algorithm"], 32))
	case c.user == "" || c.nonce == "" || c.uri == "" || c.response == "":
		return c, fmt.Errorf("%w: username, nonce, uri or response is missing", errDigest)
	case c.qop != "" && c.qop != "auth":
		return c, fmt.Errorf("%w: qop %q was not offered", errDigest, clip(c.qop, 32))
	case c.qop == "":
		return c, nil
	}
	n, err := strconv.ParseUint(p["nc"], 16, 32)
	if err != nil || n == 0 || len(p["nc"]) != 8 || c.cnonce == "" {
		return c, fmt.Errorf("%w: qop without a proper nc and cnonce", errDigest)
	}
	c.count = uint32(n)
	return c, nil
}
