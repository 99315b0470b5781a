package conform

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// identityChecks judge whether the server believes callers whom it must not.
var identityChecks = []check{
	{reqs: "53", did: "placed calls with PASSporTs that are forged or none", run: refusesForged},
	{reqs: "54", did: "placed calls with PASSporTs of other calls and other callers", run: refusesMismatched},
	{reqs: "A52", did: "placed a call without PASSporT", run: func(ctx context.Context, p *Probe) error {
		return p.refusesPassport(ctx, "none at all", dialled{more: map[string]any{"passport": ""}})
	}},
	{reqs: "A53", did: "placed calls with PASSporTs of yesterday and tomorrow", run: refusesStale},
	{reqs: "A63", did: "placed calls whose x5u must not be fetched", run: refusesSSRF},
}

// refusesPassport places a call that must be refused because of who calls.
func (p *Probe) refusesPassport(ctx context.Context, what string, d dialled) error {
	r, err := p.post(ctx, d)
	if err != nil {
		return err
	}
	if err := r.refused(http.StatusForbidden, http.StatusBadRequest, http.StatusFailedDependency, http.StatusPreconditionRequired); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if d.passport != "" && strings.Contains(string(r.body), d.passport) {
		return fmt.Errorf("%s: the problem repeats the PASSporT", what)
	}
	return nil
}

// passportOf signs for our call with changes.
func (p *Probe) passportOf(ctx context.Context, change func(*passport)) (string, *Signer, error) {
	s, err := p.identity(ctx)
	if err != nil {
		return "", nil, err
	}
	from, err := p.from(ctx)
	if err != nil {
		return "", nil, err
	}
	to, err := p.to(ctx)
	if err != nil {
		return "", nil, err
	}
	c := passport{from: from, to: to}
	if change != nil {
		change(&c)
	}
	token, err := s.sign(c)
	return token, s, err
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return key, nil
}

func refusesForged(ctx context.Context, p *Probe) error {
	good, s, err := p.passportOf(ctx, nil)
	if err != nil {
		return err
	}
	if err := p.refusesPassport(ctx, "a changed signature", dialled{passport: forge(good)}); err != nil {
		return err
	}
	if err := p.refusesPassport(ctx, "no JWS", dialled{passport: "eyJ0ZXN0IjoxfQ"}); err != nil {
		return err
	}
	key, err := newKey()
	if err != nil {
		return err
	}
	from, err := p.from(ctx)
	if err != nil {
		return err
	}
	to, err := p.to(ctx)
	if err != nil {
		return err
	}
	stranger, err := (&Signer{Key: key, X5U: s.X5U}).sign(passport{from: from, to: to})
	if err != nil {
		return err
	}
	return p.refusesPassport(ctx, "signed by another key than the certificate's", dialled{passport: stranger})
}

func refusesMismatched(ctx context.Context, p *Probe) error {
	for what, change := range map[string]func(*passport){
		"for another destination":     func(c *passport) { c.to = farAway },
		"by a caller not covered":     func(c *passport) { c.from = farAway },
		"by the called party himself": func(c *passport) { c.from, c.to = farAway, farAway },
	} {
		token, _, err := p.passportOf(ctx, change)
		if err != nil {
			return err
		}
		if err := p.refusesPassport(ctx, "a PASSporT "+what, dialled{passport: token}); err != nil {
			return err
		}
	}
	return nil
}

func refusesStale(ctx context.Context, p *Probe) error {
	for what, shift := range map[string]time.Duration{"of yesterday": -24 * time.Hour, "of five minutes ago": -5 * time.Minute, "of tomorrow": 24 * time.Hour} {
		token, _, err := p.passportOf(ctx, func(c *passport) { c.at = time.Now().Add(shift) })
		if err != nil {
			return err
		}
		if err := p.refusesPassport(ctx, "a PASSporT "+what, dialled{passport: token}); err != nil {
			return err
		}
	}
	return nil
}

func refusesSSRF(ctx context.Context, p *Probe) error {
	for _, x5u := range []string{
		"http://conform.example/cert.pem", "https://10.255.255.1/cert.pem", "https://[::1]:1/cert.pem", "file:///etc/passwd", "https://user:pw@conform.example/c.pem",
	} {
		token, _, err := p.passportOf(ctx, func(c *passport) { c.x5u = x5u })
		if err != nil {
			return err
		}
		began := time.Now()
		if err := p.refusesPassport(ctx, "x5u "+x5u, dialled{passport: token}); err != nil {
			return err
		}
		// Whoever asks a private address waits for it.
		if took := time.Since(began); took > 3*time.Second {
			return fmt.Errorf("x5u %s: the refusal took %v: was it fetched?", x5u, took.Round(time.Second))
		}
	}
	return nil
}
