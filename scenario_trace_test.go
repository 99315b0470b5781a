package main_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"riptide/ops"
	"riptide/sip/siptest"
)

// otherNumber calls while another number is traced, and each caller proves with
// secret who it is.
const (
	otherNumber = "+12025550177"
	secret      = "5ec5ec5ec5ec5ec5"
)

// startTraced starts a plain SBC whose carrier is spoken to over TCP, and on its
// box a sngrep that listens for HEP, as Homer would, and takes it from those only
// who know its password.
func startTraced(t *testing.T) (s *sbc, collector *siptest.Process, file string) {
	t.Helper()
	sngrep := siptest.Need(t, "sngrep")[0]
	s = startSBCWith(t, func(s *sbc) {
		settings := filepath.Join(s.node.dir, "sngreprc")
		for name, text := range map[string]string{filepath.Join(s.node.dir, "homer"): "sesame\n", settings: "set eep.listen.pass sesame\n"} {
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		file = filepath.Join(s.node.dir, "homer.pcap")
		collector = siptest.Start(t, s.node.ns, s.node.dir, sngrep, "-N", "-q", "-F", "-f", settings, "-L", "udp:127.0.0.1:9060", "-O", file)
		for end := time.Now().Add(20 * time.Second); s.node.ns.Do(freePort9060) == nil; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("sngrep does not listen:\n%s", collector.Log())
			}
		}
	}, func(config string) string {
		config = replace(t, config, "peer: 198.51.100.20:5060", "peer: 198.51.100.20:5060\n      transport: tcp")
		return "trace: {hep: 127.0.0.1, hep-id: 2001, hep-password: homer}\n" + config
	})
	return s, collector, file
}

// freePort9060 fails where somebody listens.
func freePort9060() error {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9060})
	if err != nil {
		return err
	}
	return c.Close()
}

// traced is a riptide trace that runs.
type traced struct {
	cmd  *exec.Cmd
	out  bytes.Buffer
	file string
}

// startTrace runs it, and returns when it follows calls.
func (s *sbc) startTrace(t *testing.T, args ...string) *traced {
	t.Helper()
	r := &traced{file: filepath.Join(t.TempDir(), "trace.pcap")}
	said, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.cmd = s.node.ns.Command(riptide(t), append([]string{"trace", "-c", filepath.Join(s.node.dir, "riptide.yaml"), "-w", r.file}, args...)...)
	r.cmd.Stdout, r.cmd.Stderr = &r.out, write
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = write.Close()
	t.Cleanup(func() { _ = r.cmd.Process.Kill(); _ = said.Close() })
	line := make([]byte, 200)
	if n, err := said.Read(line); err != nil || !strings.HasPrefix(string(line[:n]), "tracing") {
		t.Fatalf("riptide trace says %s, %v", line[:n], err)
	}
	return r
}

// end interrupts it, as Ctrl-C does.
func (r *traced) end(t *testing.T) string {
	t.Helper()
	_ = r.cmd.Process.Signal(syscall.SIGINT)
	if err := r.cmd.Wait(); err != nil {
		t.Errorf("riptide trace: %v, %s", err, &r.out)
	}
	return r.out.String()
}

// tshark reads fields of packets.
func tshark(t *testing.T, file string, args ...string) []string {
	t.Helper()
	out, err := exec.Command(siptest.Need(t, "tshark")[0], append([]string{"-n", "-r", file, "-T", "fields", "-E", "separator= "}, args...)...).Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// TestTraceOfSipp: what riptide shows of calls of sipp is what tshark and sngrep
// see in them: both sides of the number's calls and their media in a file, all
// messages as HEP. Nobody's password is in either.
func TestTraceOfSipp(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "trace", "sipp")
	sngrep := siptest.Need(t, "sngrep")[0]
	s, collector, homer := startTraced(t)
	hep := siptest.Capture{Netns: s.node.ns, Filter: "udp dst port 9060", Whole: true}.Start(t)
	trace := s.startTrace(t, "--number", strings.TrimPrefix(officeNumber, "+1"), "--media")
	for _, from := range []string{officeNumber, otherNumber} {
		uas := siptest.Sipp{Scenario: siptest.UAS, Netns: s.carrier, Port: 5060, TCP: true, Echo: true, Script: siptest.Script{RingMS: 50}}.Start(t)
		siptest.Sipp{
			Scenario: siptest.UAC, Netns: s.pbx, Port: 5060, Remote: s.inside, Service: outsideNumber,
			Script: siptest.Script{From: from, HoldMS: 1500, MediaFile: siptest.ToneFile(t, 440, 0), Headers: []string{`Proxy-Authorization: Digest username="u", realm="r", nonce="n", uri="sip:x", response="` + secret + `"`}},
		}.Start(t).Check(t, 1)
		uas.Check(t, 1)
	}
	s.node.settle(t)
	t.Log(trace.end(t))

	checkTrace(t, trace.file)
	checkMedia(t, trace.file)
	again := filepath.Join(t.TempDir(), "again.pcap")
	if out, err := exec.Command(sngrep, "-N", "-q", "-I", trace.file, "-O", again).CombinedOutput(); err != nil {
		t.Fatalf("sngrep: %v, %s", err, out)
	}
	checkTrace(t, again)
	checkHEP(t, hep.Packets(t))
	collector.Signal(syscall.SIGINT)
	if status, err := collector.Wait(t.Context()); err != nil || status != 0 {
		t.Errorf("sngrep as a collector: %d, %v, %s", status, err, collector.Log())
	}
	for _, from := range []string{officeNumber, otherNumber} {
		checkCall(t, homer, from)
	}
	if m := s.node.metrics(t); sum(m, "riptide_hep_sent_total") < 20 || sum(m, "riptide_hep_dropped_total") > 0 {
		t.Errorf("%d sent as HEP, %d dropped", sum(m, "riptide_hep_sent_total"), sum(m, "riptide_hep_dropped_total"))
	}
}

