package conform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"riptide/policy"
	"riptide/policy/stir"
)

// discoveryChecks judge what a client reads before anything else.
var discoveryChecks = []check{
	{reqs: "1", did: "GET /.well-known/ript-oauth, and on to the metadata", run: oauthBootstrap},
	{reqs: "2", did: "GET /.well-known/ript", run: func(ctx context.Context, p *Probe) error {
		_, err := p.rootURI(ctx)
		return err
	}},
	{reqs: "4 5", did: "GET providertgs", run: listsTGs},
	{reqs: "7", did: "GET the TG", run: func(ctx context.Context, p *Probe) error {
		d, err := p.tg(ctx)
		if err == nil && d.URI != d.uri {
			err = fmt.Errorf("its member uri is %q, it was read at %s", d.URI, d.uri)
		}
		return err
	}},
	{reqs: "8", did: "looked for outbound", run: withTG(func(d *tgDocument) error {
		if d.Outbound == nil {
			return errors.New("the document has no member outbound")
		}
		return nil
	})},
	{reqs: "9 11", did: "compared origins with whether certs is offered", run: originsAsOffered},
	{reqs: "10 A15", did: "read the certificates in origins", run: originsAreCertificates},
	{reqs: "12", did: "called a number nobody would take", run: destinationsTold},
	{reqs: "A13", did: "read destinations", run: destinationsGrammar},
	{reqs: "13 A6", did: "read retry-backoff", run: withTG(func(d *tgDocument) error {
		if d.RetryBackoff != nil && *d.RetryBackoff < 2000 {
			return fmt.Errorf("retry-backoff is %d", *d.RetryBackoff)
		}
		return nil
	})},
	{reqs: "14", did: "read media-timeout", run: withTG(func(d *tgDocument) error {
		if d.MediaTimeout != nil && *d.MediaTimeout < 1000 {
			return fmt.Errorf("media-timeout is %d ms: acknowledgements may be silent for 1 s", *d.MediaTimeout)
		}
		return nil
	})},
	{reqs: "A62", did: "read what the TG document tunes", run: tuning},
	{reqs: "A5", did: "GET the TG again with its ETag, and with another", run: revalidates},
}

// withTG makes a check of what a TG document has to say.
func withTG(f func(*tgDocument) error) func(context.Context, *Probe) error {
	return func(ctx context.Context, p *Probe) error {
		d, err := p.tg(ctx)
		if err != nil {
			return err
		}
		return f(d)
	}
}

func oauthBootstrap(ctx context.Context, p *Probe) error {
	if p.opt.Token != "" {
		return skip("a token was given, so there is no login to look at")
	}
	as, err := p.authorisation(ctx)
	if err != nil {
		return err
	}
	if as.Issuer == "" {
		return errors.New("the metadata has no issuer")
	}
	d, err := p.tg(ctx)
	if err != nil {
		return err
	}
	_, err = p.token(ctx, d.uri)
	return err
}

func listsTGs(ctx context.Context, p *Probe) error {
	l, err := p.tgs(ctx)
	if err != nil {
		return err
	}
	if len(l.TGs) == 0 {
		return errors.New("the list is empty")
	}
	for _, tg := range l.TGs {
		if _, err := absolute(tg.URI); err != nil {
			return err
		}
	}
	return nil
}

func originsAsOffered(ctx context.Context, p *Probe) error {
	d, err := p.tg(ctx)
	if err != nil {
		return err
	}
	offered, err := p.offersCerts(ctx)
	switch has := d.out.Origins != nil && *d.out.Origins != ""; {
	case err != nil:
		return err
	case offered && !has:
		return errors.New("the server issues certificates, and its TG has no origins")
	case !offered && has:
		return errors.New("the TG has origins, and the server issues no certificates")
	}
	return nil
}

func originsAreCertificates(ctx context.Context, p *Probe) error {
	d, err := p.tg(ctx)
	if err != nil {
		return err
	}
	if d.out.Origins == nil {
		return skip("the server vouches for nobody: there are no origins")
	}
	if !strings.Contains(*d.out.Origins, "-----BEGIN CERTIFICATE-----") {
		return errors.New("origins is not PEM")
	}
	chain, err := stir.ParseChain([]byte(*d.out.Origins))
	if err != nil {
		return fmt.Errorf("origins: %w", err)
	}
	numbers, err := stir.NumbersOf(chain[0])
	if err != nil {
		return fmt.Errorf("origins: %w", err)
	}
	from, err := p.from(ctx)
	if err != nil {
		return err
	}
	if len(numbers) > 0 && !numbers.Covers(policy.Number(from)) && !chain[0].IsCA {
		return fmt.Errorf("origins does not cover %s, which the TG says it vouches for", from)
	}
	for _, n := range d.out.OriginNumbers {
		if _, err := policy.ParsePattern(n); err != nil {
			return fmt.Errorf("originNumbers: %w", err)
		}
	}
	return nil
}

