package rtp

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/rtcp"

	"riptide/sip/siptest"
)

// reporter is the peer's RTCP socket.
type reporter struct {
	t    *testing.T
	conn *net.UDPConn
	to   netip.AddrPort
}

func newReporter(t *testing.T, port *Port) *reporter {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &reporter{t, conn, netip.AddrPortFrom(loopback, port.Local().Port()+1)}
}

func (r *reporter) addr() netip.AddrPort { return r.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

func (r *reporter) send(packets ...rtcp.Packet) {
	r.t.Helper()
	b, err := rtcp.Marshal(packets)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.conn.WriteToUDPAddrPort(b, r.to); err != nil {
		r.t.Fatal(err)
	}
}

func (r *reporter) receive() []rtcp.Packet {
	r.t.Helper()
	b := make([]byte, 2000)
	if err := r.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		r.t.Fatal(err)
	}
	n, _, err := r.conn.ReadFromUDPAddrPort(b)
	if err != nil {
		r.t.Fatalf("no report: %v", err)
	}
	packets, err := rtcp.Unmarshal(b[:n])
	if err != nil {
		r.t.Fatalf("peer got a malformed report: %v", err)
	}
	return packets
}

// openReporting is a port that sends reports only when the test says so, or
// when it closes.
func openReporting(t *testing.T) (*Port, *recorder, *peer, *reporter) {
	t.Helper()
	port, rec, p := openPort(t)
	r := newReporter(t, port)
	a := agreed(p.addr())
	a.Audio.RemoteRTCP = r.addr()
	port.Configure(a)
	return port, rec, p, r
}

func TestReportNumbers(t *testing.T) {
	t.Parallel()
	port, rec, p, r := openReporting(t)
	p.send(7) // the last one is number 0 of the second cycle
	p.skip(2)
	p.send(1)
	rec.wait(t, 8)
	for i := range uint64(3) {
		port.Push(frame(i))
		p.receive()
	}
	r.send(&rtcp.SenderReport{SSRC: 0x1234, NTPTime: 0x1122334455667788}, rtcp.NewCNAMESourceDescription(0x1234, "peer"))
	waitFor(t, func() bool {
		port.audio.rx.mu.Lock()
		defer port.audio.rx.mu.Unlock()
		return port.audio.rx.srMiddle != 0
	})
	port.audio.rx.mu.Lock()
	heard := port.audio.rx.srAt
	port.audio.rx.mu.Unlock()
	now := heard.Add(1500 * time.Millisecond)
	port.audio.report(now)

	got := r.receive()
	sr, ok := got[0].(*rtcp.SenderReport)
	if !ok || len(got) != 2 {
		t.Fatalf("got %v", got)
	}
	if sr.PacketCount != 3 || sr.OctetCount != 480 || sr.SSRC != port.audio.tx.ssrc || sr.NTPTime != ntpTime(now) {
		t.Errorf("sender report %+v", sr)
	}
	rr := sr.Reports[0]
	if rr.SSRC != 0x1234 || rr.TotalLost != 2 || rr.FractionLost != 2*256/10 || rr.LastSequenceNumber != 1<<16|3 {
		t.Errorf("reception report %+v", rr)
	}
	if rr.LastSenderReport != 0x33445566 || rr.Delay != 3<<15 {
		t.Errorf("last SR %x, delay %d", rr.LastSenderReport, rr.Delay)
	}
	name, ok := got[1].(*rtcp.SourceDescription)
	if !ok || name.Chunks[0].Items[0].Text != port.cname || len(port.cname) < 16 {
		t.Errorf("name %v", got[1])
	}

	port.audio.report(now)
	got = r.receive() // nothing sent since
	if _, ok := got[0].(*rtcp.ReceiverReport); !ok {
		t.Errorf("second report %v", got)
	}
	port.Close()
	got = r.receive()
	if bye, ok := got[len(got)-1].(*rtcp.Goodbye); !ok || bye.Sources[0] != sr.SSRC {
		t.Errorf("last report %v", got)
	}
}

func TestWhatThePeerReports(t *testing.T) {
	t.Parallel()
	port, _, p, r := openReporting(t)
	p.send(1)
	for i := range uint64(100) {
		port.Push(frame(i))
		p.receive()
	}
	report := func(from, about, lost uint32) {
		// The peer held our last report for 2 s, and the way back and forth took 250 ms.
		lsr := middle(ntpTime(time.Now().Add(-2250 * time.Millisecond)))
		r.send(&rtcp.ReceiverReport{SSRC: from, Reports: []rtcp.ReceptionReport{
			{SSRC: about, TotalLost: lost, LastSenderReport: lsr, Delay: 2 << 16}}})
	}
	ours := port.audio.tx.ssrc
	report(0x1234, ours, 7)
	waitFor(t, func() bool { return port.Stats().PeerLost == 7 })
	if trip := port.Stats().RoundTrip; trip < 249*time.Millisecond || trip > 10*time.Second {
		t.Errorf("round trip %v", trip)
	}
	report(0x1234, ours+1, 50) // about somebody else
	report(0x1234, ours, 9)
	waitFor(t, func() bool { return port.Stats().PeerLost == 9 })
	report(0x9999, ours, 1) // the peer restarted its count
	waitFor(t, func() bool { return port.Stats().PeerLost == 10 })
	report(0x9999, ours, 1<<24-5) // negative: more arrived than were sent
	waitFor(t, func() bool { return port.Stats().PeerLost == 9 })
	report(0x9999, ours, 1<<22) // absurd
	waitFor(t, func() bool { return port.Stats().PeerLost == 109 })
}

