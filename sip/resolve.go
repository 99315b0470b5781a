package sip

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Limits of what is taken from the DNS, and for how long.
const (
	maxServices = 16 // SRV or NAPTR records of one name
	maxAddrs    = 8  // of one host
	leastTTL    = 5 * time.Second
	mostTTL     = time.Hour
	hostsTTL    = time.Minute      // of names that do not come from the DNS
	retryTTL    = 30 * time.Second // after a failure
	dnsTimeout  = 2 * time.Second  // of one question to one server
)

// service is one server of a peer, as its DNS has it (RFC 2782).
type service struct {
	rank     int // of the NAPTR record that led there; lower first
	priority uint16
	weight   uint16
	over     transport
	addrs    []netip.AddrPort
}

// location is where a peer is, and for how long that is known.
type location struct {
	services []service
	all      []target // in order of preference, weights aside
	ttl      time.Duration
}

// targets are the places to try, best first. Services of the same priority are
// drawn by weight (RFC 2782); random returns a number below n.
func (l *location) targets(random func(n int) int) []target {
	if l == nil {
		return nil
	}
	rest := slices.Clone(l.services)
	out := make([]target, 0, len(l.all))
	for len(rest) > 0 {
		n := 1
		for n < len(rest) && rest[n].rank == rest[0].rank && rest[n].priority == rest[0].priority {
			n++
		}
		i := draw(rest[:n], random)
		for _, a := range rest[i].addrs {
			out = append(out, target{addr: a, over: rest[i].over})
		}
		rest = slices.Delete(rest, i, i+1)
	}
	return out
}

// draw picks one of services with the same priority: those without weight are
// picked seldom.
func draw(services []service, random func(n int) int) int {
	sum := 0
	for _, s := range services {
		sum += 100*int(s.weight) + 1
	}
	pick := random(sum)
	for i, s := range services {
		if pick -= 100*int(s.weight) + 1; pick < 0 {
			return i
		}
	}
	return 0
}

// settle sorts what was found.
func (l *location) settle() {
	slices.SortStableFunc(l.services, func(a, b service) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.priority, b.priority))
	})
	l.all = nil
	for _, s := range l.services {
		for _, a := range s.addrs {
			l.all = append(l.all, target{addr: a, over: s.over})
		}
	}
	l.ttl = min(max(l.ttl, leastTTL), mostTTL)
}

// resolver finds SIP servers (RFC 3263). The system's own resolver tells
// neither NAPTR records nor how long an answer holds.
type resolver struct {
	servers []string // host:port, tried in order
	hosts   *net.Resolver
}

// newResolver asks one server, or those of the system, and its hosts file.
func newResolver(server string) *resolver {
	if server != "" {
		return &resolver{servers: []string{server}}
	}
	r := &resolver{hosts: net.DefaultResolver}
	if c, err := dns.ClientConfigFromFile("/etc/resolv.conf"); err == nil {
		for _, s := range c.Servers {
			r.servers = append(r.servers, net.JoinHostPort(s, c.Port))
		}
	}
	return r
}

// services of NAPTR records (RFC 3263 section 4.1, RFC 7118 section 4.2), and
// the name of each transport's SRV records.
var (
	naptrServices = map[string]transport{"sip+d2u": overUDP, "sip+d2t": overTCP, "sips+d2t": overTLS}
	srvNames      = map[transport]string{overUDP: "_sip._udp.", overTCP: "_sip._tcp.", overTLS: "_sips._tcp."}
)

// locate finds a peer by host, port (0 = not said) and transport (0 = whichever
// its DNS prefers), as RFC 3263 section 4 has it.
func (r *resolver) locate(ctx context.Context, host string, port uint16, over transport) (*location, error) {
	l := &location{ttl: mostTTL}
	defer l.settle()
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		over = cmp.Or(over, overUDP)
		l.services = []service{{over: over, addrs: []netip.AddrPort{netip.AddrPortFrom(a.Unmap(), cmp.Or(port, over.port()))}}}
		return l, nil
	}
	if port == 0 {
		r.byService(ctx, l, host, over)
	}
	if len(l.services) > 0 {
		return l, nil
	}
	over = cmp.Or(over, overUDP)
	addrs, err := r.addresses(ctx, l, host)
	if err != nil {
		return nil, err
	}
	l.services = []service{{over: over, addrs: withPort(addrs, cmp.Or(port, over.port()))}}
	return l, nil
}

