package main_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"riptide/sip/siptest"
)

// floodNetwork is where a flood comes from: 10.66.0.0/16, all of it at the host
// of the carrier.
const floodNetwork = "10.66.0.0/16"

// floodCounters counts, by the kernel, what the flood sends and what is sent back
// to it: any answer at all, and what is not TCP, which answers to a handshake.
const floodCounters = `
table inet flood {
	counter sent {}
	counter answered {}
	chain output {
		type filter hook output priority 0;
		ip saddr 10.66.0.0/16 meta l4proto udp counter name sent
	}
	chain input {
		type filter hook input priority 0;
		ip daddr 10.66.0.0/16 meta l4proto != tcp counter name answered
	}
}
`

// startFlood gives the carrier's host the addresses, and the box a way back to
// them.
func startFlood(t *testing.T, s *sbc) {
	t.Helper()
	for _, c := range []struct {
		ns   *siptest.Namespace
		args []string
	}{
		{s.carrier, []string{"ip", "route", "add", "local", floodNetwork, "dev", "lo"}},
		{s.node.ns, []string{"ip", "route", "add", floodNetwork, "via", "198.51.100.20"}},
	} {
		if out, err := c.ns.Command(c.args[0], c.args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", c.args, err, out)
		}
	}
	addRules(t, s.carrier, floodCounters)
}

// flooder makes packets as scanners, broken telephones and vandals send them.
type flooder struct {
	random *rand.Rand
	target string // HOST:PORT
}

// packet is one of them, from a source.
func (f *flooder) packet(source string) []byte {
	method := []string{"OPTIONS", "INVITE", "REGISTER", "BYE", "ACK", "CANCEL", "SUBSCRIBE", "NOSUCH"}[f.random.IntN(8)]
	body := ""
	if method == "INVITE" {
		body = fmt.Sprintf("v=0\r\no=x 1 1 IN IP4 %s\r\ns=-\r\nc=IN IP4 %s\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n", source, source)
	}
	id := f.random.Uint64()
	request := fmt.Appendf(nil, "%s sip:%d@%s SIP/2.0\r\nVia: SIP/2.0/UDP %s:5060;branch=z9hG4bK%x;rport\r\nMax-Forwards: 70\r\nFrom: <sip:%d@%s>;tag=%x\r\n"+
		"To: <sip:%d@%s>\r\nCall-ID: %x@%s\r\nCSeq: 1 %s\r\nContact: <sip:x@%s:5060>\r\nUser-Agent: friendly-scanner\r\nContent-Length: %d\r\n\r\n%s",
		method, f.random.IntN(10000), f.target, source, id, f.random.IntN(10000), f.target, id, f.random.IntN(10000), f.target, id, source, method, source, len(body), body)
	switch f.random.IntN(10) {
	case 0: // rubbish
		b := make([]byte, 1+f.random.IntN(1400))
		for i := range b {
			b[i] = byte(f.random.Uint32())
		}
		return b
	case 1: // cut off
		return request[:f.random.IntN(len(request))]
	case 2: // keep-alives, and nothing
		return []byte("\r\n\r\n")[:f.random.IntN(5)]
	case 3: // an answer to nobody's question
		return append([]byte("SIP/2.0 200 OK\r\n"), request[bytes.IndexByte(request, '\n')+1:]...)
	}
	return request
}

// flood sends packets from so many addresses, ten from each; every tenth of them
// connects, too. It returns how many connections were told something.
func (f *flooder) flood(t *testing.T, ns *siptest.Namespace, sources int) (told int) {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp", f.target)
	if err != nil {
		t.Fatal(err)
	}
	err = ns.Do(func() error {
		for i := range sources {
			from := net.IPv4(10, 66, byte(i/250), byte(i%250)+1)
			c, err := net.DialUDP("udp", &net.UDPAddr{IP: from, Port: 5060}, to)
			if err != nil {
				return err
			}
			for range 10 {
				_, _ = c.Write(f.packet(from.String()))
			}
			_ = c.Close()
			if i%10 == 0 && f.knock(from) {
				told++
			}
			time.Sleep(2 * time.Millisecond)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return told
}

// knock connects, asks, and tells whether anything was said.
func (f *flooder) knock(from net.IP) bool {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from}, Timeout: 5 * time.Second}
	c, err := d.Dial("tcp", f.target)
	if err != nil {
		return false
	}
	defer c.Close()
	_, _ = c.Write(f.packet(from.String()))
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, _ := c.Read(make([]byte, 1))
	return n > 0
}

// TestSoakFlood: packets of all kinds from ten thousand addresses of nobody, and
// connections, while a trunk's calls go on. None of the calls fails, nobody is
// answered, and nothing of it stays in memory.
func TestSoakFlood(t *testing.T) {
	besideOthers(t)
	siptest.Shows(t, "flood", "scripted")
	s := startSBC(t)
	startFlood(t, s)
	const warm = 50
	sources := size(1000, 10000)
	// As long as the flood, at four milliseconds for each source.
	calls, rate := max(20, sources/25), 10.0
	callee := siptest.Sipp{
		Scenario: siptest.UAS, Script: siptest.Script{RingMS: 50}, Netns: s.carrier, Port: 5060, Calls: warm + calls, Timeout: 5 * time.Minute,
	}.Start(t)
	place := func(calls int, rate float64) *siptest.SippRun {
		return siptest.Sipp{
			Scenario: siptest.UAC, Script: siptest.Script{From: officeNumber, HoldMS: 500}, Netns: s.pbx, Port: 5060, Remote: s.inside,
			Service: outsideNumber, Calls: calls, Rate: rate, Timeout: 5 * time.Minute,
		}.Start(t)
	}
	place(warm, 25).Check(t, warm)
	s.node.settle(t)
	before := stock(s.node.metrics(t))
	caller := place(calls, rate)
	begun := time.Now()
	f := &flooder{random: rand.New(rand.NewPCG(1, 2)), target: s.outside}
	told := f.flood(t, s.carrier, sources)
	took := time.Since(begun)
	r := caller.Check(t, calls)
	callee.Check(t, warm+calls)
	s.node.settle(t)

	after := leftOvers(t, s.node)[0]
	counted := kernelCounters(t, s.carrier)
	sent, answered := counted["sent"], counted["answered"]
	dropped := sum(s.node.metrics(t), "riptide_sip_dropped_total", `reason="stranger"`)
	t.Logf("%d packets from %d sources in %v, %d dropped as of strangers, %d answered; %d calls meanwhile, %d failed, %d retransmissions, mean set-up %v",
		sent, sources, took.Round(time.Second), dropped, answered, r.Successful, r.Failed, r.Retransmissions, r.ResponseTime)
	t.Logf("goroutines %d -> %d, heap in use %.1f MB -> %.1f MB, resident %.1f MB -> %.1f MB",
		before.goroutines, after.goroutines, before.heap/1e6, after.heap/1e6, before.resident/1e6, after.resident/1e6)
	if after.goroutines > before.goroutines+20 || after.heap > before.heap+24e6 {
		t.Errorf("the flood has left something behind: %+v, %+v before", after, before)
	}
	if sent != 10*sources {
		t.Errorf("%d packets were sent, want %d", sent, 10*sources)
	}
	if answered > 0 || told > 0 {
		t.Errorf("%d packets went back to the sources, and %d connections were told something", answered, told)
	}
	// What the kernel could not keep for us it has dropped itself.
	if dropped < sent/2 {
		t.Errorf("%d of %d packets were dropped as of strangers", dropped, sent)
	}
}
