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

// withUsers makes the PBX's trunk one whose users register with a password, each
// from the PBX's network.
func withUsers(t *testing.T, algorithms string) func(string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(file, []byte(officeNumber+":open-sesame\nfront:desk\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(config string) string {
		return replace(t, config, "      peer: 192.0.2.20:5060\n", fmt.Sprintf("      match: 192.0.2.20/32\n      accept: {users: %q, register: allow, algorithms: %s}\n", file, algorithms))
	}
}

// TestRegistrarOfBaresip: a telephone registers with riptide, is asked for its
// password with its calls too, and is called where it registered. This one gives
// up where it is offered SHA-256 too.
func TestRegistrarOfBaresip(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "registrar", "baresip")
	siptest.Shows(t, "digest", "baresip")
	s := startSBC(t, withUsers(t, "MD5"))
	a := siptest.Baresip{Netns: s.pbx, Port: 5070, User: officeNumber, Password: "open-sesame", Registrar: s.inside, Hz: 620, Codec: "PCMU"}.Start(t)
	s.registeredTelephone(t, a)
}

// registeredTelephone has a telephone of the PBX register, call and be called, in
// speech that is heard.
func (s *sbc) registeredTelephone(t *testing.T, a *siptest.BaresipRun) {
	t.Helper()
	b := siptest.Baresip{Netns: s.carrier, Port: 5060, User: outsideNumber, Hz: 1040, Codec: "PCMU"}.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	s.node.awaitLogged(t, "contacts=1", 1) // baresip says it before anybody can listen
	for i, call := range []struct {
		from, to *siptest.BaresipRun
		uri      string
	}{{a, b, "sip:" + outsideNumber + "@" + s.inside}, {b, a, "sip:" + officeNumber + "@" + s.outside}} {
		if err := call.from.Dial(call.uri); err != nil {
			t.Fatal(err)
		}
		for _, phone := range []*siptest.BaresipRun{a, b} {
			if _, err := phone.Await(ctx, "CALL_ESTABLISHED", i); err != nil {
				t.Fatalf("call %d: %s: %v", i, phone.Addr, err)
			}
		}
		time.Sleep(2 * time.Second)
		if err := call.from.HangUp(); err != nil {
			t.Fatal(err)
		}
		if _, err := call.to.Await(ctx, "CALL_CLOSED", i); err != nil {
			t.Fatal(err)
		}
		s.node.settle(t)
		hearsTone(t, a, 1040)
		hearsTone(t, b, 620)
	}
}

// TestNATOfBaresip: livekit/sip#611, emiago/diago#100: a telephone behind a NAT,
// which knows nothing but its private address, registers, calls and is called,
// and is heard.
func TestNATOfBaresip(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "nat", "baresip")
	siptest.Need(t, "nft")
	s := startSBC(t, withUsers(t, "MD5"))
	home := siptest.NewNamespaceAt(t, "10.1.0.20")
	s.pbx.Join(t, "lan", "10.1.0.1", home, "wan", "10.1.0.20")
	for _, c := range []struct {
		in   *siptest.Namespace
		line string
	}{
		{s.pbx, "echo 1 > /proc/sys/net/ipv4/ip_forward"},
		{s.pbx, `nft 'table ip nat { chain out { type nat hook postrouting priority 100; oifname "wire" masquerade random; }; }'`},
		{home, "ip route replace default via 10.1.0.1"},
	} {
		if out, err := c.in.Command("sh", "-c", c.line).CombinedOutput(); err != nil {
			siptest.Missing(t, "a NAT (%s: %v: %s)", c.line, err, out)
		}
	}
	a := siptest.Baresip{Netns: home, Port: 5070, User: officeNumber, Password: "open-sesame", Registrar: s.inside, Hz: 620, Codec: "PCMU"}.Start(t)
	s.registeredTelephone(t, a)
}

// TestRegistrarOfSipp: a user who registers and proves who it is; one who has the
// wrong password; and a user whose name is no number and gets all the calls.
func TestRegistrarOfSipp(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "registrar", "sipp")
	siptest.Shows(t, "digest", "sipp")
	s := startSBC(t, withUsers(t, "MD5"))
	script := siptest.Script{From: officeNumber, Status: 401, User: officeNumber, Password: "open-sesame", HoldMS: 50}
	caller := func(t *testing.T, scenario siptest.Scenario, script siptest.Script) {
		t.Helper()
		siptest.Sipp{Scenario: scenario, Script: script, Netns: s.pbx, Port: 5070, Remote: s.inside, Service: outsideNumber}.Start(t).Check(t, 1)
	}
	t.Run("a wrong password", func(t *testing.T) {
		wrong := script
		wrong.Password, wrong.Status = "guess", 403
		caller(t, siptest.UACRegisters, wrong)
	})
	t.Run("nobody has registered", func(t *testing.T) {
		siptest.Sipp{Scenario: siptest.UACRefused, Script: siptest.Script{From: outsideNumber, Status: 503}, Netns: s.carrier, Port: 5060, Remote: s.outside, Service: officeNumber}.Start(t).Check(t, 1)
	})
	t.Run("registers", func(t *testing.T) {
		right := script
		right.Status = 200
		caller(t, siptest.UACRegisters, right)
	})
	t.Run("calls", func(t *testing.T) {
		callee := siptest.Sipp{Scenario: siptest.UAS, Script: siptest.Script{RingMS: 50}, Netns: s.carrier, Port: 5060}.Start(t)
		caller(t, siptest.UACProves, script)
		callee.Check(t, 1)
	})
	t.Run("is called", func(t *testing.T) {
		callee := siptest.Sipp{Scenario: siptest.UAS, Script: siptest.Script{RingMS: 50}, Netns: s.pbx, Port: 5070}.Start(t)
		siptest.Sipp{Scenario: siptest.UAC, Script: siptest.Script{From: outsideNumber, HoldMS: 50}, Netns: s.carrier, Port: 5060, Remote: s.outside, Service: officeNumber}.Start(t).Check(t, 1)
		callee.Check(t, 1)
	})
	s.node.settle(t)
}