// farAway is a number that no peer should have among its destinations.
const farAway = "+99912345678"

func destinationsTold(ctx context.Context, p *Probe) error {
	d, err := p.tg(ctx)
	if err != nil {
		return err
	}
	if d.out.Destinations != nil {
		return nil // whether it tells the truth, requirement 50 shows
	}
	r, err := p.post(ctx, dialled{to: farAway})
	if err != nil {
		return err
	}
	if r.status == http.StatusForbidden {
		return fmt.Errorf("the TG has no destinations, and refuses %s with 403", farAway)
	}
	return nil
}

func destinationsGrammar(ctx context.Context, p *Probe) error {
	d, err := p.tg(ctx)
	if err != nil {
		return err
	}
	if d.out.Destinations == nil {
		return nil // every one
	}
	var asText string
	var asList []string
	var asSet struct {
		Allow  []string `json:"allow"`
		Except []string `json:"except"`
	}
	raw := []byte(d.out.Destinations)
	switch {
	case json.Unmarshal(raw, &asText) == nil:
		asList = []string{asText}
	case json.Unmarshal(raw, &asList) == nil:
	case json.Unmarshal(raw, &asSet) == nil:
		asList = append(asSet.Allow, asSet.Except...)
	default:
		return fmt.Errorf("destinations %s is neither a pattern nor an array nor an object with allow and except", clip(string(raw), 80))
	}
	for _, s := range asList {
		if _, err := policy.ParsePattern(s); err != nil {
			return fmt.Errorf("destinations: %w", err)
		}
	}
	return nil
}

func tuning(ctx context.Context, p *Probe) error {
	d, err := p.tg(ctx)
	if err != nil {
		return err
	}
	m, err := d.members()
	if err != nil {
		return err
	}
	for _, name := range []string{"retry-backoff", "media-timeout", "keepalive", "parked-gets", "profile"} {
		if v, ok := m[name]; ok {
			if n, ok := v.(float64); !ok || n <= 0 || n != float64(int(n)) {
				return fmt.Errorf("%s is %v, want a positive integer", name, v)
			}
		}
	}
	if d.Profile == nil || *d.Profile != 1 {
		return errors.New("profile is not 1")
	}
	if !d.has(carrierPutGet) {
		return errors.New("media does not list put-get, which every server has")
	}
	return nil
}

func revalidates(ctx context.Context, p *Probe) error {
	d, err := p.tg(ctx)
	if err != nil {
		return err
	}
	etag := d.header.Get("ETag")
	switch {
	case etag == "":
		return errors.New("the TG document has no ETag")
	case !strings.Contains(d.header.Get("Cache-Control"), "private"):
		return fmt.Errorf("Cache-Control is %q: the document is the client's own, want private", d.header.Get("Cache-Control"))
	case !strings.Contains(d.header.Get("Vary"), "Authorization"):
		return fmt.Errorf("Vary is %q, want Authorization in it", d.header.Get("Vary"))
	}
	again, err := p.asTG(ctx, request{method: http.MethodGet, url: d.uri, header: map[string]string{"If-None-Match": etag}})
	if err != nil {
		return err
	}
	if err := again.is(http.StatusNotModified); err != nil {
		return fmt.Errorf("with its own ETag: %w", err)
	}
	if len(again.body) > 0 {
		return errors.New("the 304 has a body")
	}
	other, err := p.asTG(ctx, request{method: http.MethodGet, url: d.uri, header: map[string]string{"If-None-Match": `"another"`}})
	if err != nil {
		return err
	}
	if err := other.is(http.StatusOK); err != nil {
		return fmt.Errorf("with another ETag: %w", err)
	}
	if !bytes.Equal(other.body, d.body) && other.header.Get("ETag") == etag {
		return errors.New("the ETag is the same, the document is not")
	}
	l, err := p.tgs(ctx)
	if err == nil && l.header.Get("ETag") == etag && !bytes.Equal(l.body, d.body) {
		return errors.New("the list of TGs and the TG have the same ETag")
	}
	return err
}
