package main_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"riptide/sip/siptest"
)

// withLogin makes the carrier's trunk one that registers with a password, and
// adds more keys to it.
func withLogin(t *testing.T, more string) func(string) string {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("open sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(config string) string {
		return replace(t, config, "  carrier:\n    sip:\n", fmt.Sprintf("  carrier:\n    sip:\n      login: {user: \"4711\", password: %q}\n      register: {}\n%s", file, more))
	}
}

// TestProviderWithKamailio: a provider whose registrar, digest and proxy are
// kamailio, in both directions; and with rtpengine as its media relay, towards
// which media are protected.
func TestProviderWithKamailio(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "register", "kamailio")
	siptest.Shows(t, "digest", "kamailio")
	siptest.Shows(t, "proxy", "kamailio")
	siptest.Shows(t, "udp", "kamailio")
	siptest.Shows(t, "tcp", "kamailio")
	siptest.Shows(t, "hold", "kamailio", "rtpengine")
	siptest.Shows(t, "media", "rtpengine")
	siptest.Shows(t, "srtp", "rtpengine")
	siptest.Shows(t, "dtls", "rtpengine")
	siptest.Shows(t, "dtmf", "rtpengine")
	for _, c := range []struct {
		name, keys string
		relay      bool
		digest     string
		profile    string
	}{
		{"over UDP", "", false, "", ""},
		{"over TCP", "      transport: tcp\n", false, "SHA-256", ""},
		{"with rtpengine", "      srtp: required\n      srtp-keys: clear\n", true, "", ""},
		{"with rtpengine and DTLS", "      srtp: dtls\n", true, "", "UDP/TLS/RTP/SAVP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var provider siptest.Provider
			s := startSBCWith(t, func(s *sbc) {
				provider = siptest.Provider{Netns: s.carrier, Port: 5060, User: "4711", Password: "open sesame", Phone: s.carrier.Addr + ":5070", Digest: c.digest, Profile: c.profile}
				if c.relay {
					provider.Relay = siptest.StartRTPEngine(t, s.carrier)
				}
				provider.Start(t)
			}, withLogin(t, c.keys))
			a := siptest.Baresip{Netns: s.pbx, Port: 5060, User: officeNumber, Hz: 620, Codec: "PCMU"}.Start(t)
			b := siptest.Baresip{Netns: s.carrier, Port: 5070, User: outsideNumber, Hz: 1040, Codec: "PCMU"}.Start(t)
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			for i, call := range []struct {
				caller, callee *siptest.BaresipRun
				uri            string
			}{
				{a, b, fmt.Sprintf("sip:%s@%s", outsideNumber, s.inside)},
				{b, a, fmt.Sprintf("sip:%s@%s:5060", officeNumber, s.carrier.Addr)},
			} {
				if err := call.caller.Dial(call.uri); err != nil {
					t.Fatal(err)
				}
				for _, phone := range []*siptest.BaresipRun{a, b} {
					if _, err := phone.Await(ctx, "CALL_ESTABLISHED", i); err != nil {
						t.Fatalf("call %d: %s: %v", i, phone.Addr, err)
					}
				}
				time.Sleep(1500 * time.Millisecond)
				if err := call.caller.Digit('5'); err != nil {
					t.Fatal(err)
				}
				time.Sleep(300 * time.Millisecond)
				if err := call.caller.Hold(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(500 * time.Millisecond)
				if err := call.caller.Resume(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(1500 * time.Millisecond)
				if err := call.callee.HangUp(); err != nil {
					t.Fatal(err)
				}
				if _, err := call.caller.Await(ctx, "CALL_CLOSED", i); err != nil {
					t.Fatalf("call %d: the caller was not hung up: %v", i, err)
				}
				s.node.settle(t)
				hearsTone(t, a, 1040)
				hearsTone(t, b, 620)
			}
			if a.Heard() != "5" || b.Heard() != "5" {
				t.Errorf("digits: %q and %q", a.Heard(), b.Heard())
			}
			if log := s.node.logText(t); c.relay && !strings.Contains(log, "AES_CM_128_HMAC_SHA1_80") && !strings.Contains(log, "AEAD_AES") {
				t.Error("the log tells of no protection of media")
			}
		})
	}
}

// TestSBCOverTCPAndLoss: calls over TCP, and over UDP where one SIP message in
// fifty is lost. They are long enough for a lost ACK to be made good: sipp's
// callee takes no BYE before it.
func TestSBCOverTCPAndLoss(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "tcp", "sipp")
	siptest.Shows(t, "loss", "sipp")
	s := startSBC(t, func(config string) string {
		return replace(t, config, "      peer: 192.0.2.20:5060\n", "      peer: 192.0.2.20:5060\n      transport: tcp\n")
	})
	for _, c := range []struct {
		name string
		tcp  bool
		lost int
	}{{"TCP", true, 0}, {"loss", false, 2}} {
		t.Run(c.name, func(t *testing.T) {
			const calls = 50
			uas := siptest.Sipp{Scenario: siptest.UAS, Script: siptest.Script{RingMS: 50}, Netns: s.carrier, Port: 5060, Calls: calls, Lost: c.lost, Timeout: 2 * time.Minute}.Start(t)
			r := siptest.Sipp{
				Scenario: siptest.UAC, Script: siptest.Script{From: officeNumber, HoldMS: 4000}, Netns: s.pbx, Port: 5060, Remote: s.inside, Service: outsideNumber,
				TCP: c.tcp, Calls: calls, Rate: 20, Lost: c.lost, Timeout: 2 * time.Minute,
			}.Start(t).Check(t, calls)
			uas.Check(t, calls)
			t.Logf("%d retransmissions", r.Retransmissions)
		})
	}
	s.node.settle(t)
}
