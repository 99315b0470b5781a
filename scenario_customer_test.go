package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"riptide/configs/setup"
	"riptide/sip/siptest"
)

// The two files of a customer and its provider, where each names the other only
// once. What the customer knows is a domain and its own numbers.
const customerYAML = `
node: office
state: {dir}/state
admin: "{admin}"
sip: {listen: "{sip}", media: {ports: 16384-24575}}
ript:
  listen: "{ript}"
  authority: "{authority}"
  tls: {certificate: tls.crt, key: tls.key}
  key: client.key
trunks:
  pbx: {sip: {peer: "{pbx}", match: [127.0.0.0/8], callers: ["+1202555xxxx"]}}
  telco: {ript: {connect: "https://{peer}", numbers: ["+1202555xxxx"], roots: "{peerdir}/ca.crt"}}
routes:
  - {from: pbx, to: "+*", trunk: telco}
  - {from: telco, to: "+*", trunk: pbx}
`

// What the provider knows is the customer's key and host name.
const providerYAML = `
node: telco
state: {dir}/state
admin: "{admin}"
sip: {listen: "{sip}", media: {ports: 24576-32767}}
ript:
  listen: "{ript}"
  authority: "{authority}"
  tls: {certificate: tls.crt, key: tls.key}
identity: {ca: {certificate: stir-ca.crt, key: stir-ca.key}}
trunks:
  core: {sip: {peer: "{pbx}", match: [127.0.0.0/8], callers: ["+1303555xxxx"]}}
  office:
    ript:
      numbers: ["+1303555xxxx"]
      roots: "{peerdir}/ca.crt"
      accept: {key: "{peerdir}/client.pub", callers: ["+1202555xxxx"], hosts: [localhost]}
routes:
  - {from: core, to: "+*", trunk: office}
  - {from: office, to: "+*", trunk: core}
`

// TestCustomerCalledWithoutAddress: the provider calls a customer whose address
// nobody wrote down, and the customer the provider.
func TestCustomerCalledWithoutAddress(t *testing.T) {
	t.Parallel()
	pbx, carrier := siptest.Sipp{Scenario: siptest.UAS}.Start(t), siptest.Sipp{Scenario: siptest.UAS}.Start(t)
	p := &pair{t: t, dir: t.TempDir()}
	p.office, p.telco = siteNode(t, p.dir, "office"), siteNode(t, p.dir, "telco")
	for n, peer := range map[*node]*node{&p.office: &p.telco, &p.telco: &p.office} {
		if err := setup.Create(setup.Options{Dir: n.dir, Node: n.name, Hosts: []string{"localhost"}, Now: time.Now().Add(-24 * time.Hour)}); err != nil {
			t.Fatal(err)
		}
		text, sipPeer := customerYAML, pbx.Addr
		if n == &p.telco {
			text, sipPeer = providerYAML, carrier.Addr
		}
		named := func(addr string) string { return strings.Replace(addr, "127.0.0.1", "localhost", 1) }
		text = strings.NewReplacer("{dir}", n.dir, "{peerdir}", peer.dir, "{admin}", n.admin, "{sip}", n.sip, "{ript}", n.ript,
			"{authority}", named(n.ript), "{peer}", named(peer.ript), "{pbx}", sipPeer).Replace(text)
		if err := os.WriteFile(filepath.Join(n.dir, setup.ConfigFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	serveNode(t, p.telco)
	serveNode(t, p.office)
	p.telco.awaitReady(t, "")
	p.office.awaitReady(t, "")
	call := func(at node, from, to string) {
		t.Helper()
		siptest.Sipp{Scenario: siptest.UAC, Script: siptest.Script{From: from, HoldMS: 50}, Remote: at.sip, Service: to}.Start(t).Check(t, 1)
	}
	p.telco.awaitLog(t, `msg="RIPT trunk is ready" node=telco trunk=office`)
	call(p.telco, "+13035550101", "+12025550105")
	call(p.office, "+12025550105", "+13035550101")
	pbx.Check(t, 1)
	carrier.Check(t, 1)
}

// awaitLog waits for a line in the node's log.
func (n node) awaitLog(t testing.TB, line string) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !strings.Contains(n.logText(t), line) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: no line %q in the log\n%s", n.name, line, n.logText(t))
		}
		time.Sleep(50 * time.Millisecond)
	}
}
