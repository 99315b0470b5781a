package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"riptide/bridge/bridgetest"
	"riptide/sip/siptest"
)

// rtpCounters counts RTP packets from outside of every program, by the kernel:
// nftables in the namespace in which all of them run. RTCP, on odd ports, is not
// counted.
const rtpCounters = `
table inet rtp {
	counter office_in {}
	counter office_out {}
	counter telco_in {}
	counter telco_out {}
	chain input {
		type filter hook input priority 0;
		udp dport 16384-24575 @th,16,16 & 1 == 0 counter name office_in
		udp sport 16384-24575 @th,0,16 & 1 == 0 counter name office_out
		udp dport 24576-32767 @th,16,16 & 1 == 0 counter name telco_in
		udp sport 24576-32767 @th,0,16 & 1 == 0 counter name telco_out
	}
}
`

// kernelCounters reads the counters of a host's nftables.
func kernelCounters(t *testing.T, ns *siptest.Namespace) map[string]int {
	t.Helper()
	out, err := ns.Command("nft", "-j", "list", "counters").Output()
	if err != nil {
		t.Fatalf("nft: %v", err)
	}
	var list struct {
		NFTables []struct {
			Counter *struct {
				Name    string
				Packets int
			}
		}
	}
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatalf("nft: %v in %s", err, out)
	}
	counted := map[string]int{}
	for _, e := range list.NFTables {
		if e.Counter != nil {
			counted[e.Counter.Name] = e.Counter.Packets
		}
	}
	return counted
}

// TestSoakHeldCalls holds calls with media in both directions, sipp at both ends,
// and compares the bridges' books with the kernel's.
func TestSoakHeldCalls(t *testing.T) {
	siptest.Shows(t, "media", "sipp")
	for _, media := range []string{"auto", "put-get"} {
		t.Run(media, func(t *testing.T) { heldCalls(t, media) })
	}
}

func heldCalls(t *testing.T, media string) {
	calls, hold := size(10, 100), time.Duration(size(5, 60))*time.Second
	limit := 0.001
	if media != "auto" {
		// The mode of last resort: a request for every packet. It is shown, not
		// promised, at a load that it carries.
		calls, limit = size(4, 20), 0.01
	}
	// A short run, beside other tests on a machine that stands still at times, shows
	// that the books agree; how little is lost is asked of the long one.
	limit = max(limit, float64(size(50, 0))/100)
	ns := siptest.NewNamespace(t)
	addRules(t, ns, rtpCounters)
	callee := siptest.Sipp{
		Scenario: siptest.UAS, Host: ns.Addr, Port: 5080, Media: 40000, Calls: calls, Echo: true, Netns: ns, Timeout: hold + 2*time.Minute,
	}.Start(t)
	p := startPair(t, pairOptions{netns: ns, args: []string{"--to", callee.Addr, "--media", media}})
	caller := siptest.Sipp{
		Scenario: siptest.UAC, Host: ns.Addr, Port: 5082, Media: 50000, Remote: p.office.sip, Service: telcoNumber, Calls: calls, Rate: 20, AtOnce: calls,
		Script: siptest.Script{From: officeNumber, HoldMS: int(hold.Milliseconds()), MediaFile: siptest.ToneFile(t, 440, 0)},
		Netns:  ns, Timeout: hold + 2*time.Minute,
	}.Start(t)
	caller.Check(t, calls)
	callee.Check(t, calls)
	p.settle()
	time.Sleep(500 * time.Millisecond) // the last packets of sipp's threads

	kernel := kernelCounters(t, ns)
	office, telco := p.office.metrics(t), p.telco.metrics(t)
	t.Logf("kernel: %v", kernel)
	for _, way := range []struct {
		name          string
		in, out       map[string]float64
		kIn, kOut     int
		inLeg, outLeg string
	}{
		{"office to telco", office, telco, kernel["office_in"], kernel["telco_out"], `protocol="sip"`, `protocol="sip"`},
		{"telco to office", telco, office, kernel["telco_in"], kernel["office_out"], `protocol="sip"`, `protocol="sip"`},
	} {
		received := sum(way.in, "riptide_media_received_packets_total", way.inLeg)
		refused := 0
		for _, why := range []string{"duplicate", "foreign", "malformed", "unknown-payload"} {
			refused += sum(way.in, "riptide_media_dropped_packets_total", way.inLeg, `"`+why+`"`)
		}
		sent := sum(way.out, "riptide_media_sent_packets_total", way.outLeg)
		lostOutside, lostInside := way.kIn-way.kOut, received-sent
		t.Logf("%s, %s: %d packets in, %d out by the kernel's count: %d lost (%.4f %%); the bridges say %d in, %d out: %d lost; %d more refused",
			media, way.name, way.kIn, way.kOut, lostOutside, 100*float64(lostOutside)/float64(max(1, way.kIn)), received, sent, lostInside, refused)
		if way.kIn < calls*int(hold/bridgetestPtime)*size(5, 9)/10 {
			t.Errorf("%s: only %d packets came in", way.name, way.kIn)
		}
		// sipp sends a packet or two after its BYE. They are nobody's: the kernel
		// counts them, no call does, and they are not lost.
		stray := way.kIn - received - refused
		if stray < 0 || stray > size(25, 2)*calls {
			t.Errorf("%s: the kernel counted %d packets in, the bridge %d", way.name, way.kIn, received+refused)
		}
		// Of each call one more is on its way through the bridges when the BYE is.
		if lost := lostOutside - stray; float64(lost) > limit*float64(way.kIn)+float64(calls) {
			t.Errorf("%s: %d of %d packets lost, %d calls ended", way.name, lost, way.kIn, calls)
		}
		if sent != way.kOut {
			t.Errorf("%s: the bridge says it sent %d packets, the kernel saw %d", way.name, sent, way.kOut)
		}
	}
}

