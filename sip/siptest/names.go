package siptest

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// Names is a DNS server in a namespace, and the only one that programs know which
// are started there after it.
type Names struct {
	mu      sync.Mutex
	records []dns.RR
}

// ServeNames starts it with records as a zone file has them. Programs in the
// namespace see an /etc/resolv.conf of their own.
func (n *Namespace) ServeNames(t testing.TB, records ...string) *Names {
	t.Helper()
	Need(t, "unshare")
	z := &Names{}
	z.Set(t, records...)
	n.resolv = filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(n.resolv, []byte("nameserver "+n.Addr+"\n"), 0o644); err != nil {
		t.Fatalf("serve names: %v", err)
	}
	var conn *net.UDPConn
	err := n.Do(func() (err error) {
		conn, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(n.Addr), Port: 53})
		return err
	})
	if err != nil {
		t.Fatalf("serve names: %v", err)
	}
	server, done := &dns.Server{PacketConn: conn, Handler: z}, make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ActivateAndServe() // until the test ends
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	return z
}

// Set replaces all records.
func (z *Names) Set(t testing.TB, records ...string) {
	t.Helper()
	parsed := make([]dns.RR, 0, len(records))
	for _, r := range records {
		rr, err := dns.NewRR(r)
		if err != nil {
			t.Fatalf("record %q: %v", r, err)
		}
		parsed = append(parsed, rr)
	}
	z.mu.Lock()
	z.records = parsed
	z.mu.Unlock()
}

// ServeDNS answers one question.
func (z *Names) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	res := new(dns.Msg)
	res.SetReply(q)
	known := false
	z.mu.Lock()
	for _, rr := range z.records {
		if !strings.EqualFold(rr.Header().Name, q.Question[0].Name) {
			continue
		}
		known = true
		if rr.Header().Rrtype == q.Question[0].Qtype {
			res.Answer = append(res.Answer, rr)
		}
	}
	z.mu.Unlock()
	if !known {
		res.Rcode = dns.RcodeNameError
	}
	_ = w.WriteMsg(res) // who asked asks again
}
