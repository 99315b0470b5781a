package h3

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"log/slog"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"riptide/bridge"
	"riptide/bridge/store"
	"riptide/policy"
	"riptide/policy/stir"
)

// business is a provider ("ript.test") and its customer ("office.test"). The
// customer's side names the provider; the provider's side names no address.
type business struct {
	*rig // the provider

	office   *Server
	accepted *acceptor // at the customer
	store    store.Store
	roots    *x509.CertPool // of both
	telcoKey ClientKey      // of the provider
	provider *Client
}

const officeAuthority = "office.test"

func officeTLS(t *testing.T, roots *x509.CertPool) tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: officeAuthority}, DNSNames: []string{officeAuthority},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	leaf, err := x509.ParseCertificate(der)
	must(t, err)
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// newBusiness starts both servers, and the provider's client.
func newBusiness(t *testing.T, changes ...func(*ServerConfig)) *business {
	t.Helper()
	b := &business{rig: newRig(t, changes...), accepted: &acceptor{legs: make(chan bridge.Leg, 10)}, store: store.NewMemory()}
	b.roots = b.rig.roots.Clone()
	cert := officeTLS(t, b.roots)
	var err error
	providerKey := newKey(t)
	b.telcoKey, err = NewClientKey(providerKey, keyID(providerKey))
	must(t, err)
	b.office, err = NewServer(ServerConfig{
		Listen: "127.0.0.1:0", Authority: officeAuthority, Certificate: cert, Store: b.store, Acceptor: b.accepted,
		TGs:      []TGConfig{{Name: "telco", ClientID: "telco", Customer: true, Origins: numbers(t, "*"), Destinations: numbers(t, "+1202555010x")}},
		Clients:  []OAuthClient{{ID: "telco", Keys: publicJWKS(providerKey)}},
		Verifier: &stir.Verifier{Trust: stir.Trust{Roots: x509.NewCertPool()}, Chain: b.chain},
	})
	must(t, err)
	must(t, b.office.Listen(t.Context()))
	served := make(chan error, 1)
	go func() { served <- b.office.Serve(context.WithoutCancel(t.Context())) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		must(t, b.office.Shutdown(ctx))
		must(t, <-served)
	})
	b.provider, _ = b.run(ClientConfig{Store: b.rig.store, HandlerID: "telco-1", Server: b.server, Trunks: []TrunkConfig{{
		Name: "office", ClientID: "telco", Key: b.telcoKey, Roots: b.roots, Numbers: []policy.Pattern{"+1303555010x"}, Hosts: []string{officeAuthority},
	}}})
	return b
}