const bridgetestPtime = 20 * time.Millisecond

// TestBaresipHearsBaresip: two telephones that nobody here wrote call each other
// through both bridges, each plays a tone, and each has the other's on record. A
// string of digits typed at one arrives at the other once, whole and in order.
func TestBaresipHearsBaresip(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "udp", "baresip")
	siptest.Shows(t, "media", "baresip")
	siptest.Shows(t, "dtmf", "baresip")
	siptest.Shows(t, "codecs", "baresip")
	siptest.Shows(t, "transcoding", "baresip")
	siptest.Shows(t, "hangup", "baresip")
	for _, media := range []string{"auto", "put-get"} {
		t.Run(media, func(t *testing.T) {
			t.Parallel()
			baresipCall(t, media, siptest.Baresip{Hz: 620}, siptest.Baresip{Hz: 1040})
		})
	}
	for _, c := range [][2]string{{"PCMA", "PCMU"}, {"opus", "opus"}, {"opus", "PCMU"}, {"PCMA", "opus"}, {"G722", "G722"}} {
		t.Run(c[0]+" to "+c[1], func(t *testing.T) {
			t.Parallel()
			baresipCall(t, "auto", siptest.Baresip{Hz: 620, Codec: c[0]}, siptest.Baresip{Hz: 1040, Codec: c[1]})
		})
	}
}

func baresipCall(t *testing.T, media string, a, b siptest.Baresip) {
	ns := siptest.NewNamespace(t)
	a.Netns, b.Netns = ns, ns
	a.User, b.User = officeNumber, telcoNumber
	caller, callee := a.Start(t), b.Start(t)
	p := startPair(t, pairOptions{netns: ns, args: []string{"--to", callee.Addr, "--from", caller.Addr, "--media", media}})
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()

	if err := caller.Dial(fmt.Sprintf("sip:%s@%s", telcoNumber, p.office.sip)); err != nil {
		t.Fatal(err)
	}
	for _, phone := range []*siptest.BaresipRun{caller, callee} {
		if _, err := phone.Await(ctx, "CALL_ESTABLISHED", 0); err != nil {
			t.Fatalf("%s: %v\n%s", phone.Addr, err, phone.Log())
		}
	}
	time.Sleep(2 * time.Second)
	const digits = "1234567890*#"
	for _, d := range digits {
		if err := caller.Digit(d); err != nil {
			t.Fatal(err)
		}
		time.Sleep(250 * time.Millisecond)
	}
	time.Sleep(time.Second)
	if err := caller.HangUp(); err != nil {
		t.Fatal(err)
	}
	if _, err := callee.Await(ctx, "CALL_CLOSED", 0); err != nil {
		t.Fatalf("the callee was not hung up: %v", err)
	}
	p.settle()
	converted := sum(p.office.metrics(t), "riptide_media_frames_total", `"converted"`) + sum(p.telco.metrics(t), "riptide_media_frames_total", `"converted"`)
	if same := a.Codec == b.Codec; same != (converted == 0) {
		t.Errorf("%s to %s: %d frames were converted", a.Codec, b.Codec, converted)
	}
	if heard := callee.Heard(); heard != digits {
		t.Errorf("typed %q, heard %q", digits, heard)
	}
	for _, ear := range []struct {
		phone *siptest.BaresipRun
		hz    float64
	}{{caller, b.Hz}, {callee, a.Hz}} {
		samples, rate, err := ear.phone.Recording()
		if err != nil {
			t.Fatal(err)
		}
		tone := bridgetest.ToneLevel(samples, rate)
		t.Logf("%s heard %v in %.1f s", ear.phone.URI, tone, float64(len(samples))/float64(rate))
		if !tone.Is(ear.hz) {
			t.Errorf("%s heard %v, want %.0f Hz more than %d dB over the rest", ear.phone.URI, tone, ear.hz, bridgetest.Pure)
		}
	}
}
