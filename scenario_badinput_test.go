package main_test

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"riptide/sip/siptest"
)

// TestBadInputHarmsNobody: while twenty calls talk, everything a peer or a
// stranger can get wrong is thrown at both bridges over the wire. Each piece is
// refused as it should be, or dropped and counted; no call is the worse for it,
// and nothing is left behind.
func TestBadInputHarmsNobody(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "bad-input", "scripted")
	const calls = 20
	callee := siptest.Sipp{Scenario: siptest.UAS, Script: siptest.Script{RingMS: 50}, Calls: calls + 1, Echo: true, Timeout: 2 * time.Minute}.Start(t)
	p := startSite(t, siteOptions{to: callee.Addr, edit: func(_, config string) string {
		return replace(t, config, "match: [\"127.0.0.0/8\"]", "match: [127.0.0.1/32]")
	}})
	for _, n := range []node{p.office, p.telco} {
		warmUp(t, n)
	}
	memory := map[string]float64{}
	for _, n := range []node{p.office, p.telco} {
		memory[n.name] = n.metrics(t)["process_resident_memory_bytes"]
	}
	caller := siptest.Sipp{
		Scenario: siptest.UAC, Script: siptest.Script{From: officeNumber, HoldMS: 10000, MediaFile: siptest.ToneFile(t, 440, 0)}, Remote: p.office.sip,
		Service: telcoNumber, Calls: calls, Rate: 40, Timeout: 2 * time.Minute,
	}.Start(t)
	c := newRIPTClient(t, p.telco, p.office.dir, "office")
	for deadline := time.Now().Add(20 * time.Second); sum(p.telco.metrics(t), "riptide_calls_active") < calls; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the calls are not there")
		}
	}
	t.Run("SIP", func(t *testing.T) { badSIP(t, p.office) })
	t.Run("SDP", func(t *testing.T) { badSDP(t, p.office) })
	t.Run("garbage on SIP ports", func(t *testing.T) { garbageSIP(t, p.office) })
	t.Run("garbage on RTP ports", func(t *testing.T) { garbageRTP(t, caller.Messages()) })
	t.Run("garbage on the RIPT port", func(t *testing.T) { garbageRIPT(t, p.telco) })
	t.Run("HTTP", func(t *testing.T) { badHTTP(t, c) })
	t.Run("events and chunks", func(t *testing.T) { badCall(t, p.telco, c) })

	if n := sum(p.telco.metrics(t), "riptide_calls_active"); n < calls {
		t.Errorf("all was over when %d calls of %d were left: nothing is shown", n, calls)
	}
	caller.Check(t, calls)
	callee.Check(t, calls+1)
	p.settle()
	for _, n := range []node{p.office, p.telco} {
		m := n.metrics(t)
		if ended := sum(m, "riptide_calls_total", `cause="normal"`); ended < calls {
			t.Errorf("%s counted %d normal calls, want %d", n.name, ended, calls)
		}
		if foreign := sum(m, "riptide_media_dropped_packets_total", `protocol="sip"`, `reason="foreign"`) + sum(m, "riptide_media_dropped_packets_total", `protocol="sip"`, `reason="malformed"`); n.name == "office" && foreign < 100 {
			t.Errorf("%s counted %d packets of noise, want 100 and more", n.name, foreign)
		}
		if lost := sum(m, "riptide_media_lost_packets_total"); lost != 0 {
			t.Errorf("%s lost %d media packets", n.name, lost)
		}
		grown := m["process_resident_memory_bytes"] - memory[n.name]
		t.Logf("%s: %.1f MB resident, %.1f MB more than before", n.name, m["process_resident_memory_bytes"]/1e6, grown/1e6)
		if grown > 64e6 {
			t.Errorf("%s has grown by %.0f MB", n.name, grown/1e6)
		}
		if log := n.logText(t); strings.Contains(log, "panic") || strings.Contains(log, "DATA RACE") {
			t.Errorf("%s panicked:\n%s", n.name, log)
		}
	}
}

// warmUp makes a process touch what it allocates once.
func warmUp(t *testing.T, n node) {
	t.Helper()
	for range 5 {
		n.metrics(t)
	}
}

