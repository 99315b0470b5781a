package sip

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"
	"github.com/pion/rtp"

	"riptide/bridge"
	"riptide/sip/sdp"
)

// crash ends an agent as kill -9 does: nothing is said to anybody, and its ports
// are free.
func crash(t *testing.T, a *Agent) {
	t.Helper()
	a.mu.Lock()
	legs := make([]*Leg, 0, len(a.legs))
	for l := range a.legs {
		legs = append(legs, l)
	}
	a.mu.Unlock()
	for _, l := range legs {
		l.media.port.Configure(sdp.Agreed{}) // its goodbye goes nowhere
	}
	closeSockets(a.sockets)
	a.close()
}

// reborn is the agent that follows on the same addresses, with the legs of the
// records.
func reborn(t *testing.T, a *Agent, tr Trunk, records ...bridge.LegRecord) (*Agent, *acceptor, []bridge.Leg) {
	t.Helper()
	crash(t, a)
	acc := newAcceptor()
	b := startAgent(t, acc, tr, func(c *Config) { c.Listen = []string{a.Addr().String()} })
	var legs []bridge.Leg
	for _, rec := range records {
		l, err := b.Resume(ctx, bridge.Resumption{LegRecord: rec, State: bridge.StateAnswered})
		if err != nil {
			t.Fatal(err)
		}
		legs = append(legs, l)
	}
	return b, acc, legs
}

// socket is a UDP socket for media of a peer.
func mediaSocket(t *testing.T) (*net.UDPConn, int) {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, c.LocalAddr().(*net.UDPAddr).Port
}

// heard is the next RTP packet at a socket.
func heard(t *testing.T, c *net.UDPConn) (p rtp.Packet) {
	t.Helper()
	buf := make([]byte, 2000)
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for {
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if n > 1 && buf[1] >= 192 && buf[1] <= 223 {
			continue
		}
		if err := p.Unmarshal(buf[:n]); err != nil {
			t.Fatal(err)
		}
		return p
	}
}

// ear keeps what a leg's peer says.
type ear struct {
	mu     sync.Mutex
	frames []bridge.Frame
}

func (e *ear) Push(f *bridge.Frame) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := *f
	c.Payload = append([]byte(nil), f.Payload...)
	e.frames = append(e.frames, c)
}

func (e *ear) wait(t *testing.T, n int) []bridge.Frame {
	t.Helper()
	for limit := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		e.mu.Lock()
		frames := e.frames
		e.mu.Unlock()
		if len(frames) >= n {
			return frames
		}
		if time.Now().After(limit) {
			t.Fatalf("%d frames heard, want %d", len(frames), n)
		}
	}
}

func mediaOf(t *testing.T, body []byte) netip.AddrPort {
	t.Helper()
	d, err := sdp.Parse(body)
	if err != nil {
		t.Fatal(err)
	}
	m, _ := d.Audio()
	return m.Remote()
}

func speak(l bridge.Leg, seq uint64) {
	l.Media().Push(&bridge.Frame{Codec: bridge.PCMA, Seq: seq, Timestamp: seq * 160, Payload: make([]byte, 160)})
}

// A process is killed while a call is up; the one that follows on the same ports
// goes on with it, whoever had placed it: the peer sees the same source of media,
// and one dialog.
func TestResume(t *testing.T) {
	t.Parallel()
	for _, role := range []string{"uas", "uac"} {
		for _, last := range []string{"they hang up", "we hang up"} {
			t.Run(role+", "+last, func(t *testing.T) {
				t.Parallel()
				c, port := mediaSocket(t)
				a, tr, d, l, sdpOfOurs := callFor(t, role, port)
				speak(l, 1)
				before := heard(t, c)
				_, acc, legs := reborn(t, a, tr, l.Record())
				again := legs[0]
				if info := again.Info(); info.ID != l.Info().ID || info.From != l.Info().From || info.To != l.Info().To || info.Trunk != "pbx" {
					t.Errorf("%+v goes on as %+v", l.Info(), info)
				}
				speak(again, 1000)
				after := heard(t, c)
				if gap := after.SequenceNumber - before.SequenceNumber; after.SSRC != before.SSRC || gap == 0 || gap > 500 || int32(after.Timestamp-before.Timestamp) <= 0 || after.PayloadType != before.PayloadType {
					t.Errorf("%v is followed by %v", before.Header, after.Header)
				}
				e := &ear{}
				again.Media().Join(e)
				pk := rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 8, SequenceNumber: 700, SSRC: 77}, Payload: make([]byte, 160)}
				b, err := pk.Marshal()
				if err != nil {
					t.Fatal(err)
				}
				if _, err := c.WriteToUDPAddrPort(b, mediaOf(t, sdpOfOurs)); err != nil {
					t.Fatal(err)
				}
				if f := e.wait(t, 1)[0]; f.Codec != bridge.PCMA {
					t.Errorf("%v", f)
				}
				d.do("OPTIONS", "")
				d.answer(200, "OPTIONS")
				select {
				case <-acc.legs:
					t.Error("a new call came of it")
				default:
				}
				if last == "they hang up" {
					hangUp(t, d, again)
					return
				}
				if err := again.End(ctx, bridge.CauseNormal); err != nil {
					t.Fatal(err)
				}
				bye := d.request("BYE")
				theirs, _ := bye.To().Params.Get("tag")
				ours, _ := bye.From().Params.Get("tag")
				if bye.CSeq().SeqNo <= seqAhead || !strings.HasSuffix(d.local, "tag="+theirs) || !strings.HasSuffix(d.remote, "tag="+ours) || bye.CallID().Value() != d.callID {
					t.Errorf("%s", bye)
				}
				d.peer.respond(bye, 200, "OK", "", "")
				closed(t, again)
			})
		}
	}
}