// run runs a client that finds both servers by their names.
func (b *business) run(cfg ClientConfig) (c *Client, stop func()) {
	t := b.t
	t.Helper()
	at := map[string]netip.AddrPort{
		testAuthority:   netip.MustParseAddrPort(b.server.Addr().String()),
		officeAuthority: netip.MustParseAddrPort(b.office.Addr().String()),
	}
	cfg.Logger = slog.New(slog.DiscardHandler)
	cfg.Resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
		if host == officeAuthority {
			return []netip.Addr{netip.MustParseAddr("127.0.0.2")}, nil
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
	c, err := NewClient(cfg)
	must(t, err)
	for _, trunk := range c.trunks {
		trunk.pool.cfg.Route = func(a netip.AddrPort) netip.AddrPort {
			if a.Addr() == netip.MustParseAddr("127.0.0.2") {
				return at[officeAuthority]
			}
			return at[testAuthority]
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return c, stop
}

// join runs the customer's client.
func (b *business) join() (c *Client, stop func()) {
	b.t.Helper()
	key, err := NewClientKey(b.key, keyID(b.key))
	must(b.t, err)
	return b.run(ClientConfig{Store: b.store, HandlerID: "office-1", Server: b.office, Trunks: []TrunkConfig{{
		Name: "telco", Connect: testAuthority, ClientID: testClient, Key: key, Roots: b.roots, Inbound: true,
		Numbers: []policy.Pattern{"+1202555010x"}, TG: "office",
	}}})
}

// await waits for a condition that another goroutine brings about.
func await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after 20 s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (b *business) registration() *customer {
	c, err := b.server.customers.get(b.t.Context(), "office")
	if err != nil {
		return &customer{}
	}
	return c
}

const providerFrom, customerTo = policy.Number("+13035550101"), policy.Number("+12025550105")

// call has the provider call the customer.
func (b *business) call() {
	b.t.Helper()
	await(b.t, "the provider can call", func() bool { return b.provider.Ready("office") == nil })
	passport, err := b.provider.Sign(b.t.Context(), "office", providerFrom, customerTo, "A")
	must(b.t, err)
	out := mustDial(b.t, b.provider, bridge.Intent{
		Call: uuid.NewString(), Trunk: "office", From: providerFrom, To: customerTo, Passport: passport,
		Media: bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMA}, Digits: true}, Hops: 5,
	})
	var in bridge.Leg
	select {
	case in = <-b.accepted.legs:
	case <-time.After(20 * time.Second):
		b.t.Fatal("the call does not arrive at the customer")
	}
	if info := in.Info(); info.From != providerFrom || info.To != customerTo || info.Trunk != "telco" || info.Identity.Verdict.Status != stir.Valid {
		b.t.Errorf("at the customer: %+v", info)
	}
	must(b.t, in.Answer(b.t.Context(), bridge.Answer{Media: bridge.MediaPlan{Speech: bridge.PCMA, Ptime: bridge.DefaultPtime}}))
	awaitKind(b.t, out, bridge.Answered)
	must(b.t, out.End(b.t.Context(), bridge.CauseNormal))
	if ev := nextEvent(b.t, in); ev.Kind != bridge.Ended {
		b.t.Errorf("the customer heard %v", ev.Kind)
	}
}

// TestCustomerCalled: the customer connects, and the provider can call it: where,
// with what, and whose signature is to be believed was told by the two servers
// themselves. It stays so after restarts.
func TestCustomerCalled(t *testing.T) {
	t.Parallel()
	b := newBusiness(t)
	if err := b.provider.Ready("office"); err == nil {
		t.Fatal("the provider knows the customer already")
	}
	_, stop := b.join()
	b.call()
	first := b.registration()
	if first.Doc.URI != "https://office.test/ript/v1/tgs/telco" || first.Doc.ProviderTG != testTG || len(first.Doc.Token) != grantLength {
		t.Errorf("registered %+v", first.Doc)
	}

	// A restarted customer finds its registration and leaves it alone.
	stop()
	customer, stop := b.join()
	await(t, "the customer looked", func() bool { return customer.trunks["telco"].state().Registration != "" })
	if again := b.registration(); again.revision != first.revision {
		t.Error("it was registered anew")
	}
	// A provider that has lost it is told again.
	must(t, b.server.customers.delete(t.Context(), "office"))
	await(t, "the provider forgets", func() bool { return b.provider.Ready("office") != nil })
	stop()
	customer, stop = b.join()
	b.call()
	stop()

	// A token that is due is replaced; the one before is good for a day.
	second := b.registration()
	r, err := customer.trunks["telco"].loadInbound(t.Context())
	must(t, err)
	if life := time.Until(r.Renew); life < 59*24*time.Hour || life > 61*24*time.Hour {
		t.Errorf("the token is renewed after %v", life)
	}
	r.Renew = time.Now()
	value, err := json.Marshal(r)
	must(t, err)
	_, err = b.store.Put(t.Context(), store.Peers, customer.trunks["telco"].inboundKey(), value)
	must(t, err)
	_, stop = b.join()
	await(t, "another token", func() bool { return b.registration().Doc.Token != second.Doc.Token })
	b.call()
	stop()
	old, err := b.office.grants.find(t.Context(), second.Doc.Token)
	must(t, err)
	if left := time.Until(old.Expires); left > grantOverlap || left < grantOverlap-time.Hour {
		t.Errorf("the replaced token is good for %v", left)
	}
}

// TestCustomerByOAuth: without a token the provider asks the customer's
// authorisation server.
func TestCustomerByOAuth(t *testing.T) {
	t.Parallel()
	b := newBusiness(t)
	uri := "https://" + officeAuthority + pathTGPrefix + "telco"
	destinations := numbers(t, "+1202555010x")
	reg := &customer{Client: testClient, TG: "office", Doc: CustomerTG{URI: uri, Outbound: Outbound{Destinations: &destinations}}}
	must(t, b.server.customers.put(t.Context(), reg, 0))
	b.provider.trunks["office"].wake()
	b.office.tgs["telco"].peer.Store(&stir.Verifier{Trust: stir.Trust{Roots: b.cfg.Verifier.Roots}, Chain: b.chain}) // there is no client that learns it
	b.call()
}

// TestCustomerInside: a registration does not lead the provider into its own
// network.
func TestCustomerInside(t *testing.T) {
	t.Parallel()
	b := newBusiness(t)
	group := b.office.tgs["telco"]
	reg := &customer{Client: testClient, TG: "office", Doc: CustomerTG{
		URI: "https://inside.test/ript/v1/tgs/telco", Outbound: Outbound{Destinations: &group.cfg.Destinations},
		Token: secretToken, TokenExpires: time.Now().Add(time.Hour),
	}}
	must(t, b.server.customers.put(t.Context(), reg, 0))
	await(t, "the provider refuses", func() bool {
		err := b.provider.Ready("office")
		return err != nil && strings.Contains(err.Error(), "accept.hosts")
	})
	if err := b.provider.Ready("office"); strings.Contains(err.Error(), secretToken) {
		t.Error("the token is in the error")
	}
}