// sipRequest is a good INVITE of ours until the test changes it.
func sipRequest(local string, id int, body string) string {
	return strings.Join([]string{
		"INVITE sip:" + telcoNumber + "@riptide.example SIP/2.0",
		fmt.Sprintf("Via: SIP/2.0/UDP %s;branch=z9hG4bKbad%d;rport", local, id),
		"Max-Forwards: 70", "From: <sip:" + officeNumber + "@peer.example>;tag=bad", "To: <sip:" + telcoNumber + "@riptide.example>",
		fmt.Sprintf("Call-ID: bad-%d@%s", id, local), "CSeq: 1 INVITE", "Contact: <sip:x@" + local + ">",
		"Content-Type: application/sdp", fmt.Sprintf("Content-Length: %d", len(body)), "", body,
	}, "\r\n")
}

// sipSocket is a UDP socket on a loopback address.
func sipSocket(t *testing.T, host, to string) net.Conn {
	t.Helper()
	raddr, err := net.ResolveUDPAddr("udp", to)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(host)}, raddr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// final sends a request and returns the status line of its final answer, which
// it acknowledges. wait bounds it; "" means that none came.
func final(t *testing.T, conn net.Conn, msg string, id int, wait time.Duration) string {
	t.Helper()
	if _, err := conn.Write([]byte(msg)); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(wait)
	b := make([]byte, 65535)
	for {
		_ = conn.SetReadDeadline(deadline)
		n, err := conn.Read(b)
		if err != nil {
			return ""
		}
		got := string(b[:n])
		status, _, _ := strings.Cut(got, "\r\n")
		if strings.HasPrefix(status, "SIP/2.0 1") || !strings.Contains(got, fmt.Sprintf("branch=z9hG4bKbad%d;", id)) {
			continue
		}
		if to := regexp.MustCompile(`(?m)^To: .*$`).FindString(got); to != "" {
			ack := strings.Replace(msg, "INVITE sip:", "ACK sip:", 1)
			ack = regexp.MustCompile(`(?m)^To: .*$`).ReplaceAllString(ack, strings.ReplaceAll(to, "$", "$$"))
			ack = strings.Replace(ack, "CSeq: 1 INVITE", "CSeq: 1 ACK", 1)
			head, _, _ := strings.Cut(ack, "\r\n\r\n")
			head = regexp.MustCompile(`Content-Length: .*`).ReplaceAllString(head, "Content-Length: 0")
			_, _ = conn.Write([]byte(head + "\r\n\r\n"))
		}
		return status
	}
}

const goodSDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n"

func badSIP(t *testing.T, n node) {
	conn := sipSocket(t, "127.0.0.1", n.sip)
	for i, tc := range []struct{ name, old, by, want string }{
		{"another version", "riptide.example SIP/2.0", "riptide.example SIP/7.0", "505"},
		{"CSeq of another method", "CSeq: 1 INVITE", "CSeq: 1 BYE", "400"},
		{"CSeq out of range", "CSeq: 1 ", "CSeq: 36893488147419103232 ", "400"},
		{"two From fields", "Max-Forwards: 70", "From: <sip:other@peer.example>;tag=2", "400"},
		{"unknown scheme", "INVITE sip:" + telcoNumber + "@riptide.example", "INVITE name:John_Smith", "416"},
		{"unknown extension required", "Max-Forwards: 70", "Require: nothing", "420"},
		{"no hops left", "Max-Forwards: 70", "Max-Forwards: 0", "483"},
		{"wrong content type", "application/sdp", "application/x-nonsense", "415"},
		{"wrong content length", "Content-Length: ", "Content-Length: 9", "400"},
		{"called number missing", "sip:" + telcoNumber + "@riptide.example SIP", "sip:riptide.example SIP", "484"},
		{"called number absurd", "sip:" + telcoNumber + "@riptide.example SIP", "sip:+" + strings.Repeat("9", 40) + "@riptide.example SIP", "484"},
		{"calling number absurd", "<sip:" + officeNumber + "@", "<sip:+" + strings.Repeat("9", 40) + "@", "403"},
		{"Identity of 20 KiB", "Max-Forwards: 70", "Identity: " + strings.Repeat("A", 20<<10), "438"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			id := 1000 + i
			msg := sipRequest(conn.LocalAddr().String(), id, goodSDP)
			if got := final(t, conn, replace(t, msg, tc.old, tc.by), id, 5*time.Second); !strings.Contains(got, " "+tc.want+" ") {
				t.Errorf("got %q, want %s", got, tc.want)
			}
		})
	}
}