// TestLoginAtSipp: sipp asks for a password with each call, and again with its
// end, and checks what it is told.
func TestLoginAtSipp(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "digest", "sipp")
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("open-sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startSBC(t, func(config string) string {
		return replace(t, config, "  carrier:\n    sip:\n", fmt.Sprintf("  carrier:\n    sip:\n      login: {user: \"4711\", password: %q}\n", file))
	})
	callee := siptest.Sipp{
		Scenario: siptest.UASAsks, Script: siptest.Script{RingMS: 50, User: "4711", Password: "open-sesame"}, Netns: s.carrier, Port: 5060, Calls: 3,
	}.Start(t)
	siptest.Sipp{
		Scenario: siptest.UAC, Script: siptest.Script{From: officeNumber, HoldMS: 100}, Netns: s.pbx, Port: 5060, Remote: s.inside, Service: outsideNumber, Calls: 3,
	}.Start(t).Check(t, 3)
	callee.Check(t, 3)
	if m := callee.Messages(); strings.Contains(m, "403 Wrong Password") {
		t.Errorf("sipp does not believe us:\n%s", m)
	}
	s.node.settle(t)
}

// TestRegistersAtSipp: a registrar that wants longer times (423), a password
// (401), and to be left alone for a second (503); the trunk has calls after it.
// One registration may stand for all its numbers (RFC 6140).
func TestRegistersAtSipp(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "register", "sipp")
	for name, bulk := range map[string]bool{"one number": false, "all numbers": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var registrar *siptest.SippRun
			s := startSBCWith(t, func(s *sbc) {
				registrar = siptest.Sipp{Scenario: siptest.UASRegistrar, Script: siptest.Script{User: "4711", Password: "open sesame"}, Netns: s.carrier, Port: 5060}.Start(t)
			}, withLogin(t, ""), func(config string) string {
				if bulk {
					config = replace(t, config, "      register: {}\n", "      register: {bulk: true}\n")
				}
				return config
			})
			registrar.Check(t, 1)
			m := registrar.Messages()
			if strings.Contains(m, "403 Wrong Password") {
				t.Errorf("sipp does not believe us:\n%s", m)
			}
			if strings.Contains(m, ";bnc") != bulk || strings.Contains(m, "Require: gin") != bulk {
				t.Errorf("bulk registration is %v in:\n%s", !bulk, m)
			}
			callee := s.server(t, 5060, siptest.UAS, rings, 1)
			s.call(t, siptest.UAC, talks, 1)
			callee.Check(t, 1)
			s.node.settle(t)
		})
	}
}

// TestNAPTROfSipp: a carrier whose DNS prefers TCP (RFC 3263 section 4.1) is called
// over TCP, and over UDP when nobody is there.
func TestNAPTROfSipp(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "failover", "sipp")
	s := startSBCWith(t, func(s *sbc) {
		s.node.ns.ServeNames(t, append(carrierServers,
			`carrier.example. 600 IN NAPTR 10 0 "s" "SIP+D2T" "" _sip._tcp.carrier.example.`,
			`carrier.example. 600 IN NAPTR 20 0 "s" "SIP+D2U" "" _sip._udp.carrier.example.`,
			"_sip._tcp.carrier.example. 600 IN SRV 10 0 5080 sip.carrier.example.")...)
	}, func(config string) string {
		return replace(t, config, "      peer: 198.51.100.20:5060\n", "      peer: carrier.example\n      transport: auto\n")
	})
	overTCP := siptest.Sipp{Scenario: siptest.UAS, Script: rings, Netns: s.carrier, Port: 5080, TCP: true, Calls: 2}.Start(t)
	s.call(t, siptest.UAC, talks, 2)
	overTCP.Check(t, 2)
	overUDP := s.server(t, 5060, siptest.UAS, rings, 2)
	s.call(t, siptest.UAC, talks, 2)
	overUDP.Check(t, 2)
	s.node.settle(t)
}
