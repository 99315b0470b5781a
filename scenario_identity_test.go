package main_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"riptide/configs/setup"
	"riptide/policy/stir"
	"riptide/sip/siptest"
)

// TestIdentityAcceptedByOthers: kamailio's secsipid module, between the telco
// and the callee, and the secsipidx command accept what riptide writes, with
// the certificate from where the header says it is. What they refuse reaches
// the caller as they said it.
func TestIdentityAcceptedByOthers(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "identity", "kamailio")
	siptest.Shows(t, "identity", "sipp")
	certificate := filepath.Join(t.TempDir(), "leaf.pem") // written when it is known
	callee := siptest.Sipp{Scenario: siptest.UAS}.Start(t)
	kamailio := siptest.Kamailio{Certificate: certificate, Next: callee.Addr}.Start(t)
	meddler := newMeddler(t, kamailio.Addr)
	p := startSite(t, siteOptions{to: meddler.addr})

	x5u := issuedAt.FindStringSubmatch(p.telco.logText(t))
	if x5u == nil {
		t.Fatalf("the telco has issued no certificate:\n%s", p.telco.logText(t))
	}
	leaf := fetchLeaf(t, x5u[1], filepath.Join(p.telco.dir, setup.CACert))
	if err := os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	siptest.Sipp{
		Scenario: siptest.UAC, Script: siptest.Script{From: officeNumber, HoldMS: 50}, Remote: p.office.sip, Service: telcoNumber,
	}.Start(t).Check(t, 1)
	callee.Check(t, 1)

	identity := identityOf(t, callee)
	s := siptest.NewSecsipidx(t)
	if err := s.Check(identity, certificate, 60); err != nil {
		t.Error(err)
	}
	passport, params, _ := strings.Cut(identity, ";")
	if err := s.Check(forge(passport)+";"+params, certificate, 60); !errors.Is(err, siptest.ErrIdentityRefused) {
		t.Errorf("a forged one: %v", err)
	}
	claims, err := stir.ParsePassport(passport)
	if err != nil {
		t.Fatal(err)
	}
	if claims.Header.X5U != x5u[1] || claims.Claims.From() != officeNumber || !claims.Claims.To(telcoNumber) || claims.Claims.Attest == "" || claims.Claims.OrigID == "" {
		t.Errorf("header %+v, claims %+v", claims.Header, claims.Claims)
	}

	for _, tc := range []struct {
		name   string
		meddle func(identity []byte) []byte
		refusal
	}{
		{"signature altered on the way", func(h []byte) []byte {
			value, params, _ := bytes.Cut(h, []byte(";"))
			return append([]byte(forge(string(value))+";"), params...)
		}, refusal{status: 438, code: "identity-invalid"}},
		{"header lost on the way", func([]byte) []byte { return nil }, refusal{status: 428, code: "identity-missing"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			meddler.meddle.Store(&tc.meddle)
			tc.from, tc.to = officeNumber, telcoNumber
			tc.place(t, p)
		})
	}
}

var (
	issuedAt     = regexp.MustCompile(`msg="certificate issued".* tg=office .*x5u=(\S+)`)
	identityLine = regexp.MustCompile(`(?m)^Identity: *(.*?)\r?$`)
)

// identityOf is the Identity header of the INVITE that a callee got.
func identityOf(t testing.TB, callee *siptest.SippRun) string {
	t.Helper()
	all := identityLine.FindAllStringSubmatch(callee.Messages(), -1)
	if len(all) != 1 {
		t.Fatalf("%d Identity header fields, want one:\n%s", len(all), callee.Messages())
	}
	return all[0][1]
}

// fetchLeaf gets a published chain and returns its first certificate.
func fetchLeaf(t testing.TB, x5u, ca string) *x509.Certificate {
	t.Helper()
	res, err := http3Client(t, ca).Get(x5u)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %d %v", x5u, res.StatusCode, err)
	}
	chain, err := stir.ParseChain(b)
	if err != nil {
		t.Fatal(err)
	}
	return chain[0]
}

// meddler stands before a SIP proxy, over UDP, and changes Identity header
// fields.
type meddler struct {
	addr   string
	meddle atomic.Pointer[func([]byte) []byte] // nil result: without the field
}