func badSDP(t *testing.T, n node) {
	conn := sipSocket(t, "127.0.0.1", n.sip)
	files, err := filepath.Glob("testdata/sdp/bad/*.sdp")
	if err != nil || len(files) == 0 {
		t.Fatalf("no bad SDP: %v", err)
	}
	for i, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) == 0 {
			continue // no body is no offer, which is allowed
		}
		id := 2000 + i
		if got := final(t, conn, sipRequest(conn.LocalAddr().String(), id, string(b)), id, 5*time.Second); !strings.HasPrefix(got, "SIP/2.0 400 Bad Session Description") {
			t.Errorf("%s: %q", f, got)
		}
	}
}

// garbageSIP throws noise at the SIP port from a trunk and from a stranger, over
// UDP and TCP.
func garbageSIP(t *testing.T, n node) {
	before := n.metrics(t)
	const packets = 500
	for _, host := range []string{"127.0.0.1", "127.0.0.9"} {
		conn := sipSocket(t, host, n.sip)
		for i := range packets {
			noise := make([]byte, 1+i*2)
			_, _ = rand.Read(noise)
			_, _ = conn.Write(noise)
			if i%50 == 0 {
				time.Sleep(time.Millisecond) // the socket's buffer is the kernel's affair
			}
		}
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}}).Dial("tcp", n.sip)
		if err != nil {
			t.Fatal(err)
		}
		noise := make([]byte, 200<<10)
		_, _ = rand.Read(noise)
		_, _ = conn.Write(noise)
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
			t.Errorf("a connection from %s that says only noise is kept", host)
		}
		_ = conn.Close()
	}
	awaitCount(t, n, before, packets/2, "riptide_sip_dropped_total", `reason="malformed"`)
	awaitCount(t, n, before, packets/2, "riptide_sip_dropped_total", `reason="stranger"`)
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}

// awaitCount waits until a counter has grown by so much.
func awaitCount(t *testing.T, n node, before map[string]float64, want int, name string, labels ...string) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		got := sum(n.metrics(t), name, labels...) - sum(before, name, labels...)
		if got >= want {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%s %v of %s grew by %d, want %d", name, labels, n.name, got, want)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

var audioPort = regexp.MustCompile(`m=audio (\d+) `)

// garbageRTP throws noise, and RTP of somebody else, at the ports of calls.
func garbageRTP(t *testing.T, messages string) {
	ports := map[int]bool{}
	_, answers, _ := strings.Cut(messages, "SIP/2.0 200")
	for _, m := range audioPort.FindAllStringSubmatch(answers, -1) {
		port, err := strconv.Atoi(m[1])
		if err == nil && port >= 16384 && port < 24576 { // the office's
			ports[port] = true
		}
	}
	if len(ports) == 0 {
		t.Fatal("the caller's messages name no port of the office")
	}
	for port := range ports {
		for _, to := range []int{port, port + 1} {
			conn := sipSocket(t, "127.0.0.1", fmt.Sprintf("127.0.0.1:%d", to))
			for i := range 50 {
				noise := make([]byte, i*30)
				_, _ = rand.Read(noise)
				if i%2 == 0 && len(noise) > 2 {
					noise[0], noise[1] = 0x80, 0
				}
				_, _ = conn.Write(noise)
			}
		}
	}
}

// garbageRIPT throws noise at the QUIC port, and at TLS on TCP.
func garbageRIPT(t *testing.T, n node) {
	conn := sipSocket(t, "127.0.0.1", n.ript)
	for i := range 1000 {
		noise := make([]byte, 20+i)
		_, _ = rand.Read(noise)
		if i%2 == 0 { // a long header, version 1, type initial
			copy(noise, []byte{0xc3, 0, 0, 0, 1, 8})
		}
		_, _ = conn.Write(noise)
	}
	for _, hello := range [][]byte{
		[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		{0x16, 3, 1, 0xff, 0xff, 1, 0, 0},
		bytes.Repeat([]byte{0x16, 3, 3, 0x40, 0}, 8000),
		append([]byte{0x16, 3, 1, 0, 100, 1, 0, 0, 96}, make([]byte, 96)...),
	} {
		conn, err := net.Dial("tcp", n.ript)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(hello)
		if c, ok := conn.(*net.TCPConn); ok {
			_ = c.CloseWrite()
		}
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
			t.Errorf("a connection that begins with %.20q is kept", hello)
		}
		_ = conn.Close()
	}
	// Good TLS, and then no HTTP/2.
	tc, err := tls.Dial("tcp", n.ript, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = tc.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\xff", 1000)))
	_ = tc.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, tc); isTimeout(err) {
		t.Error("a connection that speaks no HTTP/2 is kept")
	}
	_ = tc.Close()
}