// callFor is a call that is up, whose peer takes its media at a port. It returns
// the dialog as the peer sees it, and our description.
func callFor(t *testing.T, role string, port int) (*Agent, Trunk, *dlg, bridge.Leg, []byte) {
	t.Helper()
	p := newPeer(t)
	tr := Trunk{Peer: p.addr().String()}
	acc := newAcceptor()
	a := startAgent(t, acc, tr)
	if role == "uas" {
		d := p.caller(a)
		d.invite(offerSDP(1, port))
		l := acc.next(t)
		answer(t, l)
		res := d.status(200, "INVITE")
		d.learn(res)
		d.ack("")
		confirmedNow(t, l)
		return a, tr, d, l, res.Body()
	}
	d, l, body := dialledFor(t, a, p, port)
	return a, tr, d, l, body
}

// dialledFor places a call that the peer answers.
func dialledFor(t *testing.T, a *Agent, p *peer, port int) (*dlg, bridge.Leg, []byte) {
	t.Helper()
	p.to = a.Addr()
	l, err := a.Dial(ctx, intent)
	if err != nil {
		t.Fatal(err)
	}
	inv := p.request("INVITE")
	p.respond(inv, 200, "OK", "a", offerSDP(1, port))
	p.request("ACK")
	event(t, l, bridge.Answered)
	return calledBy(p, inv), l, inv.Body()
}

// calledBy is the dialog of an INVITE that the peer has answered with tag a.
func calledBy(p *peer, inv *sipgo.Request) *dlg {
	return &dlg{
		peer: p, uri: inv.Contact().Address.String(), callID: inv.CallID().Value(), seq: 20,
		local: inv.To().Value() + ";tag=a", remote: inv.From().Value(),
	}
}

// confirmedNow waits until the ACK has come.
func confirmedNow(t *testing.T, l bridge.Leg) {
	t.Helper()
	for limit := time.Now().Add(patience); !strings.Contains(string(l.Record().State), `"state":"confirmed"`); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("no ACK")
		}
	}
}

// After the crash the peer holds, comes back and refreshes: descriptions go on
// under the same session, with a higher version where they change, and nowhere else.
func TestResumedCallIsChanged(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"INVITE", "UPDATE"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			a, tr, d, l, body := callFor(t, "uas", 40000)
			first, err := sdp.Parse(body)
			if err != nil {
				t.Fatal(err)
			}
			_, _, legs := reborn(t, a, tr, l.Record())
			again := legs[0]
			ask := func(body string) sdp.Origin {
				d.do(method, body)
				if !strings.Contains(body, "pbx 1 1 ") {
					event(t, again, bridge.MediaChanged)
				}
				res := d.answer(200, method)
				if method == "INVITE" {
					d.ack("")
				}
				s, err := sdp.Parse(res.Body())
				if err != nil {
					t.Fatal(err)
				}
				return s.Origin
			}
			if o := ask(offerSDP(1, 40000)); o != first.Origin {
				t.Errorf("a refresh changes %v to %v", first.Origin, o)
			}
			held := ask(offerSDP(2, 40000, "a=sendonly"))
			if held.ID != first.Origin.ID || held.Version <= first.Origin.Version {
				t.Errorf("%v is followed by %v", first.Origin, held)
			}
			// Killed a second time, while it is held.
			b, _, legs2 := reborn(t, legs[0].(*Leg).agent, tr, again.Record())
			again = legs2[0]
			if ev := event(t, again, bridge.MediaChanged); !ev.Held || ev.Plan.Speech != bridge.PCMA {
				t.Errorf("%+v", ev)
			}
			if o := ask(offerSDP(3, 40000)); o.Version <= held.Version {
				t.Errorf("%v is followed by %v", held, o)
			}
			_ = b
			hangUp(t, d, again)
		})
	}
}

