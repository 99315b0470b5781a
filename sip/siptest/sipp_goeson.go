package siptest

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// What callers (UACGoesOn) and callees (UASGoesOn) write down, for SippRun.Noted.
const (
	NoteAnswered = "answered" // the caller acknowledged the answer
	NoteFollowed = "followed" // a re-INVITE took the call elsewhere, and was acknowledged
	NoteAsked    = "asked"    // an OPTIONS within the call was answered
)

// Noted is how often the calls of this sipp came to a place of the scenario.
func (r *SippRun) Noted(note string) (times int) {
	b, err := os.ReadFile(r.notes)
	if err != nil {
		return 0 // it writes the file with the first
	}
	for line := range strings.Lines(string(b)) {
		if strings.HasSuffix(strings.TrimSpace(line), note) {
			times++
		}
	}
	return times
}

// betweenWords is how long the next call is left: sipp has one socket for all.
const betweenWords = 5 * time.Millisecond

// HangUp has every call of UACGoesOn hung up. The word for it is an INFO that this
// test sends: it is no part of the dialog, and nobody answers it.
func (r *SippRun) HangUp(t testing.TB) {
	t.Helper()
	var conn net.Conn
	err := r.netns.Do(func() (err error) {
		conn, err = net.Dial("udp", r.Addr)
		return err
	})
	if err != nil {
		t.Fatalf("have sipp hang up: %v", err)
	}
	defer func() { _ = conn.Close() }()
	host, _, _ := net.SplitHostPort(r.Addr)
	for call := 1; call <= r.calls; call++ {
		// sipp's Call-IDs are NUMBER-PID@ADDRESS.
		_, err := fmt.Fprintf(conn, "INFO sip:sipp@%[1]s SIP/2.0\r\nVia: SIP/2.0/UDP %[2]s;branch=z9hG4bKword%[3]d\r\nFrom: <sip:test@%[2]s>;tag=word\r\n"+
			"To: <sip:sipp@%[1]s>\r\nCall-ID: %[3]d-%[4]d@%[5]s\r\nCSeq: 1 INFO\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
			r.Addr, conn.LocalAddr(), call, r.PID(), host)
		if err != nil {
			t.Fatalf("have sipp hang up: %v", err)
		}
		time.Sleep(betweenWords)
	}
}
