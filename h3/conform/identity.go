package conform

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"

	"riptide/policy"
	"riptide/policy/stir"
)

// Signer signs PASSporTs, and whatever else it is told to.
type Signer struct {
	Key *ecdsa.PrivateKey
	X5U string // where the chain of the key's certificate is published
}

// passport says what a PASSporT claims. Empty fields are as they should be.
type passport struct {
	from, to string
	x5u      string
	at       time.Time
	attest   string
}

func (s *Signer) sign(c passport) (string, error) {
	if c.x5u == "" {
		c.x5u = s.X5U
	}
	if c.at.IsZero() {
		c.at = time.Now()
	}
	if c.attest == "" {
		c.attest = "A"
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: s.Key},
		(&jose.SignerOptions{}).WithType("passport").WithHeader("ppt", "shaken").WithHeader("x5u", c.x5u))
	if err != nil {
		return "", fmt.Errorf("sign PASSporT: %w", err)
	}
	claims, err := json.Marshal(map[string]any{
		"attest": c.attest, "dest": destOf(c.to), "iat": c.at.Unix(), "orig": origOf(c.from), "origid": uuid.NewString(),
	})
	if err != nil {
		return "", fmt.Errorf("sign PASSporT: %w", err)
	}
	jws, err := signer.Sign(claims)
	if err != nil {
		return "", fmt.Errorf("sign PASSporT: %w", err)
	}
	return jws.CompactSerialize()
}

// PASSporTs write numbers without their plus, and addresses as URIs.
func origOf(n string) map[string]any {
	if strings.Contains(n, "@") {
		return map[string]any{"uri": "sip:" + n}
	}
	return map[string]any{"tn": strings.TrimPrefix(n, "+")}
}

func destOf(n string) map[string]any {
	if strings.Contains(n, "@") {
		return map[string]any{"uri": []string{"sip:" + n}}
	}
	return map[string]any{"tn": []string{strings.TrimPrefix(n, "+")}}
}

// forge changes a signature where every bit counts.
func forge(token string) string {
	at := strings.LastIndexByte(token, '.') + 20
	by := "A"
	if token[at] == 'A' {
		by = "B"
	}
	return token[:at] + by + token[at+1:]
}

// enrolment is what came of asking for a certificate.
type enrolment struct {
	reply
	key   *ecdsa.PrivateKey
	chain []*x509.Certificate
	x5u   string
	via   string // where x5u was found
}

var errNoCerts = errors.New("the server issues no certificates")

// offersCerts tells whether the server vouches for callers: certs takes POST.
func (p *Probe) offersCerts(ctx context.Context) (bool, error) {
	return p.stir.get(func() (bool, error) {
		r, err := p.asTG(ctx, request{method: http.MethodPost, url: "/certs", kind: "application/pkcs10", body: []byte("certs?")})
		if err != nil {
			return false, err
		}
		return r.status != http.StatusNotFound && r.status != http.StatusMethodNotAllowed && r.status != http.StatusNotImplemented, nil
	})
}

// enrolled is a certificate for our caller, from the server.
func (p *Probe) enrolled(ctx context.Context) (*enrolment, error) {
	return p.enrol.get(func() (*enrolment, error) {
		if ok, err := p.offersCerts(ctx); err != nil {
			return nil, err
		} else if !ok {
			return nil, skip("%v", errNoCerts)
		}
		from, err := p.from(ctx)
		if err != nil {
			return nil, err
		}
		e, err := p.requestCert(ctx, from)
		if err != nil {
			return nil, err
		}
		if err := e.is(http.StatusOK); err != nil {
			return nil, fmt.Errorf("POST certs for %s: %w", from, err)
		}
		return e, e.read()
	})
}

// requestCert asks for a certificate for one number, and waits for one that is
// issued later.
func (p *Probe) requestCert(ctx context.Context, number string) (*enrolment, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	csr, err := stir.NewCSR(key, []policy.Pattern{policy.Pattern(number)})
	if err != nil {
		return nil, fmt.Errorf("make a certificate request: %w", err)
	}
	e := &enrolment{key: key}
	e.reply, err = p.asTG(ctx, request{method: http.MethodPost, url: "/certs", kind: "application/pkcs10", body: csr})
	for tries := 0; err == nil && e.status == http.StatusAccepted && tries < 10; tries++ {
		if err := pause(ctx, time.Second); err != nil {
			return nil, err
		}
		e.reply, err = p.asTG(ctx, request{method: http.MethodGet, url: e.header.Get("Location")})
	}
	return e, err
}

var linkX5U = regexp.MustCompile(`<([^<>]+)>\s*;[^,<>]*rel="?x5u"?`)

func (e *enrolment) read() error {
	var err error
	if e.chain, err = stir.ParseChain(e.body); err != nil {
		return fmt.Errorf("the 200 of POST certs holds no certificate chain: %w", err)
	}
	e.x5u, e.via = e.header.Get("Content-Location"), "Content-Location"
	if m := linkX5U.FindStringSubmatch(strings.Join(e.header.Values("Link"), ",")); m != nil {
		e.x5u, e.via = m[1], "Link"
	}
	if e.x5u == "" {
		return errors.New(`the 200 of POST certs does not say where the chain is published: no Link with rel="x5u" and no Content-Location`)
	}
	return nil
}

// identity is what signs our calls.
func (p *Probe) identity(ctx context.Context) (*Signer, error) {
	return p.signer.get(func() (*Signer, error) {
		if p.opt.Identity != nil {
			return p.opt.Identity, nil
		}
		e, err := p.enrolled(ctx)
		if err != nil {
			return nil, fmt.Errorf("no identity to call with (give --identity-key and --identity-x5u): %w", err)
		}
		return &Signer{Key: e.key, X5U: e.x5u}, nil
	})
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
