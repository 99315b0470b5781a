package ops

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var hepPackets = map[string]HEP{
	"udp":  {From: netip.MustParseAddrPort("192.0.2.1:5060"), To: netip.MustParseAddrPort("198.51.100.2:5070"), At: time.Unix(1700000000, 123456000), Node: 2001, Password: "sesame", Correlation: "a@b", Payload: []byte("OPTIONS sip:x SIP/2.0\r\n\r\n")},
	"ipv6": {TCP: true, From: netip.MustParseAddrPort("[2001:db8::1]:5061"), To: netip.MustParseAddrPort("[2001:db8::2]:40000"), At: time.Unix(1, 0), Node: 1, Payload: []byte("x")},
}

func TestHEP(t *testing.T) {
	t.Parallel()
	for name, p := range hepPackets {
		b, err := p.Append([]byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		b = b[len("before"):]
		got, err := ParseHEP(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !got.At.Equal(p.At) || !bytes.Equal(got.Payload, p.Payload) || got.From != p.From || got.To != p.To || got.TCP != p.TCP ||
			got.Node != p.Node || got.Password != p.Password || got.Correlation != p.Correlation {
			t.Errorf("%s: %+v comes back as %+v", name, p, got)
		}
		for n := range b {
			if _, err := ParseHEP(b[:n]); err == nil {
				t.Errorf("%s: its first %d bytes are taken for all", name, n)
			}
		}
	}
}

// TestHEPBytes holds the order and the numbers of the specification.
func TestHEPBytes(t *testing.T) {
	t.Parallel()
	p := HEP{From: netip.MustParseAddrPort("1.2.3.4:256"), To: netip.MustParseAddrPort("5.6.7.8:2"), At: time.Unix(3, 4000), Node: 5, Password: "p", Correlation: "c", Payload: []byte("S")}
	b, err := p.Append(nil)
	want := "48455033" + "0072" + "0000000100" + "0702" + "0000000200" + "0711" + "00000003000a01020304" + "00000004000a05060708" +
		"0000000700080100" + "0000000800080002" + "00000009000a00000003" + "0000000a000a00000004" + "0000000b000701" + "0000000c000a00000005" +
		"0000000e000770" + "00000011000763" + "0000000f000753"
	if got := hex.EncodeToString(b); err != nil || got != want {
		t.Errorf("%v\n%s, want\n%s", err, got, want)
	}
}

func TestHEPRefuses(t *testing.T) {
	t.Parallel()
	large := hepPackets["udp"]
	large.Payload = make([]byte, maxHEP)
	if b, err := large.Append(nil); err == nil || len(b) > 0 {
		t.Errorf("a packet of %d bytes: %v", len(b), err)
	}
	good, _ := hepPackets["udp"].Append(nil)
	other := func(at int, by ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[at:], by)
		return b
	}
	for name, b := range map[string][]byte{
		"magic":           other(0, 'h'),
		"size":            other(5, 0),
		"chunk too long":  other(hepHeader+4, 0xff, 0xff),
		"chunk too short": other(hepHeader+4, 0, 5),
		"nothing in it":   []byte("HEP3\x00\x06"),
		"not SIP":         bytes.Replace(good, []byte{0, 11, 0, 7, 1}, []byte{0, 11, 0, 7, 5}, 1),
		"wrong size":      bytes.Replace(good, []byte{0, 0, 0, 2, 0, 7, 17}, []byte{0, 0, 0, 7, 0, 7, 17}, 1),
	} {
		if p, err := ParseHEP(b); err == nil {
			t.Errorf("%s: taken as %+v", name, p)
		}
	}
}

func FuzzParseHEP(f *testing.F) {
	for _, p := range hepPackets {
		b, _ := p.Append(nil)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseHEP(b)
		if err != nil {
			return
		}
		again, err := p.Append(nil)
		if err != nil {
			return // it grew: IPv4 in IPv6 and the like
		}
		if q, err := ParseHEP(again); err != nil || q.From != p.From || !bytes.Equal(q.Payload, p.Payload) {
			t.Errorf("%+v comes back as %+v, %v", p, q, err)
		}
	})
}

