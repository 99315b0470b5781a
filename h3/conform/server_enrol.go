package conform

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"riptide/policy"
	"riptide/policy/stir"
)

// enrolChecks judge how callers get their certificates.
var enrolChecks = []check{
	{reqs: "40", did: "POST certs", run: func(ctx context.Context, p *Probe) error {
		d, err := p.tg(ctx)
		if err != nil {
			return err
		}
		ok, err := p.offersCerts(ctx)
		if err == nil && !ok {
			if d.out.Origins == nil {
				return skip("the server vouches for nobody")
			}
			return errors.New("the TG has origins, and certs is not there")
		}
		return err
	}},
	{reqs: "42", did: "POST certs with what is no certificate request", run: refusesBadRequests},
	{reqs: "43", did: "asked for a certificate for a number that is not ours", run: refusesStrangersNumbers},
	{reqs: "44 A55", did: "asked for a certificate for our caller", run: issues},
	{reqs: "A54", did: "fetched the chain where x5u says it is", run: publishes},
}

func refusesBadRequests(ctx context.Context, p *Probe) error {
	if _, err := p.enrolled(ctx); err != nil {
		return err
	}
	for name, body := range map[string][]byte{"text": []byte("this is no certificate request"), "nothing": {}, "DER of something else": {0x30, 0x03, 0x02, 0x01, 0x05}} {
		r, err := p.asTG(ctx, request{method: http.MethodPost, url: "/certs", kind: "application/pkcs10", body: body})
		if err != nil {
			return err
		}
		if err := r.refused(http.StatusBadRequest, http.StatusUnprocessableEntity); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	// The signature is what proves that the key is the client's.
	from, err := p.from(ctx)
	if err != nil {
		return err
	}
	key, err := newKey()
	if err != nil {
		return err
	}
	csr, err := stir.NewCSR(key, []policy.Pattern{policy.Pattern(from)})
	if err != nil {
		return err
	}
	csr[len(csr)-3] ^= 0x55
	r, err := p.asTG(ctx, request{method: http.MethodPost, url: "/certs", kind: "application/pkcs10", body: csr})
	if err != nil {
		return err
	}
	if err := r.refused(http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusForbidden); err != nil {
		return fmt.Errorf("a forged signature: %w", err)
	}
	return nil
}

func refusesStrangersNumbers(ctx context.Context, p *Probe) error {
	if _, err := p.enrolled(ctx); err != nil {
		return err
	}
	e, err := p.requestCert(ctx, farAway)
	if err != nil {
		return err
	}
	if err := e.refused(http.StatusForbidden); err != nil {
		return fmt.Errorf("for %s: %w", farAway, err)
	}
	return nil
}

func issues(ctx context.Context, p *Probe) error {
	e, err := p.enrolled(ctx)
	if err != nil {
		return err
	}
	from, err := p.from(ctx)
	if err != nil {
		return err
	}
	public, ok := e.chain[0].PublicKey.(*ecdsa.PublicKey)
	if !ok || !public.Equal(e.key.Public()) {
		return errors.New("the certificate is not for the key of the request")
	}
	numbers, err := stir.NumbersOf(e.chain[0])
	if err != nil {
		return fmt.Errorf("the certificate: %w", err)
	}
	if !numbers.Covers(policy.Number(from)) {
		return fmt.Errorf("the certificate covers %s, not %s", numbers, from)
	}
	if numbers.Covers(farAway) {
		return fmt.Errorf("the certificate covers %s, more than was asked for", numbers)
	}
	return nil
}

func publishes(ctx context.Context, p *Probe) error {
	e, err := p.enrolled(ctx)
	if err != nil {
		return err
	}
	u, err := url.Parse(e.x5u)
	if err != nil || u.Scheme != "https" || u.Host != p.base.Host {
		return fmt.Errorf("x5u %q (of %s) is not below https://%s", clip(e.x5u, 120), e.via, p.base.Host)
	}
	r, err := p.do(ctx, request{method: http.MethodGet, url: e.x5u}) // public: verifiers have no token
	if err != nil {
		return err
	}
	if err := r.is(http.StatusOK); err != nil {
		return fmt.Errorf("GET %s without a token: %w", shortURL(e.x5u), err)
	}
	chain, err := stir.ParseChain(r.body)
	if err != nil {
		return fmt.Errorf("GET %s: %w", shortURL(e.x5u), err)
	}
	if !bytes.Equal(chain[0].Raw, e.chain[0].Raw) {
		return errors.New("what is published is another certificate")
	}
	if cc := r.header.Get("Cache-Control"); strings.Contains(cc, "no-store") || !strings.Contains(cc, "max-age") {
		return fmt.Errorf("Cache-Control is %q: every verifier would fetch it for every call", cc)
	}
	return nil
}
