package h3

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"riptide/bridge"
)

// authServer is what we use of an authorisation server's metadata (RFC 8414).
type authServer struct {
	Issuer        string `json:"issuer"`
	TokenEndpoint string `json:"token_endpoint"`
}

// How long documents are used when their server does not say, and at most.
const (
	defaultFresh = 5 * time.Minute
	minFresh     = 5 * time.Second
	maxFresh     = time.Hour
)

// maxTGs bounds a TG list.
const maxTGs = 1000

// discovery finds what a trunk needs to know from the one name it is given.
type discovery struct {
	requester
	connect *url.URL // origin of the authority
	prefer  string   // name of the TG to use, "" = the first
}

// parseConnect takes what an operator types: a domain, or an https URL.
func parseConnect(s string) (*url.URL, error) {
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := parseURI(s)
	if err != nil {
		return nil, fmt.Errorf("%w; want a domain such as telco.example, or https://host:port", err)
	}
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		return nil, fmt.Errorf("%q has a path: want a domain such as telco.example, or https://host:port", s)
	}
	return &url.URL{Scheme: "https", Host: u.Host}, nil
}

// wellKnown GETs a well-known URI and returns the reply and the URL it came
// from: the URI itself or where its one redirect pointed. follow false returns
// the redirect's target unread.
func (d *discovery) wellKnown(ctx context.Context, name string, follow bool) (reply, *url.URL, error) {
	at := d.connect.JoinPath(name)
	redirects := []int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect}
	also := append(redirects, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed)
	rep, err := d.Do(ctx, request{Method: http.MethodGet, URL: at.String()}, also...)
	if err != nil || !contains(redirects, rep.Status) {
		return rep, at, err
	}
	next, err := at.Parse(rep.Header.Get("Location"))
	if err == nil {
		next, err = parseURI(next.String())
	}
	if err != nil {
		return reply{}, nil, bridge.CausePeerError.With("trunk %q: %s redirects to an address we do not follow: %v", d.trunk, at, err)
	}
	if !follow {
		return reply{}, next, nil
	}
	rep, err = d.Do(ctx, request{Method: http.MethodGet, URL: next.String()})
	return rep, next, err
}

// Root finds the RIPT root: the well-known URI, or where it redirects to.
func (d *discovery) Root(ctx context.Context) (*url.URL, error) {
	_, root, err := d.wellKnown(ctx, wellKnownRIPT, false)
	if err != nil {
		return nil, fmt.Errorf("find RIPT root of %s: %w", d.connect.Host, err)
	}
	return root, nil
}

// AuthServer finds the authorisation server.
func (d *discovery) AuthServer(ctx context.Context) (authServer, error) {
	rep, at, err := d.wellKnown(ctx, wellKnownOAuth, true)
	if err == nil && rep.Status == http.StatusNotFound {
		rep, at, err = d.wellKnown(ctx, wellKnownAS, true)
	}
	if err != nil {
		return authServer{}, fmt.Errorf("find authorisation server of %s: %w", d.connect.Host, err)
	}
	if rep.Status != http.StatusOK {
		return authServer{}, bridge.CausePeerError.With("trunk %q: %s answered %d, no authorisation server is announced", d.trunk, at, rep.Status)
	}
	return d.parseAuthServer(rep.Body, at)
}

func (d *discovery) parseAuthServer(body []byte, at *url.URL) (authServer, error) {
	as, err := decode[authServer](d.trunk, "authorisation server metadata", at.String(), body)
	if err != nil {
		return authServer{}, err
	}
	// RFC 8414 section 3.3 wants the issuer to be where the document is; the
	// assertion we send must not serve at any other server.
	_, issuerErr := sameSite(as.Issuer, at)
	_, tokenErr := sameSite(as.TokenEndpoint, at)
	if err := errors.Join(issuerErr, tokenErr); err != nil {
		return authServer{}, bridge.CausePeerError.With("trunk %q: authorisation server metadata at %s: %v", d.trunk, at, err)
	}
	return as, nil
}