func TestReportsOnTheMediaPort(t *testing.T) {
	t.Parallel()
	port, rec, p := openPort(t)
	a := agreed(p.addr())
	a.Audio.RTCPMux = true
	port.Configure(a)
	p.send(1)
	rec.wait(t, 1)
	port.Push(frame(1))
	p.receive()
	b, err := rtcp.Marshal([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: 1, Reports: []rtcp.ReceptionReport{{SSRC: port.audio.tx.ssrc, TotalLost: 1}}}})
	if err != nil {
		t.Fatal(err)
	}
	p.raw(b)
	waitFor(t, func() bool { return port.Stats().PeerLost == 1 })
	port.audio.report(time.Now())
	if got := p.receive(); got.PayloadType != 200-128 || !got.Marker { // a sender report, read as RTP
		t.Errorf("got %v, want a report", got.Header)
	}
	if st := port.Stats(); st.Received != 1 || st.UnknownPayload != 0 || st.Malformed != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestWhereReportsGo(t *testing.T) {
	t.Parallel()
	at := netip.MustParseAddrPort
	none := netip.AddrPort{}
	cases := []struct {
		name                        string
		said, learned, locked, rtpS netip.AddrPort
		want                        netip.AddrPort
	}{
		{"nothing known", none, none, none, none, none},
		{"as the SDP says", at("10.0.0.1:5001"), none, none, at("10.0.0.1:5000"), at("10.0.0.1:5001")},
		{"the SDP told the truth", at("10.0.0.1:7001"), none, at("10.0.0.1:5000"), at("10.0.0.1:5000"), at("10.0.0.1:7001")},
		{"NAT: next to the media", at("10.0.0.1:5001"), none, at("192.0.2.1:6000"), at("10.0.0.1:5000"), at("192.0.2.1:6001")},
		{"NAT: where its reports come from", at("10.0.0.1:5001"), at("192.0.2.1:999"), at("192.0.2.1:6000"), at("10.0.0.1:5000"), at("192.0.2.1:999")},
	}
	for _, c := range cases {
		ctl := control{said: c.said, learned: c.learned}
		if got := ctl.target(c.locked, c.rtpS); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestReportsFromStrangersAndRubbish(t *testing.T) {
	t.Parallel()
	port, _, _, r := openReporting(t)
	one := []byte{0x80, 203, 0, 0} // a BYE that names nobody
	compound := func(n int) []byte {
		var b []byte
		for range n {
			b = append(b, one...)
		}
		return b
	}
	for _, b := range [][]byte{
		{}, {0x80}, {0x80, 201, 0, 9}, {0x81, 201, 0, 1, 0, 0, 0, 0}, {0x40, 201, 0, 0},
		compound(maxReports + 1),
	} {
		if eachReport(b, reportTaker{}) {
			t.Errorf("%x taken", b)
		}
		if _, err := r.conn.WriteToUDPAddrPort(b, r.to); err != nil {
			t.Fatal(err)
		}
	}
	if !eachReport(compound(maxReports), reportTaker{}) {
		t.Errorf("%d packets refused", maxReports)
	}
	if eachReport(make([]byte, maxPacket+1), reportTaker{}) {
		t.Error("too long a packet taken")
	}
	waitFor(t, func() bool { return port.Stats().Malformed == 6 })

	a := agreed(netip.MustParseAddrPort("192.0.2.1:4000"))
	a.Audio.RemoteRTCP = netip.MustParseAddrPort("192.0.2.1:4001")
	port.Configure(a)
	r.send(&rtcp.ReceiverReport{SSRC: 1})
	waitFor(t, func() bool { return port.Stats().Foreign == 1 })
}

// Reports go out by themselves.
func TestReportsAreSent(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "rtcp", "scripted")
	pool, err := NewPool(loopback, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	port, err := pool.Open(Options{Reports: 10 * time.Millisecond, CNAME: "me"})
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	r := newReporter(t, port)
	a := agreed(netip.AddrPortFrom(loopback, 9))
	a.Audio.RemoteRTCP = r.addr()
	port.Configure(a)
	for range 3 {
		if got := r.receive(); len(got) != 2 {
			t.Errorf("report of %d packets", len(got))
		}
	}
}

func TestNextReportIsRandom(t *testing.T) {
	t.Parallel()
	p := inMemory()
	seen := map[time.Time]bool{}
	for range 100 {
		at := p.audio.nextReport(start, false)
		seen[at] = true
		if d := at.Sub(start); d < reportEvery/2 || d >= reportEvery*3/2 {
			t.Fatalf("report after %v", d)
		}
		if d := p.audio.nextReport(start, true).Sub(start); d < reportEvery/4 || d >= reportEvery*3/4 {
			t.Fatalf("first report after %v", d)
		}
	}
	if len(seen) < 50 {
		t.Errorf("only %d different times", len(seen))
	}
}

func TestNTPTime(t *testing.T) {
	t.Parallel()
	if got := ntpTime(time.Unix(0, 500_000_000)); got != 2208988800<<32|1<<31 {
		t.Errorf("half a second into 1970 is %x", got)
	}
}

// addrAfter is where the reports of a stream go.
func addrAfter(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), a.Port()+1) }
