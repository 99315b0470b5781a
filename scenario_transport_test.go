package main_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"riptide/configs/setup"
	"riptide/sip/siptest"
)

// transportConfig is a box with a PBX on UDP and one peer, a kamailio, that is
// reached over everything: by the last digit of the number that is called.
const transportConfig = `
state: %[1]q
admin: %[2]s
sip:
  listen: ["%[3]s", "tls:%[4]s"]
  tls: {certificate: %[5]q, key: %[6]q}
trunks:
  pbx:
    sip: {peer: "%[7]s", match: 127.0.0.1/32, callers: "*"}
  tcp:
    sip: {peer: "%[8]s", transport: tcp, match: 127.0.0.9/32, callers: "*"}
  tls:
    sip: {peer: "%[9]s", transport: tls, callers: "*", tls: {roots: %[11]q, name: kamailio.test, client: required}}
  ws:
    sip: {peer: "%[10]s", transport: ws, match: 127.0.0.10/32, callers: "*"}
  wss:
    sip: {peer: "%[9]s", transport: wss, match: 127.0.0.11/32, callers: "*", tls: {roots: %[11]q, name: kamailio.test}}
routes:
  - {from: pbx, to: "+12025550191", trunk: tcp}
  - {from: pbx, to: "+12025550192", trunk: tls}
  - {from: pbx, to: "+12025550193", trunk: ws}
  - {from: pbx, to: "+12025550194", trunk: wss}
  - {from: tls, to: "+*", trunk: pbx}
`

// transports is a box between sipp on UDP and kamailio on everything else.
type transports struct {
	node      node
	kill      func() // kills the box
	tls       string // where the box listens for TLS
	ca        *siptest.Authority
	kamailio  *siptest.GatewayRun
	callee    string // HOST:PORT behind kamailio
	telephone string // HOST:PORT of the PBX's
	cert, key string // kamailio's
}

func startTransports(t *testing.T) *transports {
	t.Helper()
	x := &transports{ca: siptest.NewAuthority(t), node: siteNode(t, t.TempDir(), "box"), tls: loopback(t), callee: loopback(t), telephone: loopback(t)}
	own, ownKey := x.ca.Issue("riptide.test")
	x.cert, x.key = x.ca.Issue("kamailio.test")
	x.kamailio = siptest.Gateway{
		Edge: x.tls + ";transport=tls", Next: x.callee, Certificate: x.cert, Key: x.key, CA: x.ca.Roots,
	}.Start(t)
	if err := os.MkdirAll(x.node.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(transportConfig, filepath.Join(x.node.dir, "state"), x.node.admin, x.node.sip, x.tls, own, ownKey,
		x.telephone, x.kamailio.UDP, x.kamailio.TLS, x.kamailio.WS, x.ca.Roots)
	if err := os.WriteFile(filepath.Join(x.node.dir, setup.ConfigFile), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	x.kill = serveNode(t, x.node)
	x.node.awaitReady(t, "")
	return x
}

// portOf is the port of HOST:PORT.
func portOf(t *testing.T, addr string) (port int) {
	t.Helper()
	if _, err := fmt.Sscanf(addr[strings.LastIndex(addr, ":")+1:], "%d", &port); err != nil {
		t.Fatal(err)
	}
	return port
}

// TestTransports: calls cross the whole bridge between UDP and TCP, TLS with
// certificates on both sides, WebSocket and secure WebSocket, with kamailio at
// the other end; either side hangs up.
func TestTransports(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "tls", "kamailio")
	siptest.Shows(t, "websocket", "kamailio")
	x := startTransports(t)
	for digit, name := range map[int]string{1: "TCP", 2: "TLS", 3: "WS", 4: "WSS"} {
		for _, hangs := range []struct {
			up       string
			uac, uas siptest.Scenario
		}{{"caller", siptest.UAC, siptest.UAS}, {"callee", siptest.UACHearsBye, siptest.UASHangsUp}} {
			t.Run(name+" "+hangs.up+" hangs up", func(t *testing.T) {
				uas := siptest.Sipp{Scenario: hangs.uas, Script: siptest.Script{RingMS: 20, HoldMS: 50}, Port: portOf(t, x.callee)}.Start(t)
				siptest.Sipp{
					Scenario: hangs.uac, Script: siptest.Script{From: officeNumber, HoldMS: 50}, Remote: x.node.sip, Service: fmt.Sprintf("+1202555019%d", digit),
				}.Start(t).Check(t, 1)
				uas.Check(t, 1)
				if m := uas.Messages(); !strings.Contains(m, "SIP/2.0/"+name) {
					t.Errorf("no Via with %s:\n%s", name, m)
				}
			})
		}
	}
	t.Run("in over TLS", func(t *testing.T) {
		uas := siptest.Sipp{Scenario: siptest.UAS, Script: siptest.Script{RingMS: 20}, Port: portOf(t, x.telephone)}.Start(t)
		siptest.Sipp{
			Scenario: siptest.UAC, Script: siptest.Script{From: telcoNumber, HoldMS: 50}, Remote: x.kamailio.UDP, Service: officeNumber,
		}.Start(t).Check(t, 1)
		uas.Check(t, 1)
	})
	x.node.settle(t)
}

// TestOpenSSLKnocks: what OpenSSL gets out of the TLS listener: 1.2 and 1.3 with
// the trunk's certificate, and nothing otherwise.
func TestOpenSSLKnocks(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "tls", "scripted")
	x := startTransports(t)
	openssl := siptest.Need(t, "openssl")[0]
	options := "OPTIONS sip:riptide.test SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:9;branch=z9hG4bKknock;rport\r\nMax-Forwards: 70\r\nFrom: <sip:a@kamailio.test>;tag=1\r\n" +
		"To: <sip:riptide.test>\r\nCall-ID: knock%s@kamailio.test\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
	stranger, strangerKey := siptest.NewAuthority(t).Issue("kamailio.test")
	for name, tc := range map[string]struct {
		args []string
		want bool
	}{
		"TLS 1.2":               {[]string{"-tls1_2", "-cert", x.cert, "-key", x.key}, true},
		"TLS 1.3":               {[]string{"-tls1_3", "-cert", x.cert, "-key", x.key}, true},
		"TLS 1.1":               {[]string{"-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0", "-cert", x.cert, "-key", x.key}, false},
		"another's certificate": {[]string{"-tls1_3", "-cert", stranger, "-key", strangerKey}, true}, // by its address it is the PBX
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		args := append([]string{"s_client", "-connect", x.tls, "-CAfile", x.ca.Roots, "-verify_hostname", "riptide.test", "-verify_return_error", "-servername", "riptide.test", "-quiet", "-no_ign_eof"}, tc.args...)
		cmd := exec.CommandContext(ctx, openssl, args...)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(in, options, strings.ReplaceAll(name, " ", ""))
		time.Sleep(time.Second) // until the answer is there; then s_client may end
		_ = in.Close()
		_ = cmd.Wait()
		cancel()
		if got := strings.Contains(out.String(), "SIP/2.0 200"); got != tc.want {
			t.Errorf("%s: answered %v\n%s", name, got, out.String())
		}
	}
}

