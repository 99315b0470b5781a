package ops

import (
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
)

const redacted = "[redacted]"

// NewLogger makes the process's log. level is debug, info, warn or error,
// format text or json; node is in every line. The level can be changed while
// it runs.
//
// It is the last line of defence for secrets: attributes named after one, and
// tokens and keys inside any text, are written as [redacted].
func NewLogger(w io.Writer, level, format, node string) (*slog.Logger, *slog.LevelVar, error) {
	var at slog.LevelVar
	if err := at.UnmarshalText([]byte(level)); err != nil {
		return nil, nil, fmt.Errorf("log level %q: write debug, info, warn or error (key log.level)", level)
	}
	opts := &slog.HandlerOptions{Level: &at, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr { return redact(a) }}
	var h slog.Handler
	switch format {
	case "text":
		h = slog.NewTextHandler(w, opts)
	case "json":
		h = slog.NewJSONHandler(w, opts)
	default:
		return nil, nil, fmt.Errorf("log format %q: write text or json (key log.format)", format)
	}
	return slog.New(h).With("node", node), &at, nil
}

// secretNames are attributes whose value is never written.
var secretNames = map[string]bool{
	"authorization": true, "token": true, "access-token": true, "access_token": true, "assertion": true, "client-assertion": true,
	"client_assertion": true, "password": true, "secret": true, "private-key": true, "passport": true, "cookie": true,
}

// secrets in running text: JWTs and PASSporTs in full or compact form (header
// and payload begin with {" in base64url, and the payload of a compact one is
// empty: RFC 8225 section 7), bearer tokens, and PEM of private keys.
var secrets = regexp.MustCompile(`eyJ[\w-]{6,}\.[\w-]*\.[\w-]+` +
	`|(?i:bearer|dpop)[ ]+[\w.~+/=-]{8,}` +
	`|-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?`)

func redact(a slog.Attr) slog.Attr {
	if secretNames[strings.ToLower(a.Key)] {
		return slog.String(a.Key, redacted)
	}
	switch v := a.Value.Resolve(); v.Kind() {
	case slog.KindString:
		if s := v.String(); mayHoldSecret(s) {
			return slog.String(a.Key, secrets.ReplaceAllString(s, redacted))
		}
	case slog.KindAny:
		var s string
		switch x := v.Any().(type) {
		case error:
			s = x.Error()
		case fmt.Stringer:
			s = x.String()
		case []byte:
			s = string(x)
		default:
			return a
		}
		if mayHoldSecret(s) {
			return slog.String(a.Key, secrets.ReplaceAllString(s, redacted))
		}
	}
	return a
}

// mayHoldSecret spares most lines the regular expression.
func mayHoldSecret(s string) bool {
	return len(s) >= 14 && (strings.Contains(s, "eyJ") || strings.Contains(s, "PRIVATE KEY") ||
		containsFold(s, "bearer") || containsFold(s, "dpop"))
}

func containsFold(s, word string) bool {
	for i := 0; i+len(word) <= len(s); i++ {
		if strings.EqualFold(s[i:i+len(word)], word) {
			return true
		}
	}
	return false
}
