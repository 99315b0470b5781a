package main_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"riptide/sip/siptest"
)

// peersRows are what happens while sipp and baresip talk.
var peersRows = []struct {
	name  string
	every bool // in every run, not only in a long one
	run   func(t *testing.T, ctx context.Context, row string)
}{
	{"kill -9 of the only process", true, onlyProcess(false)},
	{"restart of the only process", false, onlyProcess(true)},
	{"kill -9 of the telco node behind nginx", true, inCluster(nginx, (*peersCluster).killNode)},
	{"kill -9 of the telco node behind Caddy h2", false, inCluster(caddy("2"), (*peersCluster).killNode)},
	{"kill -9 of the telco node behind Caddy h3", false, inCluster(caddy("3"), (*peersCluster).killNode)},
	{"kill -9 of the office node of two", false, betweenClusters(caddy("2"), (*peersCluster).killOffice)},
	{"kill -9 of Caddy and a start", false, inCluster(caddy("2"), killBalancer(caddy("2")))},
	{"kill -9 of nginx and a start", false, inCluster(nginx, killBalancer(nginx))},
	{"drain behind Caddy h2", false, inCluster(caddy("2"), (*peersCluster).drain)},
	{"drain behind nginx", false, inCluster(nginx, (*peersCluster).drain)},
	{"restart of each node behind Caddy h2", false, inCluster(caddy("2"), (*peersCluster).restart)},
	{"node cut off and back", false, cutOffFromOthers},
}

// TestSoakSIPPeersHearCallsGoOn: calls of sipp with sipp, and of baresips that
// record what they hear, and everything between them that can break. No call is
// lost, none becomes another dialog, and each is heard again.
func TestSoakSIPPeersHearCallsGoOn(t *testing.T) {
	besideOthers(t)
	siptest.Shows(t, "takeover", "sipp", "baresip")
	for _, row := range peersRows {
		if !row.every && size(0, 1) == 0 {
			continue
		}
		t.Run(row.name, func(t *testing.T) {
			besideOthers(t)
			ctx, cancel := context.WithTimeout(t.Context(), 2*toneFor)
			defer cancel()
			row.run(t, ctx, row.name)
		})
	}
}

// onlyProcess has one process at either side, of which that of the telco is killed,
// or told to end, and started again.
func onlyProcess(gently bool) func(*testing.T, context.Context, string) {
	return func(t *testing.T, ctx context.Context, row string) {
		p := startPeers(t, true)
		s := startSite(t, siteOptions{to: p.out.called.Addr, from: p.in.called.Addr, netns: p.netns, edit: p.edit})
		for i, at := range []node{s.office, s.telco} {
			p.ways()[i].ring(ctx, at.sip, siptest.Baresip{Netns: p.netns})
			p.ways()[i].call(ctx, at.sip)
		}
		p.anew()
		if gently {
			terminate(t, s.served["telco"])
		} else {
			s.kills["telco"]()
		}
		s.telco.log += "-again"
		serveNode(t, s.telco)
		s.telco.awaitReady(t, "")
		p.goOn(ctx)
		p.end(ctx, row)
		s.telco.settle(t)
		s.office.settle(t)
	}
}

// terminate is what systemctl stop does.
func terminate(t *testing.T, s *served) {
	t.Helper()
	_ = s.process.Signal(syscall.SIGTERM) // fails only if it has ended
	select {
	case <-s.exited:
	case <-time.After(time.Minute):
		t.Fatal("a process does not end within a minute of SIGTERM")
	}
}
