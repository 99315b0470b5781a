package siptest

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Capture records the packets of a loopback interface and has tshark count the
// RTP in them: the outside view of what a bridge says about itself.
type Capture struct {
	Netns  *Namespace
	Filter string // of pcap; default "udp"
	Device string // default "lo"
	Whole  bool   // keep all of each packet, not only its headers
}

// CaptureRun is a capture that runs.
type CaptureRun struct {
	*Process
	file string
}

// RTPStream is one source seen by tshark.
type RTPStream struct {
	From, To string // HOST:PORT
	SSRC     uint32
	Packets  int
	Lost     int // gaps in the sequence numbers
}

// Start begins to capture. It needs root.
func (c Capture) Start(t testing.TB) *CaptureRun {
	t.Helper()
	Need(t, "tshark", "dumpcap")
	if c.Filter == "" {
		c.Filter = "udp"
	}
	if c.Device == "" {
		c.Device = "lo"
	}
	keep := "200" // bytes hold every header
	if c.Whole {
		keep = "0"
	}
	dir := t.TempDir()
	r := &CaptureRun{file: filepath.Join(dir, "capture.pcap")}
	// 64 MB between the kernel and the file.
	r.Process = Start(t, c.Netns, dir, "dumpcap", "-i", c.Device, "-f", c.Filter, "-B", "64", "-s", keep, "-P", "-w", r.file)
	for range 500 {
		if strings.Contains(r.Log(), "File:") { // it says so once it captures
			return r
		}
		select {
		case <-r.Done():
			Missing(t, "permission to capture packets (run the test as root): %s", r.Log())
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Fatalf("dumpcap does not begin:\n%s", r.Log())
	return nil
}

// end ends the capture.
func (r *CaptureRun) end(t testing.TB) {
	t.Helper()
	// dumpcap leaves behind what the kernel has not handed over yet, which it does
	// a few times a second.
	time.Sleep(time.Second)
	r.Signal(syscall.SIGINT) // SIGTERM would do too, but this is its documented way
	if _, err := r.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := droppedByKernel(r.Log()); n > 0 {
		t.Logf("the capture itself lost %d packets", n)
	}
}

// Packet is a datagram, or what one TCP segment carries.
type Packet struct {
	From, To string // HOST:PORT
	Payload  []byte
}

// Packets ends the capture and reads it, of IPv4.
func (r *CaptureRun) Packets(t testing.TB) []Packet {
	t.Helper()
	r.end(t)
	out, err := exec.CommandContext(t.Context(), Need(t, "tshark")[0], "-n", "-r", r.file, "-T", "fields", "-E", "separator=;",
		"-e", "ip.src", "-e", "ip.dst", "-e", "udp.srcport", "-e", "udp.dstport", "-e", "udp.payload",
		"-e", "tcp.srcport", "-e", "tcp.dstport", "-e", "tcp.payload").Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	var packets []Packet
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimRight(line, "\n"), ";")
		if len(f) != 8 {
			t.Fatalf("tshark says %.200q", line)
		}
		if f[4] == "" {
			copy(f[2:5], f[5:8])
		}
		payload, err := hex.DecodeString(f[4])
		if err != nil {
			t.Fatalf("tshark says %.200q: %v", line, err)
		}
		if len(payload) > 0 {
			packets = append(packets, Packet{From: net.JoinHostPort(f[0], f[2]), To: net.JoinHostPort(f[1], f[3]), Payload: payload})
		}
	}
	return packets
}

// File ends the capture and names its file.
func (r *CaptureRun) File(t testing.TB) string {
	t.Helper()
	r.end(t)
	return r.file
}

// Streams ends the capture and counts.
func (r *CaptureRun) Streams(t testing.TB) []RTPStream {
	t.Helper()
	return StreamsOf(t, r.File(t))
}

// StreamsOf counts in a capture of others.
func StreamsOf(t testing.TB, file string) []RTPStream {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), Need(t, "tshark")[0],
		"-n", "-q", "-r", file, "-o", "rtp.heuristic_rtp:TRUE", "-z", "rtp,streams").Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	streams, err := ParseRTPStreams(string(out))
	if err != nil {
		t.Fatal(err)
	}
	return streams
}

// droppedByKernel reads dumpcap's last words: "Packets received/dropped on
// interface 'lo': 300/0 (pcap:0/...)".
func droppedByKernel(log string) int {
	_, after, ok := strings.Cut(log, "Packets received/dropped on interface")
	if !ok {
		return 0
	}
	_, after, _ = strings.Cut(after, "/")
	digits, _, _ := strings.Cut(after, " ")
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return n
}

// ErrRTPStreams is wrapped by errors of ParseRTPStreams.
var ErrRTPStreams = errors.New("not tshark's table of RTP streams")

const maxStreams = 10000

// ParseRTPStreams reads the table that tshark -z rtp,streams prints.
func ParseRTPStreams(table string) ([]RTPStream, error) {
	var streams []RTPStream
	lines := bufio.NewScanner(strings.NewReader(table))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		// start, end, address, port, address, port, SSRC, payload (several words),
		// packets, lost, (percent), ...
		if len(f) < 11 || !strings.HasPrefix(f[6], "0x") {
			continue
		}
		percent := 8
		for percent < len(f) && !strings.HasSuffix(f[percent], "%)") {
			percent++
		}
		if percent == len(f) || percent < 10 {
			return nil, fmt.Errorf("%w: no counts in %.120q", ErrRTPStreams, lines.Text())
		}
		ssrc, err1 := strconv.ParseUint(f[6], 0, 32)
		packets, err2 := strconv.Atoi(f[percent-2])
		lost, err3 := strconv.Atoi(f[percent-1])
		if err := errors.Join(err1, err2, err3); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrRTPStreams, err)
		}
		if len(streams) == maxStreams {
			return nil, fmt.Errorf("%w: more than %d streams", ErrRTPStreams, maxStreams)
		}
		streams = append(streams, RTPStream{
			From: net.JoinHostPort(f[2], f[3]), To: net.JoinHostPort(f[4], f[5]),
			SSRC: uint32(ssrc), Packets: packets, Lost: lost,
		})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRTPStreams, err)
	}
	return streams, nil
}
