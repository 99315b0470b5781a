package main_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"riptide/sip/siptest"
)

// TestSecureMediaIsHeard: telephones with SRTP of either kind, with theirs and
// our keys first, hear each other through riptide, and nobody on the wire hears
// them.
func TestSecureMediaIsHeard(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "srtp", "baresip")
	siptest.Shows(t, "dtls", "baresip")
	siptest.Shows(t, "rtcp", "baresip")
	for _, c := range []struct {
		pbx, carrier   string // keys of their trunks
		caller, callee string // of the telephones
		mux            bool
		want           [2]string // what the log says of both legs
	}{
		{"srtp: required, srtp-keys: clear", "srtp: off", "srtp-mand", "", false, [2]string{"AES_CM_128_HMAC_SHA1_80", ""}},
		{"srtp: optional, srtp-keys: clear", "srtp: required, srtp-keys: clear", "srtp", "srtp-mand", true, [2]string{"AES_CM_128_HMAC_SHA1_80", "AEAD_AES_256_GCM"}},
		{"srtp: optional", "srtp: dtls", "dtls_srtp", "dtls_srtp", true, [2]string{"DTLS-SRTP_AES128_CM_HMAC_SHA1_80", "DTLS-SRTP_AEAD_AES_256_GCM"}},
		{"srtp: required", "srtp: optional, srtp-keys: clear", "dtls_srtp", "srtp", false, [2]string{"DTLS-SRTP_AES128_CM_HMAC_SHA1_80", "AEAD_AES_256_GCM"}},
	} {
		t.Run(c.caller+" to "+c.callee, func(t *testing.T) {
			t.Parallel()
			s := startSBC(t, withKeys("pbx", c.pbx), withKeys("carrier", c.carrier))
			a := siptest.Baresip{Netns: s.pbx, Port: 5060, User: officeNumber, Hz: 620, SRTP: c.caller, Mux: c.mux}.Start(t)
			b := siptest.Baresip{Netns: s.carrier, Port: 5060, User: outsideNumber, Hz: 1040, SRTP: c.callee, Mux: c.mux}.Start(t)
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			s.connect(t, ctx, a, b)
			time.Sleep(time.Second)
			s.talk(t, ctx, a, b, "42")
			hearsTone(t, a, 1040)
			hearsTone(t, b, 620)
			s.node.awaitLog(t, "call ended")
			end := s.node.logText(t)
			for i, side := range []string{"a", "b"} {
				if got := logged(end, side+".security"); got != c.want[i] {
					t.Errorf("leg %s was protected by %q, want %q", side, got, c.want[i])
				}
			}
		})
	}
}

// withKeys adds keys to the sip section of a trunk of the SBC.
func withKeys(trunk, keys string) func(config string) string {
	section := "  " + trunk + ":\n    sip:\n"
	lines := "      " + strings.ReplaceAll(keys, ", ", "\n      ") + "\n"
	return func(config string) string { return strings.Replace(config, section, section+lines, 1) }
}

// logged is the value of an attribute in a line of the log.
func logged(log, name string) string {
	m := regexp.MustCompile(fmt.Sprintf(`(?m)call ended.* %s=("[^"]*"|\S*)`, regexp.QuoteMeta(name))).FindStringSubmatch(log)
	if m == nil {
		return "nothing in the log"
	}
	return strings.Trim(m[1], `"`)
}
