package h3

import (
	"context"
	"strings"
	"testing"
	"time"

	"riptide/bridge"
)

// TestServerMigrates: clients that are asked to attach anew do so, with a new
// epoch and at another name of the server if they are told one, and the calls go
// on.
func TestServerMigrates(t *testing.T) {
	t.Parallel()
	for _, carrier := range []string{"trunk", "put-get"} {
		t.Run(carrier, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, carrier)
			out, in := p.dial()
			must(t, in.Answer(t.Context(), bridge.Answer{Media: testPlan}))
			awaitKind(t, out, bridge.Answered)
			p.heard(out, in)
			leg := out.(*clientLeg)
			first, epoch := leg.place()
			for i, origin := range []string{"", "https://" + testAuthority + ":9443"} {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				m, err := p.server.Migrate(ctx, origin)
				cancel()
				if err != nil || m != (Migration{Asked: 1, Attached: 1}) {
					t.Fatalf("to %q: %+v, %v", origin, m, err)
				}
				uri, now := leg.place()
				if now != epoch+uint64(i)+1 {
					t.Errorf("epoch %d after %d migrations from %d", now, i+1, epoch)
				}
				if want := strings.Replace(first, "https://"+testAuthority, "https://"+testAuthority+strings.Repeat(":9443", i), 1); uri != want {
					t.Errorf("the client is at %s, want %s", uri, want)
				}
				p.heard(out, in)
			}
			must(t, out.End(t.Context(), bridge.CauseNormal))
			if c := awaitEnded(t, in); c.Code != "normal" {
				t.Errorf("the call ended as %v", c)
			}
			if m, err := p.server.Migrate(t.Context(), ""); err != nil || m.Asked != 0 {
				t.Errorf("without calls: %+v, %v", m, err)
			}
		})
	}
}

// TestMigrateElsewhereRefused: nobody is asked to go where clients do not go.
func TestMigrateElsewhereRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for origin, why := range map[string]string{
		"http://" + testAuthority:              "not an absolute https URI",
		"https://elsewhere.example":            "outside",
		"https://" + testAuthority + "/calls":  "has a path",
		"https://" + testAuthority + "/?x=1":   "has a path",
		"box":                                  "not an absolute https URI",
		"https://u:p@" + testAuthority:         "not an absolute https URI",
		"https://" + strings.Repeat("x", 3000): "longer",
	} {
		if _, err := r.server.Migrate(t.Context(), origin); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%.60s: %v, want %s", origin, err, why)
		}
	}
}
