package h3

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"riptide/bridge"
	"riptide/bridge/store"
	"riptide/policy"
	"riptide/policy/stir"
)

// identity is a certificate enrolled at a trunk, ready to sign.
type identity struct {
	signer              *stir.Signer
	x5u                 string // where the peer publishes the chain
	chain               []byte // PEM, leaf first
	notBefore, notAfter time.Time
}

// due is when to enrol anew: at two thirds of the certificate's life, so that a
// peer may be away for the last third.
func (id *identity) due() time.Time {
	if id == nil {
		return time.Time{}
	}
	return id.notBefore.Add(id.notAfter.Sub(id.notBefore) / 3 * 2)
}

// enrolled is an identity as it stands in the store. The private key is sealed
// under a key derived from the trunk's client key: the store holds no secret
// by itself, and a cluster's nodes, which share the client key, share the
// certificate too.
type enrolled struct {
	Version int              `json:"v"`
	Trunk   string           `json:"trunk"`
	TG      string           `json:"tg"`
	Numbers []policy.Pattern `json:"numbers"`
	X5U     string           `json:"x5u"`
	Chain   string           `json:"chain"` // PEM, leaf first
	Sealed  []byte           `json:"key"`   // nonce and AES-256-GCM of the PKCS #8 form
}

// Limits of an enrolment.
const (
	maxIssuePolls = 10
	minIssueWait  = time.Second
	maxIssueWait  = 30 * time.Second
)

func (t *trunk) enrolKey() string { return "enrolled/" + hex.EncodeToString([]byte(t.cfg.Name)) }

// enrol returns the identity in the store while that is fresh, else asks the
// TG for a new one (core draft, "Certificate Enrollment") and stores it. anew
// asks in any case.
func (t *trunk) enrol(ctx context.Context, tg *url.URL, anew bool) (*identity, error) {
	id, err := t.stored(ctx, tg)
	if err != nil {
		return nil, err
	}
	if id != nil && !anew && t.client.cfg.Now().Before(id.due()) {
		return id, nil
	}
	if id != nil && t.client.cfg.Now().Before(id.notAfter) {
		t.learn(func(n *known) { n.identity = id }) // good enough while the peer is away
	}
	fresh, rec, err := t.request(ctx, tg)
	if err != nil {
		return nil, fmt.Errorf("enrol certificate for %v: %w", t.cfg.Numbers, err)
	}
	value, err := json.Marshal(rec)
	if err != nil {
		return nil, fmt.Errorf("trunk %q: encode enrolled certificate: %w", t.cfg.Name, err)
	}
	if _, err := t.client.cfg.Store.Put(ctx, store.Certificates, t.enrolKey(), value); err != nil {
		return nil, bridge.CauseStore.With("trunk %q: keep enrolled certificate: %v", t.cfg.Name, err)
	}
	return fresh, nil
}

// doubtPause bounds how often a refusal makes us enrol: the certificate that
// cannot be had may be that of another, whose PASSporT we relay.
const doubtPause = 10 * time.Minute

// republish gives the peer the chain that it cannot find: another node of its
// issued it, or it came up again with a new state directory. jar leads to the
// node that asked. false: the peer does not take it back, or the certificate is
// that of another, whose PASSporT we relay.
func (t *trunk) republish(ctx context.Context, id *identity, passport string, jar *cookieJar) bool {
	p, err := stir.ParsePassport(passport)
	if err != nil || id == nil || p.Header.X5U != id.x5u {
		return false
	}
	_, err = t.Do(ctx, request{Method: http.MethodPut, URL: id.x5u, Body: id.chain, ContentType: mediaPEM, Jar: jar})
	return err == nil
}

// doubt enrols anew because a call was refused for a certificate that cannot be
// fetched, and that the peer does not take back.
func (t *trunk) doubt(used *identity) {
	now := t.client.cfg.Now()
	t.learn(func(n *known) {
		if used != nil && n.identity == used && now.Sub(n.doubtedAt) >= doubtPause {
			n.doubted, n.doubtedAt = true, now
		}
	})
	t.wake()
}

// unfetched tells a refusal because a certificate could not be fetched.
func unfetched(err error) bool {
	var e *requestError
	return errors.As(err, &e) && e.Cause.Code == bridge.Code(stir.InfoUnavailable)
}

