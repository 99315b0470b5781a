package main

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"riptide/configs"
	"riptide/sip/siptest"
)

// Mistakes in flags are told before anything starts, with the flag that mends
// them.
func TestDemoFlags(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"both nodes on one address": {[]string{"--sip", "127.0.0.1:47060", "--telco-sip", "127.0.0.1:47060"}, "--telco-sip"},
		"wildcard":                  {[]string{"--sip", "0.0.0.0:0"}, "--sip \"0.0.0.0:0\": a wildcard"},
		"the office behind the telco": {[]string{"--sip", "127.0.0.1:47061", "--telco-sip", "127.0.0.1:0", "--to", "127.0.0.1:47061"},
			"--to 127.0.0.1:47061 is where the office itself listens"},
		"no address": {[]string{"--sip", "localhost"}, "want an IP address and a port"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			app := &cli.App{Writer: io.Discard, ErrWriter: io.Discard, Commands: []*cli.Command{demoCommand()}, ExitErrHandler: func(*cli.Context, error) {}}
			err := app.Run(append([]string{"riptide", "demo", "--call"}, tc.args...))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q in it", err, tc.want)
			}
		})
	}
}

// An IPv6 address has a bracket and colons, which mean something in YAML.
func TestDemoConfigurationWithIPv6(t *testing.T) {
	t.Parallel()
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		siptest.Missing(t, "IPv6 on this machine (sysctl net.ipv6.conf.lo.disable_ipv6=0): %v", err)
	} else {
		_ = l.Close()
	}
	office := demoSide{Name: "office", Node: "office", Peer: "telco", SIPTrunk: "pbx", SIPPeer: "[::1]:5080", SIPTransport: "udp", Ports: "16384-16484"}
	telco := demoSide{Name: "telco", Node: "telco", Peer: "office", SIPTrunk: "carrier", SIPPeer: "[::1]:5090", SIPTransport: "udp", Ports: "16484-16584"}
	for _, s := range []*demoSide{&office, &telco} {
		s.Dir, s.Numbers, s.Media, s.LogLevel = t.TempDir(), demoNumbers, "auto", "info"
		if err := errors.Join(s.addresses("sip", "[::1]:0"), s.makeKeys()); err != nil {
			t.Fatal(err)
		}
	}
	office.PeerRIPT, office.PeerDir = telco.RIPT, telco.Dir
	telco.PeerRIPT, telco.PeerDir = office.RIPT, office.Dir
	if err := office.configure(); err != nil {
		t.Fatal(err)
	}
	cfg, err := configs.Load(office.Dir + "/riptide.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.SIP.Listen[0].String(); got != office.SIP {
		t.Errorf("listens on %s, want %s", got, office.SIP)
	}
}

// TestCutOffsInALog: a node that is stopped lets go of its lease as well.
func TestCutOffsInALog(t *testing.T) {
	t.Parallel()
	const log = `level=INFO msg="cluster lease" node=telco-1 held=true term=1
level=INFO msg="riptide is up" node=telco-1
level=INFO msg="cluster lease" node=telco-1 held=false term=2
level=INFO msg="cluster lease" node=telco-1 held=true term=2
level=INFO msg="stopping, drained" node=telco-1
level=INFO msg="cluster lease" node=telco-1 held=false term=3
level=INFO msg="riptide is up, a witness that takes no calls" node=telco-1
level=INFO msg=stopping node=telco-1 calls=0
level=INFO msg="cluster lease" node=telco-1 held=false term=4
`
	if n := cutOffs(log); n != 1 {
		t.Errorf("%d", n)
	}
}
