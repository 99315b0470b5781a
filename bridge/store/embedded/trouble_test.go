package embedded

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestRefusedCertificatesAreToldOnce: nodes that do not accept each other's
// certificates try once a second, and an operator reads of it once.
func TestRefusedCertificatesAreToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const refused = "TLS route handshake error: remote error: tls: unknown certificate authority"
		var out strings.Builder
		log := slog.New(slog.NewTextHandler(&out, nil))
		var trouble Trouble
		lines := func() int { return strings.Count(out.String(), "cluster.tls.certificate") }
		trouble.note(log, "127.0.0.1:6222 - rid:7 - Router connection closed: Write Error")
		trouble.note(log, "Error trying to connect to route (attempt 1): dial tcp 127.0.0.1:6222: connect: connection refused")
		if why := trouble.Now(); why != "" || lines() != 0 {
			t.Errorf("%q, %s", why, &out)
		}
		for i := range 100 {
			trouble.note(log, "127.0.0.1:"+string(rune('0'+i%10))+" - rid:7 - "+refused)
			time.Sleep(time.Second)
		}
		if why := trouble.Now(); why != "remote error: tls: unknown certificate authority" || lines() != 1 {
			t.Errorf("%q, %s", why, &out)
		}
		trouble.note(log, "TLS route handshake error: tls: failed to verify certificate: x509: certificate has expired")
		if why := trouble.Now(); !strings.Contains(why, "expired") || lines() != 2 {
			t.Errorf("%q, %s", why, &out)
		}
		time.Sleep(time.Hour)
		if why := trouble.Now(); why != "" {
			t.Errorf("an hour later: %q", why)
		}
		trouble.note(log, refused)
		if lines() != 3 {
			t.Errorf("it came back: %s", &out)
		}
		for i := range 10 * maxTroubles {
			trouble.note(log, refused+strings.Repeat("x", i))
		}
		if len(trouble.seen) > maxTroubles {
			t.Errorf("%d are remembered", len(trouble.seen))
		}
	})
}