// TestSipvicious: scanners from an address of no trunk find nobody, guess
// nothing, and are counted.
func TestSipvicious(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "flood", "scripted")
	siptest.Need(t, "svmap", "svwar", "svcrack")
	n := siteNode(t, t.TempDir(), "box")
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("state: %q\nadmin: %s\nsip: {listen: %q}\ntrunks: {pbx: {sip: {peer: 127.0.0.7, callers: \"*\"}}}\n", filepath.Join(n.dir, "state"), n.admin, n.sip)
	if err := os.WriteFile(filepath.Join(n.dir, setup.ConfigFile), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	serveNode(t, n)
	n.awaitReady(t, "")
	port := fmt.Sprint(portOf(t, n.sip))
	words := filepath.Join(t.TempDir(), "words")
	if err := os.WriteFile(words, []byte("100\n1234\nsecret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"svmap", "-p", port, "127.0.0.1"},
		{"svmap", "-p", port, "-m", "INVITE", "127.0.0.1"},
		{"svwar", "-p", port, "-e", "100-105", "-m", "INVITE", "127.0.0.1"},
		{"svwar", "-p", port, "-e", "100-105", "-m", "REGISTER", "127.0.0.1"},
		{"svcrack", "-p", port, "-u", "100", "-d", words, "127.0.0.1"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		cmd := exec.CommandContext(ctx, siptest.Need(t, args[0])[0], args[1:]...)
		cmd.Dir, cmd.Env = t.TempDir(), append(os.Environ(), "HOME="+t.TempDir())
		out, _ := cmd.CombinedOutput() // the status says that nothing was found
		cancel()
		for _, word := range []string{"riptide", "User Agent", "SIP/2.0", "reqauth", "noauth", "The password for"} {
			if strings.Contains(string(out), word) {
				t.Errorf("%v learns something:\n%s", args, out)
				break
			}
		}
	}
	if dropped := sum(n.metrics(t), "riptide_sip_dropped_total", `reason="stranger"`); dropped < 5 {
		t.Errorf("%d packets of strangers were dropped: the scanners have not scanned", dropped)
	}
}
