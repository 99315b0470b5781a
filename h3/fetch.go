package h3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"riptide/policy/stir"
)

// Limits of fetching a certificate for a stranger's PASSporT.
const (
	fetchTimeout = 3 * time.Second
	maxChainPEM  = 64 << 10
)

// errForbiddenAddress is wrapped where an x5u leads into our own network.
var errForbiddenAddress = errors.New("the address is not a public one")

// fetcher gets the certificate chains that x5u points to. The URLs come from
// strangers, so it must not be talked into requests to our own network (SSRF):
// https only, no redirects, little time, small answers, and public addresses
// only, checked on the very address that is connected to.
type fetcher struct {
	allow  map[string]bool // hosts of the operator's choice may have any address
	public *http.Transport
}

// NewFetch returns the function behind a stir.Source: servers
// are verified against roots (nil: the system's), and hosts, by name or address,
// may have private addresses.
func NewFetch(roots *x509.CertPool, hosts []string) stir.Fetch {
	return newFetcher(hosts, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}).Fetch
}

// newFetcher verifies servers against roots; nil stands for the system's.
func newFetcher(allow []string, tlsConfig *tls.Config) *fetcher {
	f := &fetcher{allow: map[string]bool{}}
	for _, host := range allow {
		f.allow[strings.ToLower(host)] = true
	}
	if tlsConfig == nil {
		tlsConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	f.public = &http.Transport{
		DialContext:            f.dial,
		TLSClientConfig:        tlsConfig,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConns:           16,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 16 << 10,
	}
	return f
}

// Fetch GETs the chain behind an x5u.
func (f *fetcher) Fetch(ctx context.Context, x5u string) ([]byte, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	pem, maxAge, err := f.fetch(ctx, x5u)
	if err != nil {
		return nil, 0, fmt.Errorf("fetch certificate %s: %w", clip(x5u, 200), err)
	}
	return pem, maxAge, nil
}

func (f *fetcher) fetch(ctx context.Context, x5u string) ([]byte, time.Duration, error) {
	if err := stir.CheckURL(x5u); err != nil {
		return nil, 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, x5u, nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Accept", "application/pem-certificate-chain, application/pkix-cert, */*;q=0.1")
	resp, err := f.public.RoundTrip(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		// Not even a redirect within the host: an x5u names a file that stays.
		return nil, 0, fmt.Errorf("the server answered %d", resp.StatusCode)
	}
	pem, err := readLimited(resp.Body, maxChainPEM)
	if err != nil {
		return nil, 0, err
	}
	return pem, maxAge(resp.Header), nil
}

// dial checks the address after name resolution, so that a name cannot be
// pointed elsewhere between the check and the connection.
func (f *fetcher) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: fetchTimeout}
	if !f.allow[strings.ToLower(host)] {
		d.ControlContext = func(_ context.Context, _, address string, _ syscall.RawConn) error {
			return checkPublic(address)
		}
	}
	return d.DialContext(ctx, network, addr)
}

func checkPublic(address string) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s", errForbiddenAddress, address)
	}
	if !isPublic(ap.Addr().Unmap()) {
		return fmt.Errorf("%w: %s; if that is meant, allow its host by name in the configuration", errForbiddenAddress, ap.Addr())
	}
	return nil
}

// special are the blocks that IANA's special-purpose registries mark as not
// globally reachable and that netip has no word for.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), // shared by carriers' NATs
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("64:ff9b::/96"), // NAT64 reaches every IPv4 address
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("2001::/23"),
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("2002::/16"), // 6to4 does, too
	netip.MustParsePrefix("fec0::/10"),
}

// isPublic tells an address of the public network, of either family.
func isPublic(a netip.Addr) bool {
	if !a.IsValid() || !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.Zone() != "" {
		return false
	}
	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}
	return true
}
