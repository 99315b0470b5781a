package main_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"

	"riptide/configs/setup"
	"riptide/sip/siptest"
)

// A transit carrier is a bridge between two RIPT trunks: office and telco know
// only it.

const (
	e2eKeys   = `[{"kid": 7, "suite": "AES_128_GCM_SHA256_128", "key": "000102030405060708090a0b0c0d0e0f"}]`
	otherKeys = `[{"kid": 7, "suite": "AES_128_GCM_SHA256_128", "key": "ff0102030405060708090a0b0c0d0e0f"}]`
)

// transit is the three nodes.
type transit struct{ office, middle, telco node }

// startTransit starts them. Keys are the contents of e2e key files, "" for none.
func startTransit(t *testing.T, to, from, officeKeys, telcoKeys string) transit {
	t.Helper()
	dir := t.TempDir()
	tr := transit{siteNode(t, dir, "office"), siteNode(t, dir, "transit"), siteNode(t, dir, "telco")}
	for _, n := range []node{tr.office, tr.middle, tr.telco} {
		if err := setup.Create(setup.Options{Dir: n.dir, Node: n.name, Hosts: []string{"127.0.0.1"}, Now: time.Now().Add(-24 * time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	for n, keys := range map[node]string{tr.office: officeKeys, tr.telco: telcoKeys} {
		if keys != "" {
			if err := os.WriteFile(filepath.Join(n.dir, "e2e.json"), []byte(keys), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	withKeys := func(node, config string) string {
		if node == "office" && officeKeys == "" || node == "telco" && telcoKeys == "" {
			return config
		}
		return replace(t, config, "      media: auto\n", "      media: auto\n      e2e-keys: e2e.json\n")
	}
	writeConfig(t, tr.office, nodeConfig{peer: tr.middle, trunk: "pbx", sipPeer: from, ports: "16384-20479", edit: withKeys})
	writeConfig(t, tr.telco, nodeConfig{peer: tr.middle, trunk: "carrier", sipPeer: to, ports: "20480-24575", edit: withKeys})
	writeConfig(t, tr.middle, nodeConfig{peer: tr.office, trunk: "nobody", ports: "24576-28671", edit: func(_, config string) string {
		return asCarrier(t, config, tr.office, tr.telco)
	}})
	serveNode(t, tr.middle)
	serveNode(t, tr.telco)
	serveNode(t, tr.office)
	for _, n := range []node{tr.middle, tr.telco, tr.office} {
		n.awaitReady(t, "")
	}
	return tr
}

// asCarrier turns the configuration of a node with the RIPT trunk office into one
// that has telco, too, and joins the two.
func asCarrier(t *testing.T, config string, office, telco node) string {
	t.Helper()
	_, rest, ok := strings.Cut(config, "  "+office.name+":\n    ript:\n")
	trunk, _, routed := strings.Cut(rest, "\nroutes:")
	if !ok || !routed {
		t.Fatalf("no RIPT trunk in\n%s", config)
	}
	head, _, _ := strings.Cut(config, "\nroutes:")
	// Its own name there stays; that of the peer follows behind "accept".
	other := strings.NewReplacer(office.ript, telco.ript, office.dir, telco.dir, "client: "+office.name, "client: "+telco.name).Replace(trunk)
	head = replace(t, head, `roots: ["`+office.dir+`/stir-ca.crt"]`, `roots: ["`+office.dir+`/stir-ca.crt", "`+telco.dir+`/stir-ca.crt"]`)
	return head + "  " + telco.name + ":\n    ript:\n" + other + fmt.Sprintf("\nroutes:\n  - {from: %[1]s, to: \"*\", trunk: %[2]s}\n  - {from: %[2]s, to: \"*\", trunk: %[1]s}\n", office.name, telco.name)
}

// TestTransit: a call goes SIP, RIPT, RIPT, SIP, clear or encrypted between the
// ends, for which the carrier between them has no keys.
func TestTransit(t *testing.T) {
	t.Parallel()
	for name, keys := range map[string]string{"clear": "", "sealed": e2eKeys} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			caller, callee := &siptest.Phone{User: officeNumber, Video: "VP8"}, &siptest.Phone{User: telcoNumber, Video: "VP8"}
			caller.Start(t)
			callee.Start(t)
			tr := startTransit(t, callee.Addr(), caller.Addr(), keys, keys)
			ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
			defer cancel()
			if err := caller.Call(ctx, tr.office.sip, telcoNumber); err != nil {
				t.Fatal(err)
			}
			if err := callee.Talks(ctx); err != nil {
				t.Fatal(err)
			}
			hears(t, ctx, caller, callee)
			hears(t, ctx, callee, caller)
			packets := recordedVideo(t, "vp8.rtp")
			peer := caller.Peer()
			if peer.Video == nil {
				t.Fatalf("no video:\n%s", peer.SDP)
			}
			var wg sync.WaitGroup
			wg.Go(func() { _ = film(ctx, packets, caller.VideoRTP, peer.Video, peer.Payload) })
			sameVideo(t, watch(callee.VideoRTP, len(packets)), packets)
			wg.Wait()
			if err := callee.HangUp(ctx); err != nil {
				t.Fatal(err)
			}
			if err := caller.Over(ctx); err != nil {
				t.Fatal(err)
			}
			for _, n := range []node{tr.office, tr.middle, tr.telco} {
				n.settle(t)
				m := n.metrics(t)
				for _, why := range []string{"malformed", "unknown-payload"} {
					if dropped := sum(m, "riptide_media_dropped_packets_total", `"ript"`, `"`+why+`"`); dropped != 0 {
						t.Errorf("%s dropped %d packets as %s", n.name, dropped, why)
					}
				}
			}
			if in := sum(tr.middle.metrics(t), "riptide_media_received_packets_total", `"ript"`); in < 90+len(packets)*9/10 {
				t.Errorf("the carrier between them saw %d packets", in)
			}
		})
	}
}

// TestTransitWithOtherKeys: who does not have the key of a call hears nothing of
// it, and counts that.
func TestTransitWithOtherKeys(t *testing.T) {
	t.Parallel()
	caller, callee := &siptest.Phone{User: officeNumber}, &siptest.Phone{User: telcoNumber}
	caller.Start(t)
	callee.Start(t)
	tr := startTransit(t, callee.Addr(), caller.Addr(), e2eKeys, otherKeys)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if err := caller.Call(ctx, tr.office.sip, telcoNumber); err != nil {
		t.Fatal(err)
	}
	if err := callee.Talks(ctx); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		p := rtp.Packet{Header: rtp.Header{Version: 2, SSRC: 9, SequenceNumber: uint16(i), Timestamp: uint32(160 * i)}, Payload: slices.Repeat([]byte{1}, 160)}
		b, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := caller.Audio.WriteToUDP(b, caller.Peer().Audio); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := caller.HangUp(ctx); err != nil {
		t.Fatal(err)
	}
	if err := callee.Over(ctx); err != nil {
		t.Fatal(err)
	}
	tr.telco.settle(t)
	m := tr.telco.metrics(t)
	received, malformed := sum(m, "riptide_media_received_packets_total", `"ript"`), sum(m, "riptide_media_dropped_packets_total", `"ript"`, `"malformed"`)
	if received != 0 || malformed < 40 {
		t.Errorf("telco took %d packets and dropped %d", received, malformed)
	}
}

// TestSealedCallToNobodyWithKeys: a call that is encrypted end to end ends at the
// node that would have to open it, with a cause that names what is missing; and
// so does a clear one to an end that wants it encrypted.
func TestSealedCallToNobodyWithKeys(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ office, telco string }{
		"the callee's side has none": {e2eKeys, ""},
		"the caller's side has none": {"", e2eKeys},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			caller, callee := &siptest.Phone{User: officeNumber}, &siptest.Phone{User: telcoNumber}
			caller.Start(t)
			callee.Start(t)
			tr := startTransit(t, callee.Addr(), caller.Addr(), c.office, c.telco)
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			err := caller.Call(ctx, tr.office.sip, telcoNumber)
			if err == nil || !strings.Contains(err.Error(), "488") {
				t.Errorf("the caller was told %v", err)
			}
			for _, n := range []node{tr.office, tr.middle} {
				n.settle(t)
				if got := sum(n.metrics(t), "riptide_calls_total", `cause="media-sealed"`); got != 1 {
					t.Errorf("%s: %d calls ended with media-sealed", n.name, got)
				}
			}
			if log := tr.office.logText(t); !strings.Contains(log, "ript.e2e-keys") {
				t.Error("the office does not say what is missing")
			}
		})
	}
}
