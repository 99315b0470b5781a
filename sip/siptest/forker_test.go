package siptest

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// The least caller that does right by forked answers: it takes each 200, keeps
// the first dialog and hangs up the other.
func TestForkerForks(t *testing.T) {
	t.Parallel()
	var f Forker
	addr := f.Start(t)
	conn, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	send := func(method string, cseq int, tag string) {
		to := "<sip:+12025550199@x>"
		if tag != "" {
			to += ";tag=" + tag
		}
		_, err := fmt.Fprintf(conn, "%s sip:fork@%s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%d\r\nf: <sip:a@x>;tag=1\r\nt: %s\r\ni: call\r\nCSeq: %d %s\r\nContent-Length: 0\r\n\r\n",
			method, addr, conn.LocalAddr(), cseq, to, cseq, method)
		if err != nil {
			t.Fatal(err)
		}
	}
	read := func() string {
		buf := make([]byte, maxDatagram)
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := f.Await(ctx); err == nil {
		t.Error("nothing was acknowledged, and Await is content")
	}
	send("INVITE", 1, "")
	for _, want := range []string{"180 Ringing", "tag=fork0", "tag=fork1"} {
		if got := read(); !strings.Contains(got, want) {
			t.Errorf("no %s in %q", want, got)
		}
	}
	send("ACK", 1, "fork0")
	send("ACK", 1, "fork1")
	send("BYE", 2, "fork1")
	if got := read(); !strings.HasPrefix(got, "SIP/2.0 200") {
		t.Errorf("BYE: %q", got)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if kept, err := f.Await(ctx); err != nil || kept != "fork0" {
		t.Errorf("kept %q, %v", kept, err)
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add([]byte("INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP x\r\nTo: <sip:a@b>;tag=1\r\n\r\n"))
	f.Add([]byte("SIP/2.0 200 OK\r\n\r\n"))
	f.Fuzz(func(_ *testing.T, in []byte) {
		if m, err := parseRequest(in); err == nil {
			m.toTag()
			m.reply("200 OK", "t", "c", "s")
		}
	})
}