// stored reads the identity of an earlier run. One that cannot be used, for
// whatever reason, is none: enrolling anew is cheap.
func (t *trunk) stored(ctx context.Context, tg *url.URL) (*identity, error) {
	entry, err := t.client.cfg.Store.Get(ctx, store.Certificates, t.enrolKey())
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, bridge.CauseStore.With("trunk %q: read enrolled certificate: %v", t.cfg.Name, err)
	}
	var rec enrolled
	if json.Unmarshal(entry.Value, &rec) != nil || rec.Version != 1 || rec.Trunk != t.cfg.Name ||
		rec.TG != tg.String() || !slices.Equal(rec.Numbers, t.cfg.Numbers) {
		return nil, nil
	}
	der, err := t.unseal(rec.Sealed)
	if err != nil {
		return nil, nil // another client key
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, nil
	}
	id, err := newIdentity(signer, []byte(rec.Chain), rec.X5U)
	if err != nil {
		return nil, nil
	}
	return id, nil
}

func newIdentity(key crypto.Signer, chain []byte, x5u string) (*identity, error) {
	certs, err := stir.ParseChain(chain)
	if err != nil {
		return nil, err
	}
	signer, err := stir.NewSigner(key, certs, x5u)
	if err != nil {
		return nil, err
	}
	return &identity{signer: signer, x5u: x5u, chain: chain, notBefore: certs[0].NotBefore, notAfter: certs[0].NotAfter}, nil
}

// request makes a key and has the TG certify it.
func (t *trunk) request(ctx context.Context, tg *url.URL) (*identity, enrolled, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, enrolled{}, err
	}
	csr, err := stir.NewCSR(key, t.cfg.Numbers)
	if err != nil {
		return nil, enrolled{}, err
	}
	at, jar := tg.JoinPath("certs"), newCookieJar(bridge.Trace{})
	rep, err := t.Do(ctx, request{
		Method: http.MethodPost, URL: at.String(), Resource: tg.String(),
		Body: csr, ContentType: "application/pkcs10", Jar: jar,
		Header: map[string]string{"Accept": "application/pem-certificate-chain, application/problem+json"},
	})
	if err != nil {
		return nil, enrolled{}, err
	}
	if rep, err = t.awaitIssue(ctx, tg, at, jar, rep); err != nil {
		return nil, enrolled{}, err
	}
	x5u, err := x5uOf(rep, at, tg)
	if err != nil {
		return nil, enrolled{}, bridge.CausePeerError.With("trunk %q: POST %s: %v", t.cfg.Name, at, err)
	}
	id, err := newIdentity(key, rep.Body, x5u)
	if err != nil {
		return nil, enrolled{}, bridge.CausePeerError.With("trunk %q: certificate issued at %s: %v", t.cfg.Name, at, err)
	}
	if !t.client.cfg.Now().Before(id.due()) {
		return nil, enrolled{}, bridge.CausePeerError.With("trunk %q: certificate issued at %s is valid until %s only: check the clocks of both sides",
			t.cfg.Name, at, id.notAfter.Format(time.RFC3339))
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, enrolled{}, err
	}
	sealed, err := t.seal(der)
	if err != nil {
		return nil, enrolled{}, err
	}
	return id, enrolled{
		Version: 1, Trunk: t.cfg.Name, TG: tg.String(), Numbers: t.cfg.Numbers,
		X5U: x5u, Chain: string(bytes.TrimSpace(rep.Body)) + "\n", Sealed: sealed,
	}, nil
}

// awaitIssue follows a 202 until the certificate is there (20-protocol.md A.4-55),
// at the node that was asked for it.
func (t *trunk) awaitIssue(ctx context.Context, tg, at *url.URL, jar *cookieJar, rep reply) (reply, error) {
	for range maxIssuePolls {
		if rep.Status != http.StatusAccepted {
			return rep, nil
		}
		next, err := at.Parse(rep.Header.Get("Location"))
		if err == nil {
			next, err = sameSite(next.String(), tg)
		}
		if err != nil {
			return reply{}, bridge.CausePeerError.With("trunk %q: POST %s: 202 without a usable Location: %v", t.cfg.Name, at, err)
		}
		if !pause(ctx, min(max(retryAfter(rep.Header.Get("Retry-After")), minIssueWait), maxIssueWait)) {
			return reply{}, context.Cause(ctx)
		}
		rep, err = t.Do(ctx, request{Method: http.MethodGet, URL: next.String(), Resource: tg.String(), Jar: jar})
		if err != nil {
			return reply{}, err
		}
	}
	return reply{}, bridge.CausePeerTimeout.With("trunk %q: POST %s: the certificate is still not issued", t.cfg.Name, at)
}

