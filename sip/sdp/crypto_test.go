package sdp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

const (
	key30 = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz" // of RFC 4568 section 9.1
	key46 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLQ=="
	key28 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw=="
)

func TestParseCrypto(t *testing.T) {
	cases := []struct {
		value string
		want  string // "tag suite mki", "" = not for us
	}{
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30, "1 AES_CM_128_HMAC_SHA1_80 "},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "|2^20", "1 AES_CM_128_HMAC_SHA1_80 "},
		{"2 aes_cm_128_hmac_sha1_32 INLINE:" + key30 + "|2^20|1:4", "2 aes_cm_128_hmac_sha1_32 00000001"},
		{"3 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "|66:1", "3 AES_CM_128_HMAC_SHA1_80 42"},
		{"000000004 AES_256_CM_HMAC_SHA1_80 inline:" + key46, "4 AES_256_CM_HMAC_SHA1_80 "},
		{"5 AES_CM_256_HMAC_SHA1_80 inline:" + strings.TrimRight(key46, "="), "5 AES_CM_256_HMAC_SHA1_80 "},
		{"6 AEAD_AES_128_GCM inline:" + key28, "6 AEAD_AES_128_GCM "},
		{"7 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + " WSH=64 -UNKNOWN", "7 AES_CM_128_HMAC_SHA1_80 "},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + " UNENCRYPTED_SRTP", ""},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + " UNAUTHENTICATED_SRTP", ""},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + " KDR=1", ""},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + ";inline:" + key30, ""},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + key46, ""},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "|300:1", ""},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "|1:0", ""},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:%%%", ""},
		{"1 AES_CM_128_HMAC_SHA1_80 uri:https://key.example", ""},
		{"1 F8_128_HMAC_SHA1_80 inline:" + key30, ""},
		{"x AES_CM_128_HMAC_SHA1_80 inline:" + key30, ""},
		{"1234567890 AES_CM_128_HMAC_SHA1_80 inline:" + key30, ""},
		{"1 AES_CM_128_HMAC_SHA1_80", ""},
		{"", ""},
	}
	for _, c := range cases {
		got := ""
		if k, ok := parseCrypto(c.value); ok {
			got = fmt.Sprintf("%d %s %x", k.Tag, k.Suite, k.MKI)
		}
		if got != c.want {
			t.Errorf("%s\nhave %q\nwant %q", c.value, got, c.want)
		}
	}
}

// own is our end with a key for every suite.
func own(required bool) Security {
	s := Security{Required: required}
	for i, suite := range Suites() {
		s.Cryptos = append(s.Cryptos, Crypto{Tag: uint32(i + 1), Suite: suite.Name, Key: bytes.Repeat([]byte{byte(i + 1)}, suite.Key+suite.Salt)})
	}
	return s
}

func secured(profile string, attributes ...string) string {
	return "v=0\r\no=pbx 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 " + profile + " 0\r\n" +
		strings.Join(attributes, "\r\n") + "\r\n"
}

func keyLine(tag int, suite, key string) string {
	return fmt.Sprintf("a=crypto:%d %s inline:%s", tag, suite, key)
}

const print256 = "a=fingerprint:sha-256 8C:71:B3:8D:A5:38:FD:8F:A4:2E:A2:65:6C:86:52:BC:E0:6E:94:F2:9F:7C:4D:B5:DF:AF:AA:6F:44:90:8D:F4"