// byService asks for NAPTR and SRV records. A name that has none is only a host.
func (r *resolver) byService(ctx context.Context, l *location, host string, over transport) {
	if over != 0 {
		if srvNames[over] == "" {
			return
		}
		r.bySRV(ctx, l, srvNames[over]+host, over, 0)
		return
	}
	answers, _ := r.query(ctx, l, host, dns.TypeNAPTR)
	var records []*dns.NAPTR
	for _, rr := range answers {
		if n, ok := rr.(*dns.NAPTR); ok && strings.EqualFold(n.Flags, "s") && naptrServices[strings.ToLower(n.Service)] != 0 && len(records) < maxServices {
			records = append(records, n)
		}
	}
	slices.SortStableFunc(records, func(a, b *dns.NAPTR) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.Preference, b.Preference))
	})
	for i, n := range records {
		r.bySRV(ctx, l, n.Replacement, naptrServices[strings.ToLower(n.Service)], i)
	}
	if len(l.services) == 0 {
		for i, over := range []transport{overUDP, overTCP, overTLS} {
			r.bySRV(ctx, l, srvNames[over]+host, over, i)
		}
	}
}

// bySRV adds the servers that SRV records name. A record that names the root
// says that there is no such service.
func (r *resolver) bySRV(ctx context.Context, l *location, name string, over transport, rank int) {
	if name == "" {
		return
	}
	answers, _ := r.query(ctx, l, name, dns.TypeSRV)
	for _, rr := range answers {
		s, ok := rr.(*dns.SRV)
		if !ok || s.Target == "." || s.Port == 0 || len(l.services) >= maxServices {
			continue
		}
		if addrs, err := r.addresses(ctx, l, s.Target); err == nil {
			l.services = append(l.services, service{rank, s.Priority, s.Weight, over, withPort(addrs, s.Port)})
		}
	}
}

// addresses are those of a host, IPv4 first.
func (r *resolver) addresses(ctx context.Context, l *location, host string) ([]netip.Addr, error) {
	if r.hosts != nil { // the hosts file comes before the DNS; without a server, there is nothing else to be asked
		file := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("files only") }}
		if found, err := file.LookupNetIP(ctx, "ip", strings.TrimSuffix(host, ".")); err == nil && len(found) > 0 {
			l.ttl = min(l.ttl, hostsTTL)
			return fourFirst(found), nil
		}
	}
	var found []netip.Addr
	var failed error
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		answers, err := r.query(ctx, l, host, kind)
		failed = cmp.Or(failed, err)
		for _, rr := range answers {
			var a netip.Addr
			switch rr := rr.(type) {
			case *dns.A:
				a, _ = netip.AddrFromSlice(rr.A)
			case *dns.AAAA:
				a, _ = netip.AddrFromSlice(rr.AAAA)
			}
			if a.IsValid() {
				found = append(found, a)
			}
		}
	}
	if len(found) == 0 && r.hosts != nil { // search domains, and whatever else the system knows
		var err error
		if found, err = r.hosts.LookupNetIP(ctx, "ip", host); err != nil {
			return nil, fmt.Errorf("resolve %q: %w", host, err)
		}
		l.ttl = min(l.ttl, hostsTTL)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("resolve %q: %w", host, cmp.Or(failed, errNoHost))
	}
	return fourFirst(found), nil
}

var errNoHost = errors.New("there is no such host")

