package sdp

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func file(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../testdata/sdp", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parseFile(t testing.TB, name string) Description {
	t.Helper()
	b := file(t, name)
	d, err := Parse(b)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	crlf, err := Parse(bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")))
	if err != nil || !reflect.DeepEqual(d, crlf) {
		t.Fatalf("%s: with CRLF %+v (%v), without %+v", name, crlf, err, d)
	}
	return d
}

func TestParseFromPeers(t *testing.T) {
	at := netip.MustParseAddrPort
	cases := []struct {
		file         string
		sections     int
		remote, rtcp string // "" = none
		formats      string
		direction    Direction
		ptime        time.Duration // as honoured
		mux          bool
	}{
		{"asterisk.sdp", 1, "192.0.2.10:14352", "192.0.2.10:14353", "8 PCMA/8000, 0 PCMU/8000, 9 G722/8000, 101 telephone-event/8000", SendRecv, 20 * time.Millisecond, false},
		{"freeswitch.sdp", 1, "198.51.100.7:24584", "198.51.100.7:24585", "102 opus/48000, 9 G722/8000, 0 PCMU/8000, 8 PCMA/8000, 103 telephone-event/48000, 101 telephone-event/8000, 13 CN/8000", SendRecv, 20 * time.Millisecond, false},
		{"freeswitch-srtp.sdp", 2, "198.51.100.7:24584", "198.51.100.7:24585", "0 PCMU/8000, 8 PCMA/8000, 101 telephone-event/8000", SendRecv, 20 * time.Millisecond, false},
		{"cisco-cube.sdp", 1, "203.0.113.21:17388", "203.0.113.21:17389", "18 G729/8000, 0 PCMU/8000, 8 PCMA/8000, 101 telephone-event/8000, 19 CN/8000", SendRecv, 30 * time.Millisecond, false},
		{"cisco-hold.sdp", 1, "", "", "0 PCMU/8000, 8 PCMA/8000, 18 G729/8000, 101 telephone-event/8000", SendOnly, 0, false},
		{"sipp.sdp", 1, "127.0.0.1:6000", "127.0.0.1:6001", "0 PCMU/8000", SendRecv, 0, false},
		{"sipp-static.sdp", 1, "127.0.0.1:6000", "127.0.0.1:6001", "8 PCMA/8000, 0 PCMU/8000, 13 CN/8000", SendRecv, 0, false},
		{"baresip-video.sdp", 2, "192.0.2.40:41028", "192.0.2.40:41029", "96 opus/48000, 0 PCMU/8000, 8 PCMA/8000, 101 telephone-event/8000", SendRecv, 20 * time.Millisecond, false},
		{"pjsua.sdp", 1, "10.1.2.3:4000", "10.1.2.3:4001", "98 speex/16000, 97 speex/8000, 99 speex/32000, 104 iLBC/8000, 3 GSM/8000, 0 PCMU/8000, 8 PCMA/8000, 9 G722/8000, 96 telephone-event/8000", SendRecv, 0, true},
		{"pjsua-hold.sdp", 1, "10.1.2.3:4000", "10.1.2.4:4005", "0 PCMU/8000, 96 telephone-event/8000", SendOnly, 0, false},
		{"ipv6.sdp", 1, "[2001:db8::5]:5004", "[2001:db8::5]:5005", "0 PCMU/8000, 101 telephone-event/8000", Inactive, 60 * time.Millisecond, false},
		{"loose.sdp", 1, "192.0.2.77:7078", "192.0.2.77:7079", "0 PCMU/8000, 8 PCMA/8000, 101 Telephone-Event/8000", RecvOnly, 40 * time.Millisecond, false},
		{"fqdn.sdp", 1, "", "", "0 PCMU/8000", SendRecv, 0, false},
	}
	for _, c := range cases {
		t.Run(c.file, func(t *testing.T) {
			d := parseFile(t, c.file)
			m, ok := d.Audio()
			if !ok || len(d.Media) != c.sections {
				t.Fatalf("audio %v, %d sections, want %d", ok, len(d.Media), c.sections)
			}
			var remote, rtcp netip.AddrPort
			if c.remote != "" {
				remote, rtcp = at(c.remote), at(c.rtcp)
			}
			if m.Remote() != remote || m.RTCP != rtcp {
				t.Errorf("media at %v, reports at %v; want %v, %v", m.Remote(), m.RTCP, remote, rtcp)
			}
			var formats []string
			for _, f := range m.Formats {
				formats = append(formats, fmt.Sprintf("%d %v", f.Payload, f))
			}
			if got := strings.Join(formats, ", "); got != c.formats {
				t.Errorf("formats %s\nwant    %s", got, c.formats)
			}
			if m.Direction != c.direction || m.PacketTime() != c.ptime || m.RTCPMux != c.mux {
				t.Errorf("direction %v, ptime %v, mux %v; want %v, %v, %v", m.Direction, m.PacketTime(), m.RTCPMux, c.direction, c.ptime, c.mux)
			}
		})
	}
}

func TestNoAudioToTalkOn(t *testing.T) {
	for _, name := range []string{"asterisk-t38.sdp", "asterisk-webrtc.sdp"} {
		if m, ok := parseFile(t, name).Acceptable(Security{}).Audio(); ok {
			t.Errorf("%s: usable audio %+v", name, m)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	cases := map[string]string{
		"empty.sdp":          "sdp: empty description",
		"no-version.sdp":     `sdp: line 1: a description begins with v=0, have "o=- 1 1 IN IP4 192.0"`,
		"version-1.sdp":      `sdp: line 1: want one v=0, have v="1"`,
		"no-origin.sdp":      "sdp: no o= line",
		"short-origin.sdp":   `sdp: line 2: want one o= with six fields, have o="- 1 1 IN IP4"`,
		"origin-words.sdp":   `sdp: line 2: session id and version of o= are numbers, have "one" "1"`,
		"no-equals.sdp":      `sdp: line 3: want <letter>=<value>, have "hello"`,
		"port-range.sdp":     `sdp: line 4: port of m= is 0 to 65535, have "65536"`,
		"port-word.sdp":      `sdp: line 3: port of m= is 0 to 65535, have "-1"`,
		"no-format.sdp":      `sdp: line 3: want m=<media> <port> <proto> <format> ..., have m="audio 5004 RTP/AVP"`,
		"payload-128.sdp":    `sdp: line 3: payload type is 0 to 127, have "128"`,
		"address-family.sdp": `sdp: line 3: c=: "2001:db8::1" is no IP4 address`,
		"address-zone.sdp":   `sdp: line 3: c=: "fe80::1%eth0" is no IP6 address`,
		"network-atm.sdp":    `sdp: line 3: c=: want IN IP4|IP6 <address>, have "ATM NSAP 47.0091"`,
		"no-connection.sdp":  "sdp: no c= line says where the audio goes",
		"control.sdp":        `sdp: line 3: control character in "s=a\x00b"`,
	}
	files, err := filepath.Glob("../../testdata/sdp/bad/*.sdp")
	if err != nil || len(files) != len(cases) {
		t.Fatalf("%d files (%v), %d cases", len(files), err, len(cases))
	}
	for name, want := range cases {
		if _, err := Parse(file(t, "bad/"+name)); err == nil || err.Error() != want {
			t.Errorf("%s:\n have %v\n want %s", name, err, want)
		}
	}
}

func TestLimits(t *testing.T) {
	const head = "v=0\no=- 1 1 IN IP4 192.0.2.1\nc=IN IP4 192.0.2.1\n"
	repeat := func(s string, n int) string { return strings.Repeat(s, n) }
	formats := func(n int) string {
		s := "m=audio 5004 RTP/AVP"
		for i := range n {
			s += fmt.Sprintf(" %d", i%128)
		}
		return s + "\n"
	}
	filler := func(total int) string { // attribute lines of 100 bytes, the last one fills up
		var b strings.Builder
		for total-b.Len() > 100 {
			b.WriteString("a=" + repeat("x", 97) + "\n")
		}
		return b.String() + "a=" + repeat("x", total-b.Len()-3) + "\n"
	}
	cases := []struct {
		name           string
		at, past, want string
	}{
		{"size", head + filler(MaxSize-len(head)), head + filler(MaxSize-len(head)+1), "65537 bytes, the limit is 65536"},
		{"lines", head + repeat("a=x\n", MaxLines-3), head + repeat("a=x\n", MaxLines-2), "more than 2000 lines"},
		{"line", head + "a=" + repeat("x", MaxLine-2), head + "a=" + repeat("x", MaxLine-1), "line 4: 4097 bytes, the limit is 4096"},
		{"sections", head + repeat("m=audio 0 RTP/AVP 0\n", MaxMedia), head + repeat("m=audio 0 RTP/AVP 0\n", MaxMedia+1), "more than 32 media sections"},
		{"formats", head + formats(MaxFormats), head + formats(MaxFormats+1), "129 formats in one section, the limit is 128"},
		{"host", head + "c=IN IP4 " + repeat("h", 255), head + "c=IN IP4 " + repeat("h", 256), "address of 256 characters"},
	}
	for _, c := range cases {
		if _, err := Parse([]byte(c.at)); err != nil {
			t.Errorf("%s: at the limit: %v", c.name, err)
		}
		if _, err := Parse([]byte(c.past)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: one past the limit: %v, want %s", c.name, err, c.want)
		}
	}
}

func TestHost(t *testing.T) {
	cases := []struct {
		connection string
		remote     bool // an address to send to
		hold       bool
	}{
		{"IN IP4 192.0.2.1", true, false},
		{"IN IP4 0.0.0.0", false, true},
		{"IN IP6 ::", false, true},
		{"IN IP6 ::ffff:192.0.2.1", true, false},
		{"IN IP6 media.invalid", false, true},
		{"IN IP4 media.example.org", false, false},
		{"IN IP4 224.2.36.42/127/3", false, false},
		{"IN IP4 255.255.255.255", false, false},
	}
	for _, c := range cases {
		d, err := Parse([]byte("v=0\no=- 1 1 IN IP4 192.0.2.1\nm=audio 5004 RTP/AVP 0\nc=" + c.connection + "\n"))
		if err != nil {
			t.Errorf("%s: %v", c.connection, err)
			continue
		}
		m, _ := d.Audio()
		if m.Remote().IsValid() != c.remote || (m.Direction == SendOnly) != c.hold {
			t.Errorf("%s: send to %v, direction %v", c.connection, m.Remote(), m.Direction)
		}
	}
}

func TestLastPortHasNoNext(t *testing.T) {
	d, err := Parse([]byte("v=0\no=- 1 1 IN IP4 192.0.2.1\nc=IN IP4 192.0.2.1\nm=audio 65535 RTP/AVP 0\n"))
	if err != nil {
		t.Fatal(err)
	}
	if m, _ := d.Audio(); m.RTCP.IsValid() || m.Remote().Port() != 65535 {
		t.Errorf("media %v, reports %v", m.Remote(), m.RTCP)
	}
}

// FuzzParse: whatever parses is written so that it parses to the same.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"*.sdp", "bad/*.sdp"} {
		files, err := filepath.Glob("../../testdata/sdp/" + pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("no seeds in %s: %v", pattern, err)
		}
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Parse(b)
		if err != nil {
			return
		}
		again := d.Bytes()
		if len(again) > MaxSize || bytes.Count(again, []byte("\n")) > MaxLines {
			return // static payload types gain an rtpmap line each
		}
		e, err := Parse(again)
		if err != nil {
			t.Fatalf("%q written as %q: %v", b, again, err)
		}
		if !reflect.DeepEqual(d, e) {
			t.Fatalf("%q parses as\n%+v, written\n%+v", b, d, e)
		}
		local := both
		local.RTCPMux = true
		answer, err := MakeAnswer(d, local, Capability{Audio: []Format{Opus(111), PCMU, PCMA, TelephoneEvent(101, 8000), CN}, Video: []Format{baseline, vp8}})
		if err != nil {
			return
		}
		if len(answer.Media) != len(d.Media) {
			t.Fatalf("answer has %d sections, offer %d", len(answer.Media), len(d.Media))
		}
		if _, err := Parse(answer.Bytes()); err != nil {
			t.Fatalf("answer %q: %v", answer.Bytes(), err)
		}
		if _, err := Answered(d, answer); err != nil {
			t.Fatalf("our own answer %q: %v", answer.Bytes(), err)
		}
	})
}
