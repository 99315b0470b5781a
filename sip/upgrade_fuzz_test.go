package sip

import (
	"net"
	"strings"
	"testing"
	"time"
)

// FuzzUpgrade: whatever a peer sends to a WebSocket listener, the handshake ends,
// and what becomes a WebSocket speaks SIP.
func FuzzUpgrade(f *testing.F) {
	const ask = "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	f.Add(ask + "Sec-WebSocket-Protocol: sip\r\n\r\n")
	f.Add(ask + "Sec-WebSocket-Protocol: chat\r\n\r\n")
	f.Add(ask + "Origin: https://evil.example\r\nSec-WebSocket-Protocol: sip\r\n\r\n")
	f.Add("OPTIONS sip:a SIP/2.0\r\n\r\n")
	f.Add(strings.Repeat("a", 100))
	f.Fuzz(func(t *testing.T, text string) {
		ours, theirs := net.Pipe()
		_ = ours.SetDeadline(time.Now().Add(patience))
		go func() {
			_, _ = theirs.Write([]byte(text))
			_ = theirs.Close()
		}()
		go func() {
			b := make([]byte, 4096)
			for {
				if _, err := theirs.Read(b); err != nil {
					return
				}
			}
		}()
		ws, err := acceptWebSocket(ours, true, func() bool { return true })
		if err == nil && ws.Subprotocol() != subprotocol {
			t.Errorf("a WebSocket of %q", ws.Subprotocol())
		}
		_ = ours.Close()
		if err == nil {
			_ = ws.CloseNow()
		}
	})
}
