package siptest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/textproto"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// Forker is a callee behind a proxy that forks: it answers each INVITE once per
// branch, with a tag of its own for each, which sipp cannot. Only UDP.
//
// RFC 3261 section 13.2.2.4 wants of the caller: an ACK for each 200, and a BYE
// for each dialog it does not keep.
type Forker struct {
	Branches int    // 200s per INVITE; default 2
	Host     string // default 127.0.0.1
	Netns    *Namespace

	conn net.PacketConn
	done chan struct{}

	mu   sync.Mutex
	acks map[string]int // by tag
	byes map[string]int
	more chan struct{} // closed and replaced when something came
}

// maxDatagram is the longest SIP message taken.
const maxDatagram = 64 << 10

// Start makes the Forker listen until the test ends, and returns its address.
func (f *Forker) Start(t testing.TB) string {
	t.Helper()
	if f.Branches == 0 {
		f.Branches = 2
	}
	if f.Host == "" {
		f.Host = "127.0.0.1"
	}
	f.acks, f.byes = map[string]int{}, map[string]int{}
	f.more, f.done = make(chan struct{}), make(chan struct{})
	err := f.Netns.Do(func() (err error) {
		f.conn, err = net.ListenPacket("udp", net.JoinHostPort(f.Host, "0"))
		return err
	})
	if err != nil {
		t.Fatalf("start a forking callee: %v", err)
	}
	go f.serve()
	t.Cleanup(func() {
		_ = f.conn.Close()
		<-f.done
	})
	return f.conn.LocalAddr().String()
}

func (f *Forker) serve() {
	defer close(f.done)
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := f.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		m, err := parseRequest(buf[:n])
		if err != nil {
			continue
		}
		for _, reply := range f.take(m) {
			_, _ = f.conn.WriteTo(reply, from)
		}
	}
}

// take notes a request and gives the responses to it.
func (f *Forker) take(m request) [][]byte {
	switch m.method {
	case "INVITE":
		replies := [][]byte{m.reply("180 Ringing", "fork0", "", "")}
		for i := range f.Branches {
			replies = append(replies, m.reply("200 OK", fmt.Sprintf("fork%d", i), f.conn.LocalAddr().String(), f.sdp(i)))
		}
		return replies
	case "ACK":
		f.count(f.acks, m.toTag())
		return nil
	case "BYE":
		f.count(f.byes, m.toTag())
	}
	return [][]byte{m.reply("200 OK", "", "", "")}
}

// sdp gives each branch media of its own: the discard port, nobody listens.
func (f *Forker) sdp(branch int) string {
	return fmt.Sprintf("v=0\r\no=fork %d 1 IN IP4 %s\r\ns=-\r\nc=IN IP4 %s\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n", branch+1, f.Host, f.Host)
}

func (f *Forker) count(what map[string]int, tag string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	what[tag]++
	close(f.more)
	f.more = make(chan struct{})
}

// Await waits until every branch was acknowledged, and all but one were hung up;
// it returns the tag of the one that was kept.
func (f *Forker) Await(ctx context.Context) (kept string, err error) {
	for {
		f.mu.Lock()
		acks, byes, more := len(f.acks), len(f.byes), f.more
		for i := range f.Branches {
			if tag := fmt.Sprintf("fork%d", i); f.byes[tag] == 0 {
				kept = tag
			}
		}
		f.mu.Unlock()
		if acks == f.Branches && byes == f.Branches-1 {
			return kept, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return "", fmt.Errorf("of %d branches %d were acknowledged and %d hung up: %w", f.Branches, acks, byes, context.Cause(ctx))
		}
	}
}

// request is as much of a SIP request as is needed to answer it.
type request struct {
	method string
	header textproto.MIMEHeader
}

func parseRequest(b []byte) (request, error) {
	r := textproto.NewReader(bufio.NewReader(bytes.NewReader(b)))
	line, err := r.ReadLine()
	if err != nil {
		return request{}, fmt.Errorf("read SIP request: %w", err)
	}
	method, rest, _ := strings.Cut(line, " ")
	if !strings.HasSuffix(rest, " SIP/2.0") {
		return request{}, fmt.Errorf("read SIP request: %.40q is no request line", line)
	}
	header, err := r.ReadMIMEHeader()
	if err != nil {
		return request{}, fmt.Errorf("read SIP request: %w", err)
	}
	return request{method, header}, nil
}

// parseResponse reads a response in the same way.
func parseResponse(b []byte) (m request, status int, err error) {
	r := textproto.NewReader(bufio.NewReader(bytes.NewReader(b)))
	line, err := r.ReadLine()
	if err != nil {
		return request{}, 0, fmt.Errorf("read SIP response: %w", err)
	}
	if _, err := fmt.Sscanf(line, "SIP/2.0 %d", &status); err != nil {
		return request{}, 0, fmt.Errorf("read SIP response: %.40q is no status line", line)
	}
	m.header, err = r.ReadMIMEHeader()
	if err != nil {
		return request{}, 0, fmt.Errorf("read SIP response: %w", err)
	}
	return m, status, nil
}

// contactPattern finds the URI of a Contact.
var contactPattern = regexp.MustCompile(`<([^>]+)>`)

var tagPattern = regexp.MustCompile(`;\s*tag=([^;>\s]+)`)

func (m request) toTag() string {
	if found := tagPattern.FindStringSubmatch(m.get("To", "T")); found != nil {
		return found[1]
	}
	return ""
}

// get is a header field by its long or its compact name.
func (m request) get(long, compact string) string {
	if v := m.header.Get(long); v != "" {
		return v
	}
	return m.header.Get(compact)
}

// reply makes a response; tag, contact and sdp may be empty.
func (m request) reply(status, tag, contact, sdp string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "SIP/2.0 %s\r\n", status)
	for _, via := range append(m.header.Values("Via"), m.header.Values("V")...) {
		fmt.Fprintf(&b, "Via: %s\r\n", via)
	}
	to := m.get("To", "T")
	if tag != "" {
		to += ";tag=" + tag
	}
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %s\r\n", m.get("From", "F"), to, m.get("Call-ID", "I"), m.header.Get("CSeq"))
	if contact != "" {
		fmt.Fprintf(&b, "Contact: <sip:fork@%s>\r\n", contact)
	}
	if sdp != "" {
		b.WriteString("Content-Type: application/sdp\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(sdp), sdp)
	return []byte(b.String())
}
