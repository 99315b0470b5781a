package bridge

import (
	"fmt"
	"strings"
	"time"
)

// When the numbers of a call's media say that something was wrong with it.
const (
	wordless    = 2 * time.Second // a call as short as this may have had no media
	muchOf      = 20              // a twentieth of the packets
	undecrypted = 50              // packets under another key are normal while keys change
)

// Words says in plain words what was wrong with the media of a leg on which was
// spoken for so long: what somebody wants to know who was called because of it.
// "" means that nothing was.
func (m MediaStats) Words(talk time.Duration) string {
	if m.Carrier != "rtp" || talk < wordless {
		return ""
	}
	var words []string
	if m.Received == 0 {
		words = append(words, m.silence())
	} else if m.Peer != "" && m.Said != "" && m.Peer != m.Said { // nobody yet: a re-INVITE has opened the latch again
		words = append(words, fmt.Sprintf("received from %s, SDP said %s", m.Peer, m.Said))
	}
	if m.Received > 0 && m.Undecrypted > undecrypted {
		words = append(words, fmt.Sprintf("%d packets could not be decrypted", m.Undecrypted))
	}
	if m.Received > 0 && m.UnknownPayload > m.Received/muchOf+undecrypted {
		words = append(words, fmt.Sprintf("%d packets were of payload types that nobody agreed on", m.UnknownPayload))
	}
	if m.Lost > (m.Received+m.Lost)/muchOf {
		words = append(words, fmt.Sprintf("%d %% of what the peer sent was lost", 100*m.Lost/(m.Received+m.Lost)))
	}
	if m.Sent > 0 && m.PeerLost > m.Sent/muchOf {
		words = append(words, fmt.Sprintf("%d %% of what we sent was lost, says the peer", 100*min(m.PeerLost, m.Sent)/m.Sent))
	}
	if m.Sent == 0 {
		words = append(words, "no RTP sent")
	}
	if m.Trouble != "" {
		words = append(words, m.Trouble)
	}
	return strings.Join(words, "; ")
}

// silence says why nothing was heard.
func (m MediaStats) silence() string {
	switch {
	case m.Undecrypted > 0:
		return fmt.Sprintf("decrypt failed: none of %d packets fits the key that was agreed on", m.Undecrypted)
	case m.UnknownPayload > 0:
		return fmt.Sprintf("nothing understood: %d packets, all of payload types that nobody agreed on", m.UnknownPayload)
	case m.Malformed > 0:
		return fmt.Sprintf("nothing understood: %d packets, none of them RTP", m.Malformed)
	case m.Foreign > 0:
		return fmt.Sprintf("no RTP received from the peer; %d packets came from elsewhere", m.Foreign)
	case m.Said != "":
		return fmt.Sprintf("no RTP received (SDP said it would come from %s: is a firewall between, or the address a private one?)", m.Said)
	}
	return "no RTP received"
}
