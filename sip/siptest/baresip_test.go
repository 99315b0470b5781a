package siptest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"riptide/bridge/bridgetest"
)

func TestBaresipCallsBaresip(t *testing.T) {
	t.Parallel()
	Need(t, "baresip")
	ns := NewNamespace(t)
	callee := Baresip{Netns: ns, User: "called", Hz: 600}.Start(t)
	caller := Baresip{Netns: ns, User: "calling", Hz: 440, Codec: "PCMA"}.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()

	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(caller.Dial(callee.URI))
	for _, phone := range []*BaresipRun{caller, callee} {
		_, err := phone.Await(ctx, "CALL_ESTABLISHED", 0)
		must(err)
	}
	time.Sleep(time.Second) // the recording needs something to hear
	for i, d := range "4711#" {
		must(caller.Digit(d))
		_, err := callee.Await(ctx, "CALL_DTMF_START", i)
		must(err)
		time.Sleep(300 * time.Millisecond) // for the digit to end
	}
	must(caller.HangUp())
	for _, phone := range []*BaresipRun{caller, callee} {
		_, err := phone.Await(ctx, "CALL_CLOSED", 0)
		must(err)
	}
	if got := callee.Heard(); got != "4711#" {
		t.Errorf("digits %q", got)
	}
	for hz, phone := range map[float64]*BaresipRun{600: caller, 440: callee} {
		samples, rate, err := phone.Recording()
		must(err)
		if tone := bridgetest.ToneLevel(samples, rate); !tone.Is(hz) {
			t.Errorf("%s heard %v in %d samples, want %v Hz", phone.URI, tone, len(samples), hz)
		}
	}
}

func TestNetstring(t *testing.T) {
	long := strings.Repeat("x", maxNetstring)
	for _, c := range []struct {
		in, text string
		n        int
		ok       bool
	}{
		{"5:hello,", "hello", 8, true},
		{"5:hello,more", "hello", 8, true},
		{"0:,", "", 3, true},
		{"", "", 0, true},
		{"5", "", 0, true},
		{"5:hello", "", 0, true},
		{"5:hello;", "", 0, false},
		{"x:hello,", "", 0, false},
		{"-1:,", "", 0, false},
		{"hello world", "", 0, false},
		{"65536:" + long + ",", long, maxNetstring + 7, true},
		{"65537:" + long + "x,", "", 0, false},
	} {
		text, n, err := ParseNetstring([]byte(c.in))
		if string(text) != c.text || n != c.n || (err == nil) != c.ok || err != nil && !errors.Is(err, ErrNetstring) {
			t.Errorf("%.20q: %.20q, %d, %v", c.in, text, n, err)
		}
	}
}

func FuzzParseNetstring(f *testing.F) {
	f.Add([]byte(`21:{"command":"hangup"},`))
	f.Add([]byte("0:,"))
	f.Fuzz(func(t *testing.T, in []byte) {
		text, n, err := ParseNetstring(in)
		if err != nil || n == 0 {
			return
		}
		again, m, err := ParseNetstring(AppendNetstring(nil, text))
		if err != nil || m == 0 || string(again) != string(text) {
			t.Fatalf("%q becomes %q, %v", text, again, err)
		}
	})
}