func TestRedactSIP(t *testing.T) {
	t.Parallel()
	head := func(lines ...string) string {
		return "REGISTER sip:a SIP/2.0\r\n" + strings.Join(lines, "\r\n") + "\r\nContent-Length: 0\r\n\r\n"
	}
	for _, c := range []struct{ in, want string }{
		{head(`Authorization: Digest username="u", realm="r", nonce="n", uri="sip:a", response="0123abcd", cnonce="zz", qop=auth, nc=00000001, algorithm=MD5`),
			head(`Authorization: Digest username="u", realm="r", nonce="n", uri="sip:a", response="xxxxxxxx", cnonce="xx", qop=auth, nc=00000001, algorithm=MD5`)},
		{head(`proxy-authorization : digest username="u,\",response=",response = "01"`), head(`proxy-authorization : digest username="u,\",response=",response = "xx"`)},
		{head("Authorization: Digest username=\"u\",", "\tresponse=\"01\"", "From: <sip:response=1>"), head("Authorization: Digest username=\"u\",", "\tresponse=\"xx\"", "From: <sip:response=1>")},
		{head(`Authorization: Bearer ab.cd`), head(`Authorization: Bearer xxxxx`)},
		{head(`Authorization: Digest response="01`), head(`Authorization: Digest response="xx`)},
		{"INVITE\r\n\r\nv=0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:abc+/=|2^20|1:4;inline:de\r\na=CRYPTO:2 X Inline:ab\na=key-mgmt:mikey AQ\rk=base64:ab\r\na=rtpmap:0 PCMU/8000",
			"INVITE\r\n\r\nv=0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:xxxxxxxxxxxxxxxxxxxxxxxxx\r\na=CRYPTO:2 X Inline:xx\na=key-mgmt:xxxxx xx\rk=xxxxxxxxx\r\na=rtpmap:0 PCMU/8000"},
		{"WWW-Authenticate: Digest nonce=\"n\"\r\n", "WWW-Authenticate: Digest nonce=\"n\"\r\n"},
		{"", ""}, {"Authorization:", "Authorization:"}, {"a=crypto:", "a=crypto:"}, {"a=crypto:1 AES", "a=crypto:1 AES"},
	} {
		b := []byte(c.in)
		redactSIP(b)
		if string(b) != c.want {
			t.Errorf("%q\nbecomes %q,\nwant    %q", c.in, b, c.want)
		}
	}
}

func FuzzRedactSIP(f *testing.F) {
	f.Add([]byte("Authorization: Digest x=\"secret\"\r\n\tresponse=secret\r\na=crypto:1 S inline:secret"))
	f.Fuzz(func(t *testing.T, b []byte) {
		once := bytes.Clone(b)
		redactSIP(once)
		twice := bytes.Clone(once)
		redactSIP(twice)
		if len(once) != len(b) || !bytes.Equal(once, twice) {
			t.Errorf("%q becomes %q and %q", b, once, twice)
		}
		secret := append([]byte("\r\nAuthorization: Digest response=\"SECRET\"\r\na=crypto:1 S inline:SECRET\r\n"), '\r', '\n')
		whole := append(bytes.ReplaceAll(b, []byte("SECRET"), nil), secret...)
		if redactSIP(whole); bytes.Contains(whole, []byte("SECRET")) {
			t.Errorf("%q", whole)
		}
		s := scan(b)
		if len(s.users) > maxScanned || len(s.callID) > maxScanned {
			t.Errorf("%+v", s)
		}
	})
}

func TestScan(t *testing.T) {
	t.Parallel()
	s := scan([]byte("INVITE sip:+12025550123@h;x=1 SIP/2.0\r\nf: \"A\" <sip:anna@h>;tag=1\r\nTo: <tel:+1-202-555-0199;phone-context=x>\r\ni: one@h\r\nP-Asserted-Identity: <sip:h.example>\r\n\r\nCall-ID: two\r\n"))
	if s.callID != "one@h" || strings.Join(s.users, " ") != "+12025550123 anna +1-202-555-0199" {
		t.Errorf("%+v", s)
	}
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"+12025550123", "12025550123", true}, {"+1 (202) 555-0123", "2025550123", true}, {"0123", "+12025550123", false}, {"911", "911", true},
		{"anna", "Anna", true}, {"", "", false}, {"anna", "+12025550123", false}, {"+12025550123", "+12025550124", false}, {"a2025550123", "2025550123", false},
	} {
		if got := sameNumber(c.a, c.b); got != c.same {
			t.Errorf("%q and %q: %v", c.a, c.b, got)
		}
	}
}