func fourFirst(addrs []netip.Addr) []netip.Addr {
	out := make([]netip.Addr, 0, len(addrs))
	for _, a := range addrs {
		out = append(out, a.Unmap())
	}
	slices.SortStableFunc(out, func(a, b netip.Addr) int { return cmp.Compare(a.BitLen(), b.BitLen()) })
	return out[:min(len(out), maxAddrs)]
}

func withPort(addrs []netip.Addr, port uint16) []netip.AddrPort {
	out := make([]netip.AddrPort, 0, len(addrs))
	for _, a := range addrs {
		out = append(out, netip.AddrPortFrom(a, port))
	}
	return out
}

// query puts one question to the servers in turn, and notes in l how long the
// answer holds. That there is no such record is an answer too.
func (r *resolver) query(ctx context.Context, l *location, name string, kind uint16) ([]dns.RR, error) {
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), kind)
	q.SetEdns0(1232, false)
	var failed error
	for _, server := range r.servers {
		res, err := exchangeDNS(ctx, q, server)
		switch {
		case err != nil:
			failed = err
			continue
		case res.Rcode == dns.RcodeNameError:
			l.negative(res)
			return nil, nil
		case res.Rcode != dns.RcodeSuccess:
			failed = fmt.Errorf("%s says %s", server, dns.RcodeToString[res.Rcode])
			continue
		case len(res.Answer) == 0:
			l.negative(res)
		}
		for _, rr := range res.Answer {
			l.ttl = min(l.ttl, time.Duration(rr.Header().Ttl)*time.Second)
		}
		return res.Answer, nil
	}
	if failed == nil {
		failed = errors.New("no DNS server is known")
	}
	l.ttl = min(l.ttl, retryTTL)
	return nil, fmt.Errorf("ask for %s of %q: %w", dns.TypeToString[kind], name, failed)
}

// negative notes how long a name has no such record (RFC 2308 section 5).
func (l *location) negative(res *dns.Msg) {
	for _, rr := range res.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			l.ttl = min(l.ttl, time.Duration(min(soa.Minttl, soa.Hdr.Ttl))*time.Second)
		}
	}
}

// exchangeDNS asks over UDP, twice, and over TCP what does not fit.
func exchangeDNS(ctx context.Context, q *dns.Msg, server string) (*dns.Msg, error) {
	var res *dns.Msg
	var err error
	for range 2 {
		c := &dns.Client{Timeout: dnsTimeout}
		if res, _, err = c.ExchangeContext(ctx, q, server); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err == nil && res.Truncated {
		c := &dns.Client{Net: "tcp", Timeout: dnsTimeout}
		res, _, err = c.ExchangeContext(ctx, q, server)
	}
	return res, err
}

// locate finds a trunk's peer anew. What was known stays if nothing is found:
// a DNS that is out must not take the telephones with it.
func (a *Agent) locate(ctx context.Context, t *trunk) (wait time.Duration, err error) {
	over := t.over
	if t.auto {
		over = 0
	}
	l, err := a.resolver.locate(ctx, t.host, t.port, over)
	if err != nil {
		return retryTTL, fmt.Errorf("trunk %q: peer %q: %w (check the name, or give an address)", t.Name, t.Peer, err)
	}
	t.located.Store(l)
	t.standing.retain(l.all)
	return l.ttl, nil
}

// follow keeps a trunk's location as fresh as its DNS wants.
func (a *Agent) follow(ctx context.Context, t *trunk, wait time.Duration, lost bool) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		var err error
		wait, err = a.locate(ctx, t)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !lost:
			a.cfg.Logger.Warn("the peer's name does not resolve; what was known of it is used on", "trunk", t.Name, "error", err)
		case err == nil && lost:
			a.cfg.Logger.Info("the peer's name resolves again", "trunk", t.Name, "addresses", len(t.located.Load().all))
		}
		lost = err != nil
	}
}

// targets are the places where a trunk's peer is, as drawn for one call.
func (t *trunk) targets() []target { return t.located.Load().targets(rand.IntN) }

// known are the same without a draw.
func (t *trunk) known() []target {
	if l := t.located.Load(); l != nil {
		return l.all
	}
	return nil
}
