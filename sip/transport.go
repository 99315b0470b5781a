package sip

import (
	"fmt"
	"strings"
)

// transport is a way that SIP messages travel.
type transport uint8

const (
	overUDP transport = iota + 1
	overTCP
	overTLS
	overWS  // RFC 7118
	overWSS // the same on TLS
)

// transports say what each is called: in Via, in configurations, and as the
// transport parameter of a URI, which has no word of its own for secure
// WebSocket (RFC 7118 section 5.2.2).
var transports = [...]struct {
	via, key, param string
	port            uint16
	secure          bool
}{
	overUDP: {"UDP", "udp", "udp", 5060, false},
	overTCP: {"TCP", "tcp", "tcp", 5060, false},
	overTLS: {"TLS", "tls", "tls", 5061, true},
	overWS:  {"WS", "ws", "ws", 80, false},
	overWSS: {"WSS", "wss", "ws", 443, true},
}

// String is the name in Via.
func (t transport) String() string { return transports[t].via }

// secure tells whether it is one that sips URIs may take (RFC 5630 section
// 3.1.3).
func (t transport) secure() bool { return transports[t].secure }

// port is the one that stands for none.
func (t transport) port() uint16 { return transports[t].port }

// webSocket tells transports whose peers can only be reached over connections
// that they have made themselves.
func (t transport) webSocket() bool { return t == overWS || t == overWSS }

// secured is the transport that a secure URI means by the same word.
func (t transport) secured() transport {
	switch t {
	case overTCP:
		return overTLS
	case overWS:
		return overWSS
	}
	return t
}

// parseTransport reads the word of a configuration.
func parseTransport(word string) (transport, error) {
	for t := overUDP; t <= overWSS; t++ {
		if transports[t].key == word {
			return t, nil
		}
	}
	return 0, fmt.Errorf("transport %q is not known, use udp, tcp, tls, ws or wss", word)
}

// way chooses the transport of a request in a dialog: what the next hop's URI
// asks for, and without a word what was used before. A sips URI never goes in
// clear (RFC 5630 section 3.1), and a trunk that is secure stays so, whatever
// its Contacts say.
func way(param string, sips bool, current transport, trunkIsSecure bool) (transport, error) {
	wanted := current
	switch param = strings.ToLower(param); param {
	case "":
	case "udp", "tcp", "tls", "ws", "wss":
		wanted, _ = parseTransport(param)
	default:
		return 0, fmt.Errorf("the peer wants transport %q, which we do not have", clip(param, 32))
	}
	if !sips && !trunkIsSecure {
		return wanted, nil
	}
	switch wanted = wanted.secured(); {
	case wanted.secure():
		return wanted, nil
	case current.secure():
		return current, nil
	case sips && param == "udp":
		return 0, fmt.Errorf("the peer wants sips over UDP, which cannot be (RFC 5630 section 3.1.3)")
	}
	return overTLS, nil
}