// ChooseTG reads the list of TGs and chooses ours.
func (d *discovery) ChooseTG(ctx context.Context, root *url.URL) (*url.URL, error) {
	q := request{Method: http.MethodGet, URL: root.JoinPath(pathTGs).String()}
	rep, err := d.Do(ctx, q)
	if tokenRefused(err) {
		// The list may differ by client: then it wants to know who asks.
		q.Resource = root.String()
		rep, err = d.Do(ctx, q)
	}
	if err != nil {
		return nil, fmt.Errorf("list TGs: %w", err)
	}
	list, err := decode[TGList](d.trunk, "TG list", q.URL, rep.Body)
	if err != nil {
		return nil, err
	}
	entry, err := chooseTG(list, d.prefer)
	if err != nil {
		return nil, bridge.CausePeerError.With("trunk %q: TG list at %s: %v", d.trunk, q.URL, err)
	}
	tg, err := sameSite(entry.URI, root)
	if err != nil {
		return nil, bridge.CausePeerError.With("trunk %q: TG list at %s: %v", d.trunk, q.URL, err)
	}
	return tg, nil
}

func chooseTG(list TGList, prefer string) (TGEntry, error) {
	if len(list.TGs) == 0 || len(list.TGs) > maxTGs {
		return TGEntry{}, fmt.Errorf("holds %d TGs, want 1 to %d", len(list.TGs), maxTGs)
	}
	if prefer == "" {
		return list.TGs[0], nil
	}
	var names []string
	for _, e := range list.TGs {
		if e.Name == prefer || path.Base(e.URI) == prefer {
			return e, nil
		}
		names = append(names, strconv.Quote(clip(cmp.Or(e.Name, e.URI), 64)))
	}
	return TGEntry{}, fmt.Errorf("no TG %q; there are %s", prefer, strings.Join(names[:min(8, len(names))], ", "))
}

// tgDocument is a TG with what caching needs.
type tgDocument struct {
	TG
	ETag  string
	Fresh time.Duration // how long to use it
}

// ReadTG GETs the TG, or confirms that old still holds.
func (d *discovery) ReadTG(ctx context.Context, tg *url.URL, old *tgDocument) (*tgDocument, error) {
	q := request{Method: http.MethodGet, URL: tg.String(), Resource: tg.String(), Header: map[string]string{}}
	if old != nil && old.ETag != "" {
		q.Header["If-None-Match"] = old.ETag
	}
	rep, err := d.Do(ctx, q, http.StatusNotModified)
	if err != nil {
		return nil, fmt.Errorf("read TG: %w", err)
	}
	if rep.Status == http.StatusNotModified {
		if old == nil {
			return nil, bridge.CausePeerError.With("trunk %q: GET %s: 304 to a request without If-None-Match", d.trunk, tg)
		}
		doc := *old
		doc.Fresh = freshFor(rep.Header)
		return &doc, nil
	}
	var doc tgDocument
	if err := json.Unmarshal(rep.Body, &doc.TG); err != nil {
		return nil, bridge.CausePeerError.With("trunk %q: TG document at %s: %v", d.trunk, tg, err)
	}
	doc.Fresh = freshFor(rep.Header)
	if etag := rep.Header.Get("ETag"); len(etag) <= 256 {
		doc.ETag = etag
	}
	return &doc, nil
}

// freshFor is how long a document may be used, by its Cache-Control.
func freshFor(h http.Header) time.Duration {
	if age := maxAge(h); age > 0 {
		return min(max(age, minFresh), maxFresh)
	}
	return defaultFresh
}

// maxAge reads max-age of Cache-Control; 0 if it is not there.
func maxAge(h http.Header) time.Duration {
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		if strings.EqualFold(name, "max-age") {
			seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
			if err != nil {
				return 0
			}
			return time.Duration(seconds) * time.Second
		}
	}
	return 0
}

// Shortest and longest pause between attempts to get a trunk ready. The first
// is a rule of the drafts ("TG Construction": lower values are rounded up).
const (
	minBackoff = 2 * time.Second
	maxBackoff = time.Minute
)

// backoff of the failures-th failure in a row, from 1.
func (t TG) backoff(failures int) time.Duration {
	ms := min(max(int64(t.RetryBackoff), minBackoff.Milliseconds()), maxRetryAfter.Milliseconds())
	first := time.Duration(ms) * time.Millisecond
	return min(first<<min(max(failures-1, 0), 10), max(first, maxBackoff))
}