func newMeddler(t testing.TB, proxy string) *meddler {
	t.Helper()
	front, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	back, err := net.Dial("udp", proxy)
	if err != nil {
		t.Fatal(err)
	}
	m := &meddler{addr: front.LocalAddr().String()}
	var from atomic.Pointer[net.Addr]
	var both sync.WaitGroup
	both.Go(func() {
		b := make([]byte, 65535)
		for {
			n, addr, err := front.ReadFrom(b)
			if err != nil {
				return
			}
			from.Store(&addr)
			_, _ = back.Write(m.change(b[:n]))
		}
	})
	both.Go(func() {
		b := make([]byte, 65535)
		for {
			n, err := back.Read(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if to := from.Load(); err == nil && to != nil {
				_, _ = front.WriteTo(b[:n], *to)
			}
		}
	})
	t.Cleanup(func() {
		_ = front.Close()
		_ = back.Close()
		both.Wait()
	})
	return m
}

func (m *meddler) change(b []byte) []byte {
	meddle := m.meddle.Load()
	if meddle == nil {
		return b
	}
	var out []byte
	for line := range bytes.SplitAfterSeq(b, []byte("\r\n")) {
		if value, ok := bytes.CutPrefix(line, []byte("Identity: ")); ok {
			changed := (*meddle)(bytes.TrimSuffix(value, []byte("\r\n")))
			if changed == nil {
				continue
			}
			line = append(append([]byte("Identity: "), changed...), "\r\n"...)
		}
		out = append(out, line...)
	}
	return out
}

// TestIdentityIsRelayed: a PASSporT that comes with an INVITE and holds reaches
// the SIP peer at the far end as it is, byte for byte. A caller without one is
// signed for.
func TestIdentityIsRelayed(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "identity", "sipp")
	publisher := newPublisher(t)
	port := siptest.FreePorts(t, nil, "127.0.0.1", 1)
	p := startSite(t, siteOptions{
		prepare: publisher.trust, to: fmt.Sprintf("127.0.0.1:%d", port),
		edit: func(name, config string) string {
			if name == "telco" {
				return config
			}
			return replace(t, config, "      callers: [\"+1202555xxxx\"]\n  telco:", "      callers: [\"+1202555xxxx\"]\n      identity: required\n  telco:")
		},
	})
	k := publisher.issue(p.office.dir, "+1202555xxxx", time.Now(), time.Hour)
	place := func(t *testing.T, headers ...string) string {
		t.Helper()
		callee := siptest.Sipp{Scenario: siptest.UAS, Port: port}.Start(t)
		siptest.Sipp{
			Scenario: siptest.UAC, Script: siptest.Script{From: officeNumber, HoldMS: 20, Headers: headers}, Remote: p.office.sip, Service: telcoNumber,
		}.Start(t).Check(t, 1)
		callee.Check(t, 1)
		passport, _, _ := strings.Cut(identityOf(t, callee), ";")
		return passport
	}
	t.Run("relayed", func(t *testing.T) {
		want := k.sign(officeNumber, telcoNumber, time.Now())
		if got := place(t, identityHeader(t, want)); got != want {
			t.Errorf("sent %s\ngot  %s", want, got)
		}
	})
	t.Run("in the compact form of the header's name", func(t *testing.T) {
		want := k.sign(officeNumber, telcoNumber, time.Now())
		if got := place(t, "y: "+strings.TrimPrefix(identityHeader(t, want), "Identity: ")); got != want {
			t.Errorf("sent %s\ngot  %s", want, got)
		}
	})
	t.Run("the one of several that holds", func(t *testing.T) {
		want := k.sign(officeNumber, telcoNumber, time.Now())
		if got := place(t, identityHeader(t, forge(k.sign(officeNumber, telcoNumber, time.Now()))), identityHeader(t, want)); got != want {
			t.Errorf("sent %s\ngot  %s", want, got)
		}
	})
	t.Run("a second time it is refused", func(t *testing.T) {
		again := k.identity(officeNumber, telcoNumber, time.Now())
		place(t, again)
		refusal{
			from: officeNumber, to: telcoNumber, headers: []string{again}, status: 403, code: "identity-replayed", reason: "accepted for an earlier call",
		}.place(t, p)
	})
	t.Run("none, where it is required", func(t *testing.T) {
		refusal{from: officeNumber, to: telcoNumber, status: 428, code: "identity-missing", reason: "must send an Identity"}.place(t, p)
	})
	if n := sum(p.telco.metrics(t), "riptide_identity_verdicts_total", `from="ript"`, `status="valid"`); n != 4 {
		t.Errorf("the telco verified %d PASSporTs, want 4", n)
	}
}
