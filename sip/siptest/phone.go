package siptest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	pion "github.com/pion/sdp/v3"
)

// Phone is a telephone for one call whose media the test itself makes and looks
// at, packet by packet: sockets, and as much SIP over UDP as a call needs. It
// speaks G.711 µ-law, and video if it is given a codec. It picks up when called.
type Phone struct {
	User  string // of its address; default "phone"
	Host  string // default 127.0.0.1, or the namespace's address
	Netns *Namespace
	Port  int    // of SIP; 0 = a free one
	Video string // "H264" or "VP8"; "" = none
	Fmtp  string // parameters of the video
	SRTP  bool   // speech is protected, with keys in SDP; other calls are refused
	Ptime int    // milliseconds of speech in a packet; 0 = it says nothing of that
	Timer int    // seconds that a session is to last without Offer; 0 = for ever

	// Audio, VideoRTP and VideoRTCP are its sockets.
	Audio, VideoRTP, VideoRTCP *net.UDPConn

	sip  *net.UDPConn
	done chan struct{}

	mu     sync.Mutex
	peer   PhonePeer
	dialog phoneDialog
	key    phoneKey
	more   chan struct{} // closed and replaced when something happened
	talks  bool
	over   bool
	asked  int
	failed error
}

// PhonePeer is where the other end of a Phone's call takes its media.
type PhonePeer struct {
	Audio     *net.UDPAddr
	Video     *net.UDPAddr // nil: it has no video in this call
	VideoRTCP *net.UDPAddr
	Payload   uint8  // number of the video
	Key       []byte // of its speech, with the salt; nil = not protected
	SDP       string // all of it
}

// phoneDialog is what requests within the call need.
type phoneDialog struct {
	to            *net.UDPAddr
	uri, id       string
	local, remote string // From and To of requests we send
	seq           int
	offer         bool // our INVITE is under way
}

// Start opens the sockets; they are closed when the test ends.
func (p *Phone) Start(t testing.TB) *Phone {
	t.Helper()
	if p.User == "" {
		p.User = "phone"
	}
	if p.Host == "" {
		p.Host = "127.0.0.1"
		if p.Netns != nil {
			p.Host = p.Netns.Addr
		}
	}
	p.more, p.done = make(chan struct{}), make(chan struct{})
	p.key = newPhoneKey()
	err := p.Netns.Do(func() (err error) {
		if p.sip, err = p.listen(p.Port); err != nil {
			return err
		}
		if p.Audio, err = p.listen(0); err != nil {
			return err
		}
		return p.listenVideo()
	})
	if err != nil {
		t.Fatalf("start a telephone: %v", err)
	}
	go p.serve()
	t.Cleanup(func() {
		for _, c := range []*net.UDPConn{p.sip, p.Audio, p.VideoRTP, p.VideoRTCP} {
			_ = c.Close()
		}
		<-p.done
	})
	return p
}

func (p *Phone) listen(port int) (*net.UDPConn, error) {
	return net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(p.Host), Port: port})
}

// listenVideo opens a pair of ports.
func (p *Phone) listenVideo() (err error) {
	for range 100 {
		if p.VideoRTP, err = p.listen(0); err != nil {
			return err
		}
		if p.VideoRTCP, err = p.listen(portOf(p.VideoRTP) + 1); err == nil {
			return nil
		}
		_ = p.VideoRTP.Close()
	}
	return err
}

func portOf(c *net.UDPConn) int { return c.LocalAddr().(*net.UDPAddr).Port }

// Addr is HOST:PORT where it speaks SIP.
func (p *Phone) Addr() string { return p.sip.LocalAddr().String() }

// describe is its session description; the payload type numbers are those of
// the offer, if there is one.
func (p *Phone) describe(version int, video bool, number uint8) string {
	profile := "RTP/AVP"
	if p.SRTP {
		profile = "RTP/SAVP"
	}
	s := fmt.Sprintf("v=0\r\no=phone 1 %d IN IP4 %s\r\ns=-\r\nc=IN IP4 %s\r\nt=0 0\r\nm=audio %d %s 0\r\na=rtpmap:0 PCMU/8000\r\n",
		version, p.Host, p.Host, portOf(p.Audio), profile)
	if p.SRTP {
		s += p.key.line()
	}
	if p.Ptime > 0 {
		s += fmt.Sprintf("a=ptime:%d\r\n", p.Ptime)
	}
	if p.Video == "" && number == 0 {
		return s
	}
	port := 0
	if video {
		port = portOf(p.VideoRTP)
	}
	s += fmt.Sprintf("m=video %d RTP/AVP %d\r\na=rtpmap:%d %s/90000\r\n", port, number, number, p.Video)
	if p.Fmtp != "" {
		s += fmt.Sprintf("a=fmtp:%d %s\r\n", number, p.Fmtp)
	}
	return s + fmt.Sprintf("a=rtcp-fb:%d nack pli\r\na=rtcp-fb:%d ccm fir\r\n", number, number)
}