// A request whose answer was lost in the crash comes again, and is served.
func TestResumedCallIsAskedAgain(t *testing.T) {
	t.Parallel()
	a, tr, d, l, _ := callFor(t, "uas", 40000)
	d.do("INFO", "")
	d.answer(200, "INFO")
	_, _, legs := reborn(t, a, tr, l.Record())
	d.send(d.make("INFO", d.seq, d.last, ""))
	d.answer(200, "INFO")
	d.seq -= 2
	d.do("INFO", "") // but not what is older
	d.answer(500, "INFO")
	d.seq += 10
	hangUp(t, d, legs[0])
}

// The session timer goes on: whoever refreshed does, and if nobody does the call ends.
func TestResumedSessionTimer(t *testing.T) {
	t.Parallel()
	for _, ours := range []bool{true, false} {
		t.Run(fmt.Sprint("we refresh: ", ours), func(t *testing.T) {
			t.Parallel()
			who := "uac"
			if ours {
				who = "uas"
			}
			p := newPeer(t)
			tr := Trunk{Peer: p.addr().String(), second: 50 * time.Millisecond}
			acc := newAcceptor()
			a := startAgent(t, acc, tr)
			d := p.caller(a)
			d.invite(offerSDP(1, 40000), "Supported: timer", "Session-Expires: 90;refresher="+who, "Allow: INVITE, UPDATE, BYE")
			l := acc.next(t)
			answer(t, l)
			d.learn(d.status(200, "INVITE"))
			d.ack("")
			confirmedNow(t, l)
			_, _, legs := reborn(t, a, tr, l.Record())
			if !ours {
				d.do("UPDATE", "", "Supported: timer", "Session-Expires: 90;refresher=uac")
				if v := headerValues(d.answer(200, "UPDATE"), "Session-Expires"); len(v) != 1 || v[0] != "90;refresher=uac" {
					t.Errorf("%v", v)
				}
				hangUp(t, d, legs[0])
				return
			}
			up := d.request("UPDATE")
			if v := headerValues(up, "Session-Expires"); len(v) != 1 || v[0] != "90;refresher=uac" || up.CSeq().SeqNo <= seqAhead {
				t.Errorf("%s", up)
			}
			d.peer.respond(up, 200, "OK", "", "", "Session-Expires: 90;refresher=uac")
			d.seq += 5
			hangUp(t, d, legs[0])
		})
	}
}

// A connection is gone with its process: the peer's next request comes on a new
// one, and ours go where it listens.
func TestResumedOverTCP(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"peer", "we"} {
		t.Run(first+" first", func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			conns := make(chan net.Conn, 4)
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					conns <- c
				}
			}()
			tr := Trunk{Peer: l.Addr().String(), Transport: "tcp"}
			a := startAgent(t, newAcceptor(), tr)
			leg, err := a.Dial(ctx, intent)
			if err != nil {
				t.Fatal(err)
			}
			p := newTCPPeer(t, <-conns)
			inv := p.request("INVITE")
			p.respond(inv, 200, "OK", "a", offerSDP(1, 40000))
			p.request("ACK")
			event(t, leg, bridge.Answered)
			b, _, legs := reborn(t, a, tr, leg.Record())
			if first == "we" {
				if err := legs[0].End(ctx, bridge.CauseNormal); err != nil {
					t.Fatal(err)
				}
				again := newTCPPeer(t, <-conns)
				again.respond(again.request("BYE"), 200, "OK", "a", "")
				closed(t, legs[0])
				return
			}
			conn, err := net.Dial("tcp", b.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			hangUp(t, calledBy(newTCPPeer(t, conn), inv), legs[0])
		})
	}
}

