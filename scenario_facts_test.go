package main_test

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"riptide/sip/siptest"
)

// factLines is an INVITE that says everything there is to say, and more.
var factLines = []string{
	`P-Asserted-Identity: "The Office" <sip:` + officeNumber + `;cpc=payphone;isup-oli=27@192.0.2.1;user=phone>`,
	"Contact: <sip:pbx;tgrp=tg-7;trunk-context=pbx.example@127.0.0.1>",
	"Diversion: <sip:+12025550111@192.0.2.1>;reason=no-answer;counter=1",
	"Resource-Priority: ets.0",
	"Geolocation: <cid:where@pbx.example>, <https://lis.example/1>",
	"Geolocation-Routing: yes",
	"Accept-Language: de-AT, en;q=0.5",
	`P-Charging-Vector: icid-value="icid-1";orig-ioi=home1.example`,
	"Session-ID: 4bf92f3577b34da6a3ce929d0e0e4736;remote=00000000000000000000000000000000",
	"X-Account: 17",
	"X-Secret: leaked",
	"P-Access-Network-Info: leaked",
	"User-to-User: leaked",
}

// factCall places one such call from the office's side with a socket of its
// own, and returns the 200 as text.
func factCall(t *testing.T, to string, lines []string) string {
	t.Helper()
	conn, err := net.Dial("udp", to)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	here := conn.LocalAddr().String()
	body := strings.Join([]string{
		"--xyz", "Content-Type: application/sdp", "",
		"v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0", "m=audio 40000 RTP/AVP 0", "a=rtpmap:0 PCMU/8000",
		"--xyz", "Content-Type: application/pidf+xml", "Content-ID: <where@pbx.example>", "", "<presence>Gate 7</presence>", "--xyz--", "",
	}, "\r\n")
	id := fmt.Sprintf("facts-%d@127.0.0.1", time.Now().UnixNano())
	request := func(method, uri, tag string, seq int, more []string, body string) {
		head := []string{
			method + " " + uri + " SIP/2.0", "Via: SIP/2.0/UDP " + here + ";rport;branch=z9hG4bK" + method + id[6:20], "Max-Forwards: 70",
			`From: <sip:` + officeNumber + `@pbx.example>;tag=facts`, "To: <sip:" + telcoNumber + "@" + to + ">" + tag,
			"Call-ID: " + id, fmt.Sprintf("CSeq: %d %s", seq, method),
		}
		head = append(append(head, more...), fmt.Sprintf("Content-Length: %d", len(body)), "", body)
		if _, err := conn.Write([]byte(strings.Join(head, "\r\n"))); err != nil {
			t.Fatal(err)
		}
	}
	await := func(start string) string {
		_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		var seen []string
		for b := make([]byte, 65535); ; {
			n, err := conn.Read(b)
			if err != nil {
				t.Fatalf("no %q: %v; saw %q", start, err, seen)
			}
			if text := string(b[:n]); strings.HasPrefix(text, start) {
				return text
			}
			line, _, _ := strings.Cut(string(b[:n]), "\r\n")
			seen = append(seen, line)
		}
	}
	request("INVITE", "sip:"+telcoNumber+";npdi;rn=+12025550177;cic=+1-0288@"+to, "", 1, append(lines, "Content-Type: multipart/mixed;boundary=xyz"), body)
	answer := await("SIP/2.0 200")
	tag := regexp.MustCompile(`(?mi)^To:.*(;tag=[^;\s]+)`).FindStringSubmatch(answer)
	target := regexp.MustCompile(`(?mi)^Contact: *<([^>]+)>`).FindStringSubmatch(answer)
	if tag == nil || target == nil {
		t.Fatalf("the answer makes no dialog:\n%s", answer)
	}
	request("ACK", target[1], tag[1], 1, nil, "")
	request("BYE", target[1], tag[1], 2, []string{`Reason: Q.850;cause=16;location=LPN;text="done"`}, "")
	await("SIP/2.0 200")
	return answer
}