// phoneNumber is the payload type number under which it offers video.
const phoneNumber = 97

// Call places a call to user at a SIP address and returns when it is answered.
func (p *Phone) Call(ctx context.Context, addr, user string) error {
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return fmt.Errorf("call %s: %w", user, err)
	}
	p.mu.Lock()
	p.dialog = phoneDialog{
		to: to, uri: fmt.Sprintf("sip:%s@%s", user, addr), id: rand.Text(),
		local: fmt.Sprintf("<sip:%s@%s>;tag=%s", p.User, p.Addr(), rand.Text()[:8]), remote: fmt.Sprintf("<sip:%s@%s>", user, addr),
	}
	p.mu.Unlock()
	return p.Offer(ctx, p.Video != "")
}

// Offer offers, within the call if there is one, audio and perhaps video, and
// returns when that is answered.
func (p *Phone) Offer(ctx context.Context, video bool) error {
	p.mu.Lock()
	p.dialog.offer, p.talks = true, false
	p.dialog.seq++
	err := p.send(p.request("INVITE", p.dialog.seq, p.describe(p.dialog.seq, video, phoneNumber)))
	p.mu.Unlock()
	if err != nil {
		return err
	}
	return p.await(ctx, "an answer", func() bool { return p.talks })
}

// Turn has it send its next requests of the call to another SIP address.
func (p *Phone) Turn(addr string) error {
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return fmt.Errorf("turn to %s: %w", addr, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dialog.to = to
	return nil
}

// Talks waits until it has picked up and the caller knows.
func (p *Phone) Talks(ctx context.Context) error {
	return p.await(ctx, "a call", func() bool { return p.talks })
}

// HangUp ends the call.
func (p *Phone) HangUp(ctx context.Context) error {
	p.mu.Lock()
	p.dialog.seq++
	err := p.send(p.request("BYE", p.dialog.seq, ""))
	p.mu.Unlock()
	if err != nil {
		return err
	}
	return p.Over(ctx)
}

// Over waits until the call has been ended.
func (p *Phone) Over(ctx context.Context) error {
	return p.await(ctx, "the end of the call", func() bool { return p.over })
}

// Peer is where the other end takes its media now.
func (p *Phone) Peer() PhonePeer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.peer
}

// Asked is how often the other end asked for a change of the call, or refreshed
// its session.
func (p *Phone) Asked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

func (p *Phone) await(ctx context.Context, what string, ok func() bool) error {
	for {
		p.mu.Lock()
		more, done, err := p.more, ok(), p.failed
		p.mu.Unlock()
		switch {
		case err != nil:
			return err
		case done:
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return fmt.Errorf("telephone %s waits for %s: %w", p.User, what, context.Cause(ctx))
		}
	}
}

