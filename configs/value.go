package configs

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"riptide/bridge/format"
)

// File names a file. In a loaded Config it is absolute, or relative to the
// working directory if the configuration's own path was.
type File string

// TLS is the server's certificate and its key.
type TLS struct {
	Certificate File `yaml:"certificate"` // PEM, leaf first
	Key         File `yaml:"key"`

	Pair Secret[*tls.Certificate] // loaded by Load
}

// CA is a certificate authority of caller identity.
type CA struct {
	Certificate File `yaml:"certificate"` // PEM
	Key         File `yaml:"key"`

	Pair Secret[*tls.Certificate] // loaded by Load; Leaf is set
}

// ClientKey is a private key that signs tokens: our OAuth client's assertions, or
// the access tokens that we issue.
type ClientKey = ecdsa.PrivateKey

// PublicKey is a peer's key. ID is empty for keys that came as plain PEM.
type PublicKey struct {
	ID  string
	Key *ecdsa.PublicKey
}

// Anchors are trusted certificates. Pool is nil where no file was named.
type Anchors struct {
	Pool  *x509.CertPool
	Certs []*x509.Certificate
}

// Secret holds what must not be printed. Every way of printing it, marshalling
// it or logging it yields "[redacted]".
type Secret[T any] struct{ value T }

// NewSecret wraps v.
func NewSecret[T any](v T) Secret[T] { return Secret[T]{v} }

// Reveal returns what is inside.
func (s Secret[T]) Reveal() T { return s.value }

const redacted = "[redacted]"

func (Secret[T]) String() string               { return redacted }
func (Secret[T]) GoString() string             { return redacted }
func (Secret[T]) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (Secret[T]) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Format makes every verb safe, also those that would otherwise walk into the
// struct.
func (Secret[T]) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// PortRange is a range of UDP ports, both ends included.
type PortRange struct{ First, Last uint16 }

func (r PortRange) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last) }

// MarshalText is String.
func (r PortRange) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads "16384-32767". RTP takes an even port and RTCP the next
// (RFC 3550 section 11), so the range must hold such a pair.
func (r *PortRange) UnmarshalText(b []byte) error {
	a, z, ok := strings.Cut(string(b), "-")
	first, err1 := strconv.ParseUint(strings.TrimSpace(a), 10, 16)
	last, err2 := strconv.ParseUint(strings.TrimSpace(z), 10, 16)
	if !ok || err1 != nil || err2 != nil {
		return mistake("not a range of ports", "write first-last, as in 16384-32767")
	}
	if first < 1024 {
		return mistake("ports below 1024 are other services'", "begin at 1024 or above, as in 16384-32767")
	}
	if last < first+first%2+1 {
		return mistake("the range holds no even port followed by an odd one, as RTP and RTCP need", "widen it, as in 16384-32767")
	}
	r.First, r.Last = uint16(first), uint16(last)
	return nil
}

// HostPort is a peer's address: an IP address or a host name, and a port, 0 if
// none was written.
type HostPort struct {
	Host string
	Port uint16
}

func (h HostPort) String() string {
	if h.Host == "" {
		return ""
	}
	if h.Port == 0 {
		return h.Host
	}
	return net.JoinHostPort(h.Host, strconv.Itoa(int(h.Port)))
}

// MarshalText is String.
func (h HostPort) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads "host", "host:port", "1.2.3.4:port" or "[2001:db8::1]:port".
func (h *HostPort) UnmarshalText(b []byte) error {
	host, port, err := splitHostPort(string(b), 0)
	if err != nil {
		return err
	}
	*h = HostPort{Host: host, Port: port}
	return nil
}

func splitHostPort(s string, defaultPort uint16) (host string, port uint16, err error) {
	if ip, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return ip.String(), defaultPort, nil
	}
	host, digits := s, ""
	if strings.Contains(s, ":") {
		if host, digits, err = net.SplitHostPort(s); err != nil {
			return "", 0, mistake("not an address", "write host:port, and IPv6 addresses as [2001:db8::1]:5060")
		}
	}
	port = defaultPort
	if digits != "" {
		n, err := strconv.ParseUint(digits, 10, 16)
		if err != nil || n == 0 {
			return "", 0, mistake(fmt.Sprintf("%q is not a port", clip(digits)), "write a number from 1 to 65535")
		}
		port = uint16(n)
	}
	if _, err := netip.ParseAddr(host); err != nil && !isHost(host) {
		return "", 0, mistake("neither an IP address nor a host name", "write it as 203.0.113.5:5060 or pbx.example:5060")
	}
	return host, port, nil
}

// isHost tells a DNS name (RFC 1123 section 2.1). All-digit last labels are
// refused: they are IP addresses with a mistake in them.
func isHost(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	labels := strings.Split(s, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i]; !isLetter(c) && !isDigit(c) && c != '-' && c != '_' {
				return false
			}
		}
	}
	last := labels[len(labels)-1]
	return strings.Trim(last, "0123456789") != ""
}

// isName tells what nodes, trunks and OAuth clients may be called: names that
// need no quoting in logs, metrics, keys of the store and URIs.
func isName(s string) bool {
	if s == "" || len(s) > 63 || !isLetter(s[0]) && !isDigit(s[0]) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isLetter(c) && !isDigit(c) && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

// isClientID tells an OAuth client id (RFC 6749 appendix A.1) without spaces.
func isClientID(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// Codec is a codec of speech or video by its name in the registry.
type Codec string

var codecs = []Codec{format.PCMU, format.PCMA, format.G722, format.Opus, format.H264, format.VP8}

// Video tells whether the codec is one of video.
func (c Codec) Video() bool { return c == format.H264 || c == format.VP8 }

// MarshalText is the name.
func (c Codec) MarshalText() ([]byte, error) { return []byte(c), nil }

// UnmarshalText reads a name in whatever case.
func (c *Codec) UnmarshalText(b []byte) error {
	s := string(b)
	var lower []string
	for _, known := range codecs {
		if strings.EqualFold(string(known), s) {
			*c = known
			return nil
		}
		lower = append(lower, strings.ToLower(string(known)))
	}
	if format.Aside(s) {
		return mistake("digits and comfort noise go with every call", "leave it out")
	}
	return mistake("not a codec that we have", fmt.Sprintf("write one of %v%s", codecs, didYouMean(s, lower)))
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }

// valueError is a mistake in a value that knows what would mend it.
type valueError struct{ what, mend string }

func (e *valueError) Error() string { return e.what + " (" + e.mend + ")" }

func mistake(what, mend string) error { return &valueError{what, mend} }

// explain splits an error into what is wrong and what mends it.
func explain(err error) (what, mend string) {
	var v *valueError
	if errors.As(err, &v) {
		return v.what, v.mend
	}
	return err.Error(), ""
}