// TestFactsCrossBothBridges: SIP, RIPT, SIP. All that an INVITE says arrives
// where every trunk on the way allows it, next to nothing where none does, and
// what nobody listed never.
func TestFactsCrossBothBridges(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "facts", "scripted")
	siptest.Shows(t, "facts", "sipp")
	arrives := []string{
		";npdi", ";rn=+12025550177", ";cic=+1-0288", ";cpc=payphone", ";isup-oli=27", ";tgrp=tg-7;trunk-context=pbx.example", `"The Office"`,
		"Diversion: <sip:+12025550111@127.0.0.1;user=phone>;reason=no-answer;counter=1", "Resource-Priority: ets.0", "<https://lis.example/1>",
		"<cid:", "<presence>Gate 7</presence>", "Geolocation-Routing: yes", "Accept-Language: de-AT, en;q=0.950",
		`P-Charging-Vector: icid-value="icid-1";orig-ioi="home1.example"`, "X-Account: 17",
	}
	for name, tc := range map[string]struct {
		facts string // of every trunk
		want  bool
	}{
		"allowed":     {"facts: {accept: all, send: all, carry: X-Account}", true},
		"not allowed": {"facts: {accept: none, send: none}", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			callee := siptest.Sipp{Scenario: siptest.UAS}.Start(t)
			p := startSite(t, siteOptions{to: callee.Addr, edit: func(_, config string) string {
				return replace(t, replace(t, config, "    sip:\n", "    "+tc.facts+"\n    sip:\n"), "    ript:\n", "    "+tc.facts+"\n    ript:\n")
			}})
			answer := factCall(t, p.office.sip, factLines)
			callee.Check(t, 1)
			got := callee.Messages()
			for _, want := range arrives {
				if strings.Contains(got, want) != tc.want {
					t.Errorf("%q in what the callee got: %v", want, !tc.want)
				}
			}
			if strings.Contains(got, "leaked") {
				t.Error("a header field that nobody listed crossed")
			}
			if !strings.Contains(got, "Session-ID: 4bf92f3577b34da6a3ce929d0e0e4736;remote=00000000000000000000000000000000") {
				t.Error("the caller's session id did not cross")
			}
			if !strings.Contains(got, "Q.850;cause=16;location=LPN") {
				t.Error("the location of the BYE's cause did not cross")
			}
			if !strings.Contains(answer, ";remote=4bf92f3577b34da6a3ce929d0e0e4736") {
				t.Errorf("the answer has not both halves of the session id:\n%s", answer)
			}
			for _, n := range []node{p.office, p.telco} {
				if text := n.logText(t); !strings.Contains(text, "trace=4bf92f3577b34da6a3ce929d0e0e4736") {
					t.Errorf("the log of %s does not name the trace", n.name)
				}
			}
			if t.Failed() {
				t.Logf("the callee's messages:\n%s", got)
			}
		})
	}
}

// TestDiversionsOfSipp: who was called before is told in the words of each trunk:
// Diversion (RFC 5806) on one side, History-Info (RFC 7044) on the other.
func TestDiversionsOfSipp(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "facts", "sipp")
	s := startSBC(t, func(config string) string {
		return replace(t, config, "  carrier:\n    sip:\n", "  carrier:\n    sip:\n      diversions: history-info\n")
	})
	const first = "+12025550111"
	for _, way := range []struct {
		name, line         string
		from, to           *siptest.Namespace
		remote, me, called string
		arrives            []string
	}{
		{
			"Diversion becomes History-Info", "Diversion: <sip:" + first + "@192.0.2.20>;reason=user-busy;counter=1",
			s.pbx, s.carrier, s.inside, officeNumber, outsideNumber, []string{"History-Info: ", first, ";cause=486>"},
		},
		{
			"History-Info becomes Diversion",
			"History-Info: <sip:" + first + "@198.51.100.20?Reason=SIP%3Bcause%3D486>;index=1, <sip:" + officeNumber + "@198.51.100.10;cause=486>;index=1.1;mp=1",
			s.carrier, s.pbx, s.outside, outsideNumber, officeNumber, []string{"Diversion: ", first, "reason=user-busy"},
		},
	} {
		t.Run(way.name, func(t *testing.T) {
			callee := siptest.Sipp{Scenario: siptest.UAS, Script: siptest.Script{RingMS: 20}, Netns: way.to, Port: 5060}.Start(t)
			siptest.Sipp{
				Scenario: siptest.UAC, Script: siptest.Script{From: way.me, HoldMS: 50, Headers: []string{way.line}}, Netns: way.from, Port: 5060, Remote: way.remote, Service: way.called,
			}.Start(t).Check(t, 1)
			callee.Check(t, 1)
			m := callee.Messages()
			for _, text := range way.arrives {
				if !strings.Contains(m, text) {
					t.Errorf("no %q:\n%s", text, m)
				}
			}
		})
	}
	s.node.settle(t)
}