// request writes a request of the dialog; the mutex is held.
func (p *Phone) request(method string, seq int, body string) []byte {
	d := &p.dialog
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%s;rport\r\nMax-Forwards: 70\r\n", method, d.uri, p.Addr(), rand.Text())
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d %s\r\nContact: <sip:%s@%s>\r\n", d.local, d.remote, d.id, seq, method, p.User, p.Addr())
	if method == "INVITE" && p.Timer > 0 {
		fmt.Fprintf(&b, "Supported: timer\r\nSession-Expires: %d;refresher=uac\r\n", p.Timer)
	}
	if body != "" {
		b.WriteString("Content-Type: application/sdp\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return []byte(b.String())
}

// send sends a message to the other end; the mutex is held.
func (p *Phone) send(b []byte) error {
	if _, err := p.sip.WriteToUDP(b, p.dialog.to); err != nil {
		return fmt.Errorf("telephone %s: %w", p.User, err)
	}
	return nil
}

func (p *Phone) serve() {
	defer close(p.done)
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := p.sip.ReadFromUDP(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		p.mu.Lock()
		if bytes.HasPrefix(buf[:n], []byte("SIP/2.0 ")) {
			p.takeResponse(buf[:n])
		} else if m, err := parseRequest(buf[:n]); err == nil {
			p.takeRequest(m, buf[:n], from)
		}
		close(p.more)
		p.more = make(chan struct{})
		p.mu.Unlock()
	}
}

// takeResponse takes an answer to an INVITE or BYE of ours. Repetitions of a 200
// are acknowledged again.
func (p *Phone) takeResponse(b []byte) {
	m, status, err := parseResponse(b)
	if err != nil || status < 200 {
		return
	}
	seq, method, _ := strings.Cut(m.header.Get("Cseq"), " ")
	number, _ := strconv.Atoi(seq)
	switch {
	case method == "BYE":
		p.over = true
	case method != "INVITE":
	case status >= 300:
		p.failed = fmt.Errorf("telephone %s: the call was refused with %d", p.User, status)
	default:
		p.dialog.remote = m.get("To", "T")
		if c := contactPattern.FindStringSubmatch(m.get("Contact", "M")); c != nil {
			p.dialog.uri = c[1]
		}
		if p.dialog.offer && number == p.dialog.seq {
			p.dialog.offer, p.talks = false, true
			p.learn(body(b))
		}
		_ = p.send(p.request("ACK", number, ""))
	}
}

// takeRequest answers what the other end asks.
func (p *Phone) takeRequest(m request, b []byte, from *net.UDPAddr) {
	reply := func(status, tag, contact, sdp string) {
		_, _ = p.sip.WriteToUDP(m.reply(status, tag, contact, sdp), from)
	}
	if m.toTag() != "" && (m.method == "INVITE" || m.method == "UPDATE") {
		p.asked++
	}
	switch m.method {
	case "INVITE":
		number := p.learn(body(b))
		tag := ""
		if m.toTag() == "" {
			tag = "phone"
			p.dialog = phoneDialog{
				to: from, id: m.get("Call-ID", "I"), local: m.get("To", "T") + ";tag=phone", remote: m.get("From", "F"), seq: 100,
			}
		}
		if c := contactPattern.FindStringSubmatch(m.get("Contact", "M")); c != nil {
			p.dialog.uri = c[1]
		}
		p.dialog.to = from // who may have come from elsewhere
		reply("200 OK", tag, p.Addr(), p.describe(1, p.peer.Video != nil, number))
	case "ACK":
		p.talks = true
	case "BYE":
		p.over = true
		reply("200 OK", "", "", "")
	default:
		reply("200 OK", "", p.Addr(), "")
	}
}

// learn reads the other end's description. It returns the number of the video
// section's format, 0 if there is no such section.
func (p *Phone) learn(sdp string) uint8 {
	if sdp == "" {
		return 0
	}
	var d pion.SessionDescription
	if err := d.UnmarshalString(sdp); err != nil {
		p.failed = fmt.Errorf("telephone %s got a description that is wrong: %w\n%s", p.User, err, sdp)
		return 0
	}
	p.peer = PhonePeer{SDP: sdp}
	host := ""
	if d.ConnectionInformation != nil {
		host = d.ConnectionInformation.Address.Address
	}
	number := uint8(0)
	for _, m := range d.MediaDescriptions {
		at := m.MediaName.Port.Value
		switch m.MediaName.Media {
		case "audio":
			p.peer.Audio = &net.UDPAddr{IP: net.ParseIP(host), Port: at}
			if p.SRTP && !p.learnKey(m) {
				p.failed = fmt.Errorf("telephone %s was given no key for %s:\n%s", p.User, phoneSuite, sdp)
			}
		case "video":
			number = p.takes(&d, m)
			if at != 0 && p.Video != "" && number != 0 {
				p.peer.Video, p.peer.VideoRTCP = &net.UDPAddr{IP: net.ParseIP(host), Port: at}, &net.UDPAddr{IP: net.ParseIP(host), Port: at + 1}
				p.peer.Payload = number
			}
		}
	}
	return number
}

// takes is the number of our codec in a section, else of whatever is first.
func (p *Phone) takes(d *pion.SessionDescription, m *pion.MediaDescription) uint8 {
	first := uint8(0)
	for _, f := range m.MediaName.Formats {
		n, err := strconv.ParseUint(f, 10, 7)
		if err != nil {
			continue
		}
		if c, err := d.GetCodecForPayloadType(uint8(n)); err == nil && strings.EqualFold(c.Name, p.Video) {
			return uint8(n)
		}
		if first == 0 {
			first = uint8(n)
		}
	}
	if p.Video != "" {
		return 0
	}
	return first
}

func body(b []byte) string {
	_, body, _ := bytes.Cut(b, []byte("\r\n\r\n"))
	return string(body)
}