// linkX5U finds the target of rel="x5u" in a Link field (RFC 8288).
var linkX5U = regexp.MustCompile(`<([^<>]+)>\s*;[^,<>]*rel="?x5u"?`)

// x5uOf is where the peer publishes the chain: what our PASSporTs point to.
// Peers say it in a Link with rel="x5u", in Content-Location or in Location.
func x5uOf(rep reply, at, tg *url.URL) (string, error) {
	ref := rep.Header.Get("Content-Location")
	if m := linkX5U.FindStringSubmatch(strings.Join(rep.Header.Values("Link"), ",")); m != nil {
		ref = m[1]
	}
	if ref == "" {
		ref = rep.Header.Get("Location")
	}
	if ref == "" {
		return "", errors.New(`no Link with rel="x5u" says where the certificate is published`)
	}
	u, err := at.Parse(ref)
	if err != nil {
		return "", fmt.Errorf("x5u %q: %w", clip(ref, 200), err)
	}
	if _, err := sameSite(u.String(), tg); err != nil {
		return "", fmt.Errorf("x5u: %w", err)
	}
	return u.String(), nil
}

// sign makes a PASSporT with the trunk's certificate.
func (t *trunk) sign(_ context.Context, from, to policy.Number, attestation string) (string, error) {
	k := t.snapshot()
	switch {
	case len(t.cfg.Numbers) == 0:
		return "", bridge.CauseIdentityMissing.With("trunk %q has no numbers, so no call can be signed for it: list them under the trunk's `numbers`", t.cfg.Name)
	case k.identity == nil:
		if err := t.ready(); err != nil {
			return "", err
		}
		return "", bridge.CauseUnreachable.With("trunk %q: no certificate for its numbers yet", t.cfg.Name)
	case !covers(t.cfg.Numbers, from):
		return "", bridge.CauseCaller.With("trunk %q: caller %s lies outside the numbers we may sign for, %v", t.cfg.Name, from, t.cfg.Numbers)
	}
	passport, err := k.identity.signer.Sign(stir.Call{From: from, To: to}, attestation, t.originID(), t.client.cfg.Now())
	switch {
	case errors.Is(err, stir.ErrNotCovered):
		return "", bridge.CauseCaller.With("trunk %q: %v", t.cfg.Name, err)
	case err != nil:
		return "", bridge.CauseInternal.With("trunk %q: %v", t.cfg.Name, err)
	}
	return passport, nil
}

// originID names where calls signed for this trunk come from (RFC 8588 section
// 5): always the same, and opaque to others.
func (t *trunk) originID() string {
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte("riptide origin "+t.client.cfg.HandlerID+" "+t.cfg.Name)).String()
}

func covers(patterns []policy.Pattern, n policy.Number) bool {
	return policy.NumberSet{Allow: patterns}.Covers(n)
}

// sealer seals the enrolled key under one derived from the client key.
func (t *trunk) sealer() (sealer, error) {
	secret, err := t.cfg.Key.key.Bytes()
	if err != nil {
		return sealer{}, fmt.Errorf("trunk %q: client key: %w", t.cfg.Name, err)
	}
	key, err := hkdf.Key(sha256.New, secret, nil, "riptide enrolled STIR key v1", 32)
	if err != nil {
		return sealer{}, fmt.Errorf("trunk %q: derive sealing key: %w", t.cfg.Name, err)
	}
	return newSealer(key)
}

// seal and unseal keep the trunk's private keys from who reads the store.
func (t *trunk) seal(plain []byte) ([]byte, error) {
	s, err := t.sealer()
	if err != nil {
		return nil, err
	}
	return s.seal(plain, t.cfg.Name)
}

func (t *trunk) unseal(sealed []byte) ([]byte, error) {
	s, err := t.sealer()
	if err != nil {
		return nil, err
	}
	return s.open(sealed, t.cfg.Name)
}
