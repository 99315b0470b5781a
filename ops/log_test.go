package ops

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
)

func TestLogFormats(t *testing.T) {
	for format, want := range map[string]string{"text": `node=office call=c1`, "json": `"node":"office","call":"c1"`} {
		var out strings.Builder
		log, level, err := NewLogger(&out, "info", format, "office")
		if err != nil {
			t.Fatal(err)
		}
		log.Debug("hidden")
		log.Info("call answered", "call", "c1")
		level.Set(slog.LevelDebug)
		log.Debug("shown")
		if s := out.String(); !strings.Contains(s, want) || strings.Contains(s, "hidden") || !strings.Contains(s, "shown") {
			t.Errorf("%s: %s", format, s)
		}
	}
}

func TestLogMistakes(t *testing.T) {
	for _, tc := range [][2]string{{"loud", "text"}, {"info", "xml"}} {
		if _, _, err := NewLogger(nil, tc[0], tc[1], "x"); err == nil {
			t.Errorf("%v was taken", tc)
		}
	}
}

func TestLogRedacts(t *testing.T) {
	const jwt = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJzZXNhbWUifQ.c2VzYW1lc2VzYW1l"
	const compact = "eyJhbGciOiJFUzI1NiJ9..c2VzYW1lc2VzYW1l"
	const key = "-----BEGIN EC PRIVATE KEY-----\nc2VzYW1l\n-----END EC PRIVATE KEY-----"
	for name, attr := range map[string]slog.Attr{
		"name":          slog.String("Token", "c2VzYW1l"),
		"passport":      slog.String("passport", "c2VzYW1l"),
		"JWT":           slog.String("text", "refused "+jwt+" as expired"),
		"compact":       slog.String("header", compact+";info=<https://a.example>"),
		"bearer":        slog.String("header", "Authorization: BEARER c2VzYW1l-long-opaque"),
		"private key":   slog.String("text", key),
		"error":         slog.Any("error", errors.New("post: "+jwt)),
		"bytes":         slog.Any("body", []byte(jwt)),
		"in a group":    slog.Group("request", slog.String("header", "Bearer c2VzYW1l-long-opaque")),
		"in a LogValue": slog.Any("x", valuer(jwt)),
	} {
		for _, format := range []string{"text", "json"} {
			var out strings.Builder
			log, _, err := NewLogger(&out, "info", format, "x")
			if err != nil {
				t.Fatal(err)
			}
			log.LogAttrs(t.Context(), slog.LevelInfo, "event "+jwt, attr)
			log.With(attr).Info("event")
			s := out.String()
			if strings.Contains(s, "c2VzYW1l") || strings.Contains(s, "eyJzdWIi") || strings.Count(s, redacted) < 3 {
				t.Errorf("%s, %s: %s", name, format, s)
			}
		}
	}
}

type valuer string

func (v valuer) LogValue() slog.Value { return slog.StringValue(string(v)) }

func TestLogLeavesTheRest(t *testing.T) {
	var out strings.Builder
	log, _, err := NewLogger(&out, "info", "text", "x")
	if err != nil {
		t.Fatal(err)
	}
	log.Info("token refused", "error", errors.New("bearer token expired"), "cause", "token-expired", "to", "+12025550123")
	if s := out.String(); strings.Contains(s, redacted) || !strings.Contains(s, "bearer token expired") {
		t.Error(s)
	}
}