// We do not listen for the transport of a connection that we had made: it is made
// again at once, and the peer learns where it ends now.
func TestResumedWithoutAListener(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	accepted := func() *peer {
		c, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return newTCPPeer(t, c)
	}
	tr := Trunk{Peer: ln.Addr().String(), Transport: "tcp"}
	udpOnly := func(addr string) func(c *Config) { return func(c *Config) { c.Listen = []string{"udp:" + addr} } }
	a := startAgent(t, newAcceptor(), tr, udpOnly("127.0.0.1:0"))
	leg, err := a.Dial(ctx, intent)
	if err != nil {
		t.Fatal(err)
	}
	p := accepted()
	inv := p.request("INVITE")
	p.respond(inv, 200, "OK", "a", offerSDP(1, 40000))
	p.request("ACK")
	event(t, leg, bridge.Answered)
	rec := leg.Record()
	crash(t, a)
	b := startAgent(t, newAcceptor(), tr, udpOnly(a.Addr().String()))
	again, err := b.Resume(ctx, bridge.Resumption{LegRecord: rec, State: bridge.StateAnswered})
	if err != nil {
		t.Fatal(err)
	}
	p = accepted()
	re := p.request("INVITE")
	if re.Contact().Address.Port == inv.Contact().Address.Port || string(re.Body()) != string(inv.Body()) {
		t.Errorf("%s", re)
	}
	p.respond(re, 200, "OK", "a", offerSDP(1, 40000))
	p.request("ACK")
	hangUp(t, calledBy(p, inv), again)
}

// The agent goes down while legs are being taken up: none of them is left, and
// none brings it down.
func TestResumeWhileGoingDown(t *testing.T) {
	t.Parallel()
	a, tr, _, l, _ := callFor(t, "uas", 40000)
	rec := l.Record()
	crash(t, a)
	for _, state := range []string{"confirmed", "inviting"} {
		b := startAgent(t, newAcceptor(), tr, func(c *Config) { c.Listen = []string{a.Addr().String()} })
		r := bridge.Resumption{LegRecord: rec, State: bridge.StateAnswered}
		r.LegRecord.State = json.RawMessage(strings.Replace(string(rec.State), `"confirmed"`, `"`+state+`"`, 1))
		parsed, err := parseState(r.LegRecord.State)
		if err != nil {
			t.Fatal(err)
		}
		f, err := b.wayBack(b.byName["pbx"], &parsed, false)
		if err != nil {
			t.Fatal(err)
		}
		half, _, err := b.revive(b.byName["pbx"], &parsed, r, f)
		if err != nil {
			t.Fatal(err)
		}
		if err := half.End(ctx, bridge.CauseShuttingDown); err != nil {
			t.Fatal(err)
		}
		if state == "inviting" {
			if err := half.start(ctx, &parsed, r, false); err == nil {
				t.Error("it is taken up all the same")
			}
		}
		if err := b.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	}
}

// TestResumedWithoutItsPeer: nobody heard the peer's BYE while the process was away,
// so it is asked soon whether it is still there. That it does not answer says
// nothing: the network may not be back yet; that it knows nothing of the call is the
// hang-up that was not heard.
func TestResumedWithoutItsPeer(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	tr := Trunk{Peer: p.addr().String(), second: 2 * time.Millisecond}
	acc := newAcceptor()
	a := startAgent(t, acc, tr)
	d := p.caller(a)
	l := establish(t, acc, d)
	_, _, legs := reborn(t, a, tr, l.Record())
	d.respond(d.request("OPTIONS"), 481, "Call/Transaction Does Not Exist", "", "")
	ev := event(t, legs[0], bridge.Ended)
	if ev.Cause.Code != bridge.CauseNormal.Code || ev.Cause.By != bridge.ByCaller || !strings.Contains(ev.Cause.Text, "481") {
		t.Errorf("%+v", ev.Cause)
	}
	d.respond(d.request("BYE"), 481, "Call/Transaction Does Not Exist", "", "")
	closed(t, legs[0])
}

// TestAClockThatWasSet, since a record was written, or is another box's: the numbers
// of a stream move on by what has passed, since of protected packets none may come
// twice, and its session is not over before its time.
func TestAClockThatWasSet(t *testing.T) {
	t.Parallel()
	now := time.Now()
	const idle = 2 * time.Minute
	for _, set := range []time.Duration{-time.Hour, -time.Minute, 0, time.Minute, time.Hour} {
		written := now.Add(-idle - set)
		r := recorded{dialogState: dialogState{Refreshed: written.Unix()}}
		r.Media.At = written
		r.clockOf(now, idle)
		if got := now.Sub(r.Media.At); got != idle {
			t.Errorf("set by %v: the record was written %v ago", set, got)
		}
		if got := now.Unix() - r.Refreshed; got < 119 || got > 121 {
			t.Errorf("set by %v: the session was refreshed %d s ago", set, got)
		}
	}
	r := recorded{}
	r.Media.At = now.Add(-idle)
	if r.clockOf(now, idle+time.Second); now.Sub(r.Media.At) != idle {
		t.Error("what the record says of the media is not exact any more")
	}
}