// checkMedia finds the sound of one call, both ways on both sides.
func checkMedia(t *testing.T, file string) {
	t.Helper()
	streams := siptest.StreamsOf(t, file)
	ends := map[string]bool{}
	for _, r := range streams {
		from, _, _ := net.SplitHostPort(r.From)
		to, _, _ := net.SplitHostPort(r.To)
		if ends[from+" "+to] = true; r.Packets < 50 || r.Lost > 0 {
			t.Errorf("%+v", r)
		}
	}
	if len(ends) != 4 {
		t.Errorf("streams of RTP in the file: %+v, want both ways on both sides", streams)
	}
}

// checkTrace reads a file that holds the call of one number and no other.
func checkTrace(t *testing.T, file string) {
	t.Helper()
	checkCall(t, file, officeNumber)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte(otherNumber)) || bytes.Contains(b, []byte(secret)) {
		t.Errorf("%s holds another call, or the proof of a password", file)
	}
	if bad := tshark(t, file, "-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-Y", "udp.checksum.status == 0 || ip.checksum.status == 0 || _ws.malformed", "-e", "frame.number"); bad[0] != "" {
		t.Errorf("%s: packets %v are broken", file, bad)
	}
}

// checkCall reads the call of a number as both networks saw it.
func checkCall(t *testing.T, file, from string) {
	t.Helper()
	lines := tshark(t, file, "-Y", fmt.Sprintf("sip.from.user == %q", from), "-e", "ip.src", "-e", "ip.dst", "-e", "sip.Method", "-e", "sip.Status-Code", "-e", "sip.CSeq.method")
	for _, way := range [][2]string{{"192.0.2.20", "192.0.2.10"}, {"198.51.100.10", "198.51.100.20"}} {
		for _, want := range []string{
			way[0] + " " + way[1] + " INVITE  INVITE", way[1] + " " + way[0] + "  180 INVITE", way[1] + " " + way[0] + "  200 INVITE",
			way[0] + " " + way[1] + " ACK  ACK", way[0] + " " + way[1] + " BYE  BYE", way[1] + " " + way[0] + "  200 BYE",
		} {
			if n := count(lines, want); n != 1 {
				t.Errorf("%s: %q %d times in\n%s", file, want, n, strings.Join(lines, "\n"))
			}
		}
	}
}

func count(lines []string, want string) int {
	n := 0
	for _, l := range lines {
		if l == want {
			n++
		}
	}
	return n
}

// checkHEP reads what went to the collector.
func checkHEP(t *testing.T, packets []siptest.Packet) {
	t.Helper()
	var lines []string
	for _, p := range packets {
		h, err := ops.ParseHEP(p.Payload)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(h.Payload, []byte(secret)) || !bytes.Contains(h.Payload, []byte("Call-ID: "+h.Correlation+"\r\n")) {
			t.Errorf("sent to the collector for %s:\n%s", h.Correlation, h.Payload)
		}
		if bytes.HasPrefix(h.Payload, []byte("INVITE")) {
			lines = append(lines, fmt.Sprint(h.Node, " ", h.Password, " ", h.TCP, " ", h.From.Addr(), " ", h.To.Addr()))
		}
	}
	for _, want := range []string{"2001 sesame false 192.0.2.20 192.0.2.10", "2001 sesame true 198.51.100.10 198.51.100.20"} {
		if count(lines, want) != 2 {
			t.Errorf("HEP has not %q twice:\n%s", want, strings.Join(lines, "\n"))
		}
	}
}

// TestTraceCommandIsClear: what cannot be traced is said at once, and in words;
// nothing is left behind.
func TestTraceCommandIsClear(t *testing.T) {
	t.Parallel()
	p := startSite(t, siteOptions{})
	dir := t.TempDir()
	config, file := filepath.Join(p.office.dir, "riptide.yaml"), filepath.Join(dir, "a.pcap")
	for want, args := range map[string][]string{
		"no call 0815 is running":     {"--call", "0815", "-w", file},
		"no SIP trunk is called":      {"--trunk", "nobody", "-w", file},
		"nothing was seen of number":  {"--number", officeNumber, "--for", "10ms", "-w", file},
		"exactly one of":              {"-w", file},
		"where to?":                   {"--trunk", "pbx"},
		"no such file or directory":   {"--trunk", "pbx", "-w", filepath.Join(dir, "none", "a.pcap")},
		"no space left on device":     {"--trunk", "pbx", "--for", "10ms", "-w", "/dev/full"},
		"no argument":                 {"--trunk", "pbx", "-w", file, "more"},
		"no riptide serve is running": {"-c", setupElsewhere(t, config, dir), "--trunk", "pbx", "-w", file},
	} {
		if !slices.Contains(args, "-c") {
			args = append([]string{"-c", config}, args...)
		}
		out, err := exec.Command(riptide(t), append([]string{"trace"}, args...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("riptide trace %v: %v, %s, want %q", args, err, out, want)
		}
		if _, err := os.Stat(file); err == nil {
			t.Errorf("riptide trace %v leaves a file", args)
			_ = os.Remove(file)
		}
	}
}

// setupElsewhere is a configuration with a state directory in which nobody
// serves.
func setupElsewhere(t *testing.T, config, dir string) string {
	t.Helper()
	b, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(b), "\n")
	i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "state:") })
	if i < 0 {
		t.Fatalf("no state in\n%s", b)
	}
	lines[i] = fmt.Sprintf("state: %q", dir)
	elsewhere := filepath.Join(filepath.Dir(config), "elsewhere.yaml")
	if err := os.WriteFile(elsewhere, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return elsewhere
}
