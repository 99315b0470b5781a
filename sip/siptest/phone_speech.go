package siptest

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	random "math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"
	pion "github.com/pion/sdp/v3"
	"github.com/pion/srtp/v3"
)

// phoneSuite is the one that every peer has (RFC 4568 section 6.2).
const phoneSuite = "AES_CM_128_HMAC_SHA1_80"

const (
	phoneKeySize  = 16
	phoneSaltSize = 14
)

// phoneKey is a Phone's own key, and the tag under which it is used.
type phoneKey struct {
	tag    string
	secret []byte // key and salt
}

func newPhoneKey() phoneKey {
	k := phoneKey{tag: "1", secret: make([]byte, phoneKeySize+phoneSaltSize)}
	_, _ = rand.Read(k.secret) // never fails (crypto/rand)
	return k
}

func (k phoneKey) line() string {
	return fmt.Sprintf("a=crypto:%s %s inline:%s\r\n", k.tag, phoneSuite, base64.StdEncoding.EncodeToString(k.secret))
}

// learnKey reads the other end's key; an answer has the tag of what was offered.
func (p *Phone) learnKey(m *pion.MediaDescription) bool {
	for _, a := range m.Attributes {
		words := strings.Fields(a.Value)
		if a.Key != "crypto" || len(words) < 3 || words[1] != phoneSuite {
			continue
		}
		text, _, _ := strings.Cut(strings.TrimPrefix(words[2], "inline:"), "|")
		key, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(key) != phoneKeySize+phoneSaltSize {
			continue
		}
		p.key.tag, p.peer.Key = words[0], key
		return true
	}
	return false
}

// Speech is numbered packets: each carries, besides the number of RTP, one that
// never wraps, so that who hears it can tell what is missing, comes twice, or
// comes out of order. It is sent and heard by a Phone in a call.
type Speech struct {
	phone *Phone
	seal  *srtp.Context
	ssrc  uint32
	first uint64 // extended number of the first packet
	start time.Time

	mu   sync.Mutex
	sent uint64
	open *srtp.Context
	key  string // of open
	last uint16 // number of RTP of the newest packet
	got  Heard
}

// Heard is what a Phone heard of the other one's Speech.
type Heard struct {
	Packets uint64 // in their order
	Gaps    uint64 // numbers of RTP that are missing
	Missing uint64 // packets of the speaker that are missing
	Again   uint64 // packets that came twice, or late
	Sealed  uint64 // packets that no key opened
	Other   uint64 // packets of no Speech
	Wraps   int    // of the numbers of RTP, at this end
	Keys    int    // that were used one after the other
	Next    uint64 // the packet that comes next

	Longest time.Duration // silence between two packets
	newest  time.Time
}

// speechMark begins each payload.
const speechMark = "numbered"

// Speech begins to listen. What is said will have numbers that begin with first.
func (p *Phone) Speech(t testing.TB, first uint16) *Speech {
	t.Helper()
	s := &Speech{phone: p, ssrc: random.Uint32(), first: uint64(first), start: time.Now()}
	if p.SRTP {
		var err error
		if s.seal, err = phoneContext(p.key.secret); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.listen()
	}()
	t.Cleanup(func() {
		_ = p.Audio.Close()
		<-done
	})
	return s
}

func phoneContext(secret []byte) (*srtp.Context, error) {
	c, err := srtp.CreateContext(secret[:phoneKeySize], secret[phoneKeySize:], srtp.ProtectionProfileAes128CmHmacSha1_80, srtp.SRTPReplayProtection(64))
	if err != nil {
		return nil, fmt.Errorf("SRTP of a telephone: %w", err)
	}
	return c, nil
}

// Say sends the next packet to where the other end wants it. Its time is that
// which has passed, so that packets may come faster than telephones send them.
func (s *Speech) Say() error {
	s.mu.Lock()
	n := s.sent
	s.sent++
	s.mu.Unlock()
	payload := make([]byte, 8*cmp.Or(s.phone.Ptime, 20))
	copy(payload, speechMark)
	binary.BigEndian.PutUint64(payload[len(speechMark):], n)
	packet := rtp.Packet{
		Header: rtp.Header{
			Version: 2, Marker: n == 0, SequenceNumber: uint16(s.first + n), SSRC: s.ssrc,
			Timestamp: uint32(time.Since(s.start) * 8 / time.Millisecond),
		},
		Payload: payload,
	}
	b, err := packet.Marshal()
	if err == nil && s.seal != nil {
		b, err = s.seal.EncryptRTP(nil, b, nil)
	}
	if err == nil {
		_, err = s.phone.Audio.WriteToUDP(b, s.phone.Peer().Audio)
	}
	if err != nil {
		return fmt.Errorf("telephone %s speaks: %w", s.phone.User, err)
	}
	return nil
}

// Said is how many packets were sent.
func (s *Speech) Said() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// Heard is what came so far.
func (s *Speech) Heard() Heard {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got
}

func (s *Speech) listen() {
	buf := make([]byte, maxDatagram)
	for {
		n, _, err := s.phone.Audio.ReadFromUDP(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			s.take(buf[:n], time.Now())
		}
	}
}

// take judges one packet.
func (s *Speech) take(b []byte, now time.Time) {
	key := s.phone.Peer().Key
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seal != nil {
		if s.key != string(key) {
			var err error
			if s.open, err = phoneContext(key); err != nil {
				s.got.Sealed++
				return
			}
			s.key = string(key)
			s.got.Keys++
		}
		var err error
		if b, err = s.open.DecryptRTP(nil, b, nil); err != nil {
			s.got.Sealed++
			return
		}
	}
	var packet rtp.Packet
	if packet.Unmarshal(b) != nil || !strings.HasPrefix(string(packet.Payload), speechMark) || len(packet.Payload) < len(speechMark)+8 {
		s.got.Other++
		return
	}
	s.hear(packet.SequenceNumber, binary.BigEndian.Uint64(packet.Payload[len(speechMark):]), now)
}

// hear books a packet: seq is RTP's number, number the speaker's.
func (s *Speech) hear(seq uint16, number uint64, now time.Time) {
	g := &s.got
	if g.Packets > 0 {
		g.Longest = max(g.Longest, now.Sub(g.newest))
	}
	g.newest = now
	step := int16(seq - s.last)
	switch {
	case number < g.Next:
		g.Again++
		return
	case g.Packets == 0:
	case step <= 0:
		g.Again++
		return
	default:
		g.Gaps += uint64(step - 1)
		if seq < s.last {
			g.Wraps++
		}
	}
	g.Missing += number - g.Next
	g.Next, s.last = number+1, seq
	g.Packets++
}