// https://github.com/meetecho/janus-gateway/issues/2726: the tag of the answer
// is that of the offered line it takes, whatever comes before it.
func TestAnswerTakesTheTagOfTheOfferedKey_janus2726(t *testing.T) {
	aes80, aes32 := "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"
	few := Security{Required: true, Cryptos: []Crypto{{Tag: 1, Suite: aes80, Key: make([]byte, 30)}}}
	loose := own(false)
	dtls := Security{Fingerprint: FingerprintOf([]byte("ours")), Required: true}
	both := own(true)
	both.Fingerprint = dtls.Fingerprint
	cases := []struct {
		name  string
		sec   Security
		offer string
		want  string // tag and suite; "dtls active", "dtls passive", "clear", "" = refused
	}{
		{"only line", own(true), secured("RTP/SAVP", keyLine(1, aes80, key30)), "1 " + aes80},
		{"tag that is not 1", own(true), secured("RTP/SAVP", keyLine(7, aes80, key30)), "7 " + aes80},
		{"first of theirs, not ours", own(true), secured("RTP/SAVP", keyLine(1, aes32, key30), keyLine(2, aes80, key30)), "1 " + aes32},
		{"unknown suites before", own(true), secured("RTP/SAVP", keyLine(1, "F8_128_HMAC_SHA1_80", key30), keyLine(2, "AES_192_CM_HMAC_SHA1_80", key30), keyLine(3, aes80, key30)), "3 " + aes80},
		{"suites that this trunk has not", few, secured("RTP/SAVP", keyLine(10, "AEAD_AES_256_GCM", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKis="), keyLine(11, aes32, key30), keyLine(12, aes80, key30)), "12 " + aes80},
		{"tags out of order", own(true), secured("RTP/SAVP", keyLine(9, aes80, key30), keyLine(3, aes32, key30)), "9 " + aes80},
		{"broken key before", own(true), secured("RTP/SAVP", keyLine(1, aes80, "AAAA"), keyLine(2, aes80, key30)), "2 " + aes80},
		{"old name of AES 256", own(true), secured("RTP/SAVP", keyLine(4, "AES_CM_256_HMAC_SHA1_80", key46)), "4 AES_CM_256_HMAC_SHA1_80"},
		{"GCM", own(true), secured("RTP/SAVP", keyLine(5, "AEAD_AES_128_GCM", key28)), "5 AEAD_AES_128_GCM"},
		{"keys under RTP/AVP (RFC 8643)", loose, secured("RTP/AVP", keyLine(2, aes80, key30)), "2 " + aes80},
		{"no keys under RTP/AVP", loose, secured("RTP/AVP"), "clear"},
		{"no keys, but required", own(true), secured("RTP/AVP"), ""},
		{"keys, but this trunk has none", Security{}, secured("RTP/AVP", keyLine(2, aes80, key30)), "clear"},
		{"SAVP without a key", own(true), secured("RTP/SAVP"), ""},
		{"SAVP, but this trunk has no keys", Security{}, secured("RTP/SAVP", keyLine(1, aes80, key30)), ""},
		{"DTLS", dtls, secured("UDP/TLS/RTP/SAVP", print256, "a=setup:actpass"), "dtls active"},
		{"DTLS, they begin", dtls, secured("UDP/TLS/RTP/SAVP", print256, "a=setup:active"), "dtls passive"},
		{"DTLS, we begin", dtls, secured("UDP/TLS/RTP/SAVPF", print256, "a=setup:passive"), "dtls active"},
		{"DTLS not ours", own(true), secured("UDP/TLS/RTP/SAVP", print256, "a=setup:actpass"), ""},
		{"DTLS and SDES in one", both, secured("RTP/SAVP", print256, "a=setup:actpass", keyLine(3, aes80, key30)), "3 " + aes80},
		{"DTLS under RTP/AVP (RFC 8643)", Security{Fingerprint: dtls.Fingerprint}, secured("RTP/AVP", print256, "a=setup:actpass"), "dtls active"},
		{"twice the same media", loose, secured("RTP/AVP") + "m=audio 4000 RTP/SAVP 0\r\n" + keyLine(1, aes80, key30) + "\r\n", "1 " + aes80},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			offer, err := Parse([]byte(c.offer))
			if err != nil {
				t.Fatal(err)
			}
			l := local
			l.Security = c.sec
			answer, err := MakeAnswer(offer, l, Capability{Audio: []Format{PCMU}})
			if c.want == "" {
				if !errors.Is(err, ErrNoKey) {
					t.Fatalf("error %v, want ErrNoKey", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			agreed, err := Answered(offer, reparsed(t, answer))
			if err != nil {
				t.Fatal(err)
			}
			if got := protection(agreed.Audio.Protection); got != c.want {
				t.Errorf("have %q, want %q in\n%s", got, c.want, answer.Bytes())
			}
			if theirs, err := Accepted(offer, answer); err != nil || theirs.Audio.Protection.Keying != agreed.Audio.Protection.Keying {
				t.Errorf("the peer makes %+v of our answer: %v", theirs.Audio.Protection, err)
			}
		})
	}
}

func reparsed(t *testing.T, d Description) Description {
	t.Helper()
	again, err := Parse(d.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return again
}

func protection(p Protection) string {
	switch {
	case p.Keying == SDES:
		return fmt.Sprintf("%d %s", p.Theirs.Tag, p.Theirs.Suite)
	case p.Keying == DTLS && p.Active:
		return "dtls active"
	case p.Keying == DTLS:
		return "dtls passive"
	}
	return "clear"
}

func TestOfferedProtection(t *testing.T) {
	cases := []struct {
		name    string
		sec     Security
		profile string
		lines   int
		answer  string
		want    string // "" = an error
	}{
		{"clear", Security{}, "RTP/AVP", 0, secured("RTP/AVP"), "clear"},
		{"required", own(true), "RTP/SAVP", 6, secured("RTP/SAVP", keyLine(5, "AES_CM_128_HMAC_SHA1_80", key30)), "5 AES_CM_128_HMAC_SHA1_80"},
		{"wrong tag of a suite that we offered", own(true), "RTP/SAVP", 6, secured("RTP/SAVP", keyLine(1, "AES_CM_128_HMAC_SHA1_80", key30)), "1 AES_CM_128_HMAC_SHA1_80"},
		{"answer without a key", own(true), "RTP/SAVP", 6, secured("RTP/SAVP"), ""},
		{"answer in the clear", own(true), "RTP/SAVP", 6, secured("RTP/AVP"), ""},
		{"optional, not taken", own(false), "RTP/AVP", 6, secured("RTP/AVP"), "clear"},
		{"optional, taken", own(false), "RTP/AVP", 6, secured("RTP/AVP", keyLine(6, "AES_CM_128_HMAC_SHA1_32", key30)), "6 AES_CM_128_HMAC_SHA1_32"},
		{"a key that nobody asked for", Security{}, "RTP/AVP", 0, secured("RTP/AVP", keyLine(1, "AES_CM_128_HMAC_SHA1_80", key30)), "clear"},
		{"DTLS", Security{Required: true, Fingerprint: FingerprintOf([]byte("x"))}, "UDP/TLS/RTP/SAVP", 1, secured("UDP/TLS/RTP/SAVP", print256, "a=setup:active"), "dtls passive"},
		{"DTLS, the peer waits", Security{Required: true, Fingerprint: FingerprintOf([]byte("x"))}, "UDP/TLS/RTP/SAVP", 1, secured("UDP/TLS/RTP/SAVP", print256, "a=setup:passive"), "dtls active"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l := local
			l.Security = c.sec
			offer := MakeOffer(l, Capability{Audio: []Format{PCMU}})
			text := string(offer.Bytes())
			lines := strings.Count(text, "a=crypto:") + strings.Count(text, "a=fingerprint:")
			if !strings.Contains(text, "m=audio 20000 "+c.profile+" 0\r\n") || lines != c.lines {
				t.Errorf("%d lines of keys, want %d and %s:\n%s", lines, c.lines, c.profile, text)
			}
			if again := reparsed(t, offer); string(again.Bytes()) != text {
				t.Errorf("does not come back as it was written:\n%s\n%s", text, again.Bytes())
			}
			answer, err := Parse([]byte(c.answer))
			if err != nil {
				t.Fatal(err)
			}
			agreed, err := Accepted(offer, answer)
			if c.want == "" {
				if !errors.Is(err, ErrNoKey) {
					t.Errorf("error %v, want ErrNoKey", err)
				}
				return
			}
			if got := protection(agreed.Audio.Protection); err != nil || got != c.want {
				t.Errorf("have %q (%v), want %q", got, err, c.want)
			}
		})
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	s := own(true)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q"} {
		if got := fmt.Sprintf(verb, s.Cryptos[0].Key); got != "[redacted]" {
			t.Errorf("%s prints %s", verb, got)
		}
	}
	if b, err := json.Marshal(s.Cryptos[0]); err != nil || !strings.Contains(string(b), `"Key":"[redacted]"`) {
		t.Errorf("JSON has %s, %v", b, err)
	}
	l := local
	l.Security = s
	if text := string(MakeOffer(l, Capability{Audio: []Format{PCMU}}).Keyless().Bytes()); strings.Contains(text, "crypto") {
		t.Errorf("the record of a description holds keys:\n%s", text)
	}
}

func TestFingerprint(t *testing.T) {
	f := FingerprintOf([]byte("a certificate"))
	again, ok := parseFingerprint(strings.TrimPrefix(strings.TrimSpace(string(f.append(nil))), "a=fingerprint:"))
	if !ok || again != f || !again.Matches([]byte("a certificate")) || again.Matches([]byte("another")) {
		t.Errorf("%q, %v", f.append(nil), ok)
	}
	for _, bad := range []string{"", "sha-256", "sha-256 AA", "md5 00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff", "sha-256 " + strings.Repeat("zz:", 32)} {
		if _, ok := parseFingerprint(bad); ok {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzCrypto(f *testing.F) {
	f.Add("1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "|2^20|1:4 WSH=64")
	f.Add("5 AEAD_AES_128_GCM inline:" + key28)
	f.Fuzz(func(t *testing.T, value string) {
		c, ok := parseCrypto(value)
		if !ok {
			return
		}
		line := strings.TrimSuffix(strings.TrimPrefix(string(c.append(nil)), "a=crypto:"), "\r\n")
		again, ok := parseCrypto(line)
		if !ok || !again.Equal(c) || again.Tag != c.Tag {
			t.Errorf("%q became %q", value, line)
		}
	})
}
