package sip

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"
	pionrtp "github.com/pion/rtp"

	"riptide/bridge"
	"riptide/sip/rtp"
)

// Tests named after threads in which users of other systems say what hurts;
// docs/interop.md lists all of them.

// talking is an answered call whose media the test sees: its dialog, leg, the
// answer, and the socket that the offer named.
func talking(t *testing.T, plan bridge.MediaPlan) (*dlg, bridge.Leg, *sipgo.Response, *net.UDPConn) {
	t.Helper()
	media, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = media.Close() })
	acc := newAcceptor()
	d := newPeer(t).caller(startAgent(t, acc, Trunk{}))
	d.invite(offerSDP(1, media.LocalAddr().(*net.UDPAddr).Port))
	l := acc.next(t)
	if err := l.Answer(ctx, bridge.Answer{Media: plan}); err != nil {
		t.Fatal(err)
	}
	res := d.status(200, "INVITE")
	d.learn(res)
	d.ack("")
	return d, l, res, media
}

// asterisk/asterisk#1847: RTP from a socket that is bound to every address breaks
// NAT gateways. Ours has the address that the session description names.
func TestPain05MediaHasTheAddressOfSignalling(t *testing.T) {
	t.Parallel()
	d, l, res, _ := talking(t, pcma)
	local := l.Media().(*rtp.Port).Local()
	if local.Addr().IsUnspecified() || local.Addr() != d.to.Addr() {
		t.Errorf("media at %s, signalling at %s", local, d.to)
	}
	if body := string(res.Body()); !strings.Contains(body, "c=IN IP4 "+local.Addr().String()) || !strings.Contains(body, fmt.Sprintf("m=audio %d ", local.Port())) {
		t.Errorf("media at %s is described as\n%s", local, body)
	}
	hangUp(t, d, l)
}

// livekit/sip#597 and livekit/sip#515: in a container, or behind a firewall that
// is another one for each trunk, peers must be shown the address at which they
// reach us: in Contact, Via and SDP. A BYE to that address ends the call.
func TestPain03And04ShownAddressIsTheTrunks(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		trunk            Trunk
		signalling, mine string
	}{
		"of the box":   {Trunk{}, "203.0.113.5", "203.0.113.5"},
		"of the trunk": {Trunk{Advertise: "198.51.100.7", AdvertiseMedia: netip.MustParseAddr("198.51.100.8")}, "198.51.100.7", "198.51.100.8"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			acc := newAcceptor()
			p := newPeer(t)
			tc.trunk.Peer = p.addr().String()
			a := startAgent(t, acc, tc.trunk, func(c *Config) { c.Advertise = []string{"203.0.113.5"} })
			p.to = a.Addr()
			if _, err := a.Dial(ctx, intent); err != nil {
				t.Fatal(err)
			}
			inv := p.request("INVITE")
			if inv.Contact().Address.Host != tc.signalling || inv.Via().Host != tc.signalling || !strings.Contains(string(inv.Body()), "c=IN IP4 "+tc.mine) {
				t.Errorf("shown: %s", inv)
			}
			if strings.Contains(inv.String(), "127.0.0.1:"+portText(a.Addr().Port())) {
				t.Errorf("our own address is shown: %s", inv)
			}
			p.respond(inv, 486, "Busy", "x", "")
			p.request("ACK")

			d := newPeer(t).caller(a)
			l := establish(t, acc, d)
			if !strings.Contains(d.uri, "@"+tc.signalling+":") {
				t.Errorf("Contact %s", d.uri)
			}
			hangUp(t, d, l) // to that Contact, by the way that leads here
		})
	}
}

// livekit/sip#95: the session description said one codec and the stream was
// another. One plan makes both.
func TestPain12StreamIsWhatTheAnswerSays(t *testing.T) {
	t.Parallel()
	for _, codec := range []bridge.Codec{bridge.PCMA, bridge.PCMU} {
		t.Run(string(codec), func(t *testing.T) {
			t.Parallel()
			plan := pcma
			plan.Speech = codec
			d, l, res, media := talking(t, plan)
			var number uint8
			if _, after, ok := strings.Cut(string(res.Body()), " RTP/AVP "); !ok {
				t.Fatalf("%s", res)
			} else if _, err := fmt.Sscan(after, &number); err != nil {
				t.Fatal(err)
			}
			for i := range 5 {
				l.Media().Push(&bridge.Frame{Codec: codec, Seq: uint64(i + 1), Timestamp: uint64(160 * i), Payload: make([]byte, 160)})
			}
			buf := make([]byte, 1500)
			_ = media.SetReadDeadline(time.Now().Add(patience))
			n, err := media.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			var p pionrtp.Packet
			if err := p.Unmarshal(buf[:n]); err != nil || p.PayloadType != number {
				t.Errorf("the answer says %d, the stream is %d (%v)", number, p.PayloadType, err)
			}
			hangUp(t, d, l)
		})
	}
}

// livekit/sip#438: IMS networks offer preconditions (RFC 3312) and call again
// without them. Who only supports them gets its call; who requires them is told
// that we do not, and the call behind it is a call of its own.
func TestPain19Preconditions(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	d := newPeer(t).caller(a)
	offer := offerSDP(1, 40000, "a=curr:qos local none", "a=curr:qos remote none", "a=des:qos mandatory local sendrecv", "a=des:qos none remote sendrecv")
	d.invite(offer, "Require: precondition", "Supported: 100rel, precondition")
	res := d.answer(420, "INVITE")
	if v := strings.Join(headerValues(res, "Unsupported"), ","); v != "precondition" {
		t.Errorf("Unsupported: %s", v)
	}
	d.ackRefusal(res)
	d.invite(offer, "Supported: precondition")
	l := acc.next(t)
	if err := l.Answer(ctx, bridge.Answer{Media: pcma}); err != nil {
		t.Fatal(err)
	}
	d.learn(d.answer(200, "INVITE"))
	d.ack("")
	hangUp(t, d, l)
	if len(acc.legs) != 0 {
		t.Error("one caller, two calls")
	}
}

// livekit/sip#280: storms of BYE for calls that are over. Each is answered 481,
// its repetitions by the same answer, and nothing is left of them.
func TestPain21ByeForCallsThatAreOver(t *testing.T) {
	t.Parallel()
	a := startAgent(t, newAcceptor(), Trunk{})
	p := newPeer(t)
	for range 50 {
		d := p.caller(a)
		d.remote += ";tag=gone"
		d.seq = 1
		bye := d.make("BYE", 1, newBranch(), "")
		for range 3 {
			d.send(bye)
		}
		for range 3 {
			d.await("481", func(m sipgo.Message) bool { return isStatus(m, 481, "BYE") && m.CallID().Value() == d.callID })
		}
	}
	if n := p.count(func(m sipgo.Message) bool { _, asks := m.(*sipgo.Request); return asks }); n != 0 {
		t.Errorf("%d requests in return", n)
	}
	await(t, "an end of it", func() bool { return a.mailboxes() == 0 })
	if a.Legs() != 0 {
		t.Errorf("%d legs", a.Legs())
	}
}
