package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"riptide/sip/siptest"
)

// failover runs the demo with a fault, asks that no call is lost, and logs for how
// long its ends heard nothing. A short run shares its machine with other tests: when
// that has not let a node run for as long as it may be unheard, so that it was cut
// off and let go of its calls, which is another fault, it is repeated.
func failover(t *testing.T, fault string, calls int, more ...string) {
	t.Helper()
	for again := size(3, 0); ; again-- {
		cmd := exec.Command(riptide(t), append([]string{"demo", "--failover", "--json", "--fault", fault, "--calls", fmt.Sprint(calls),
			"--sip", "127.0.0.1:0", "--telco-sip", "127.0.0.1:0"}, more...)...)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		cmd.Env = append(os.Environ(), "RIPTIDE_CADDY="+siptest.Tool(t, "caddy"))
		failed := cmd.Run()
		var r struct {
			Fault            string
			Calls, Hit, Lost int
			CutOff           int   `json:"cut_off"`
			Max              int64 `json:"gap_ms_max"`
		}
		err := json.Unmarshal(out.Bytes(), &r)
		t.Log(strings.TrimSpace(out.String()))
		if err == nil && r.Lost > 0 && r.CutOff > 0 && again > 0 {
			continue
		}
		if err != nil || failed != nil {
			t.Fatalf("%v, %v\n%s", failed, err, errs.String())
		}
		if r.Fault != fault || r.Calls != calls || r.Hit == 0 || r.Lost != 0 || r.Max == 0 {
			t.Errorf("%+v", r)
		}
		return
	}
}

// TestCallsOutliveTheirProcess: calls with speech, from SIP over RIPT to SIP, and
// either bridge killed, or restarted as the service manager does. None is lost.
func TestCallsOutliveTheirProcess(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"kill-server", "kill-client", "restart"} {
		t.Run(fault, func(t *testing.T) {
			failover(t, fault, size(4, 100), "--nodes", "1")
		})
	}
}

// TestSoakCallsOutliveTheirNode: the same, with nodes that share a store behind a
// balancer, and with the balancer itself. The node that is killed stays dead.
func TestSoakCallsOutliveTheirNode(t *testing.T) {
	t.Parallel()
	for _, way := range []struct {
		fault, balancer string
		soak            bool // takes long
	}{
		{"kill-server", "nginx", false},
		{"kill-client", "caddy", false},
		{"kill-balancer", "caddy", false},
		{"kill-server", "caddy", true},
		{"kill-server", "caddy-h3", true},
		{"kill-client", "caddy-h3", true},
		{"kill-client", "nginx", true},
		{"kill-balancer", "caddy-h3", true},
		{"kill-balancer", "nginx", true},
		{"store-leader", "caddy", true},
		{"restart", "caddy", true},
		{"restart", "nginx", true},
	} {
		if way.soak && os.Getenv("RIPTIDE_SOAK") == "" {
			continue
		}
		t.Run(way.fault+" behind "+way.balancer, func(t *testing.T) {
			failover(t, way.fault, size(2, 100), "--balancer", way.balancer)
		})
	}
}

// TestRestartIsNoNewDialog: sipp on both sides of two bridges that are killed and
// started again, one after the other, while its calls are up. Not one message is
// other than it expects: no request is repeated as a new one, and each end hangs
// up in the dialog that it knows.
func TestRestartIsNoNewDialog(t *testing.T) {
	t.Parallel()
	calls := size(4, 100)
	limit := 2 * time.Minute
	uas := siptest.Sipp{Scenario: siptest.UAS, Script: siptest.Script{RingMS: 20}, Calls: calls, Timeout: limit}.Start(t)
	// Media ports of their own: another test's bridge must not take one meanwhile.
	ports := strings.NewReplacer("16384-24575", "10000-10999", "24576-32767", "11000-11999")
	p := startSite(t, siteOptions{to: uas.Addr, edit: func(_, config string) string { return ports.Replace(config) }})
	uac := siptest.Sipp{
		Scenario: siptest.UAC, Script: siptest.Script{From: officeNumber, HoldMS: 20_000},
		Remote: p.office.sip, Service: telcoNumber, Calls: calls, Rate: 20, AtOnce: calls, Timeout: limit,
	}.Start(t)
	p.telco.awaitCalls(t, calls)
	for _, n := range []*node{&p.telco, &p.office} {
		time.Sleep(2 * time.Second)
		p.kills[n.name]()
		n.log += "-again"
		p.kills[n.name] = serveNode(t, *n)
		n.awaitLog(t, fmt.Sprintf("resumed=%d ended=0 lost=0", calls))
	}
	for _, run := range []*siptest.SippRun{uac, uas} {
		if r := run.Check(t, calls); r.Failed != 0 {
			t.Errorf("%d calls failed: %s", r.Failed, run.Trouble())
		}
	}
	for _, n := range []node{p.office, p.telco} {
		n.settle(t)
		if log := n.logText(t); strings.Count(log, `msg="call ended"`) != calls || strings.Contains(log, "level=ERROR") {
			t.Errorf("%s, after its restart:\n%s", n.name, tail(log, 40))
		}
	}
}

// awaitCalls waits until a node has answered calls.
func (n node) awaitCalls(t testing.TB, calls int) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); int(n.metrics(t)["riptide_calls_active"]) < calls; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s has %v calls", n.name, n.metrics(t)["riptide_calls_active"])
		}
	}
	time.Sleep(time.Second) // the last are answered
}

// TestDrain: a box that is drained takes no new call, lets those it has end by
// themselves, and stops.
func TestDrain(t *testing.T) {
	t.Parallel()
	uas := siptest.Sipp{Scenario: siptest.UAS, Script: siptest.Script{RingMS: 20}, Calls: 2, Timeout: time.Minute}.Start(t)
	p := startSite(t, siteOptions{to: uas.Addr})
	uac := siptest.Sipp{
		Scenario: siptest.UAC, Script: siptest.Script{From: officeNumber, HoldMS: 6000},
		Remote: p.office.sip, Service: telcoNumber, Calls: 2, Rate: 20, AtOnce: 2, Timeout: time.Minute,
	}.Start(t)
	p.office.awaitCalls(t, 2)
	drained := make(chan string, 1)
	go func() {
		out, err := exec.Command(riptide(t), "drain", "--json", "-c", p.office.dir+"/riptide.yaml").CombinedOutput()
		drained <- fmt.Sprintf("%s%v", out, err)
	}()
	p.office.awaitLog(t, "draining")
	res, err := http.Get("http://" + p.office.admin + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("ready while draining: %s", res.Status)
	}
	refused := siptest.Sipp{
		Scenario: siptest.UACRefused, Script: siptest.Script{From: officeNumber, Status: 503},
		Remote: p.office.sip, Service: telcoNumber, Calls: 1, Timeout: time.Minute,
	}.Start(t)
	refused.Check(t, 1)
	uac.Check(t, 2)
	uas.Check(t, 2)
	if got := <-drained; got != "{\"calls\":2,\"cut\":0}\n<nil>" {
		t.Errorf("drain: %s", got)
	}
	p.office.awaitLog(t, "msg=stopped")
}
