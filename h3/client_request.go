package h3

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"riptide/bridge"
)

// requestTimeout bounds a request whose response is a document.
const requestTimeout = 8 * time.Second

// request is one request to the peer of a trunk.
type request struct {
	Method      string
	URL         string
	Resource    string // URI the access token is for; "" = send none
	Body        []byte
	ContentType string
	Header      map[string]string
	Jar         *cookieJar
}

// reply is the whole response to a request.
type reply struct {
	Status int
	Header http.Header
	Body   []byte
}

// requester sends the requests of one trunk: with its token, over its pool, and
// with errors that say which trunk and URL they are about.
type requester struct {
	trunk  string
	pool   *pool
	tokens *tokenSource
}

// Do sends a request and reads its response. Anything but a 2xx, or a status
// among also, is a *requestError. A token the peer calls expired or invalid is
// replaced, and the request sent once more.
func (r *requester) Do(ctx context.Context, q request, also ...int) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	rep, token, err := r.once(ctx, q, also)
	if tokenRefused(err) && token != "" {
		r.tokens.Forget(q.Resource, token)
		rep, _, err = r.once(ctx, q, also)
	}
	return rep, err
}

func (r *requester) once(ctx context.Context, q request, also []int) (reply, string, error) {
	req, token, err := r.build(ctx, q)
	if err != nil {
		return reply{}, "", err
	}
	resp, err := r.send(req, q.Jar)
	if err != nil {
		return reply{}, token, err
	}
	defer resp.Body.Close()
	body, err := readLimited(resp.Body, maxBody)
	if err != nil {
		return reply{}, token, r.fail(req, fmt.Errorf("read response: %w", err))
	}
	if resp.StatusCode/100 == 2 || contains(also, resp.StatusCode) {
		return reply{resp.StatusCode, resp.Header, body}, token, nil
	}
	return reply{}, token, r.refuse(req, resp, body)
}

// Stream sends a request whose bodies are streams, and returns when the
// response's headers are here. The caller closes its body.
func (r *requester) Stream(ctx context.Context, q request, body io.ReadCloser) (*http.Response, error) {
	req, token, err := r.build(ctx, q)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Body, req.ContentLength, req.GetBody = body, -1, nil
	}
	// RFC 10036: asks intermediaries not to hold bodies back.
	req.Header.Set("Incremental", "?1")
	resp, err := r.send(req, q.Jar)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusUnauthorized && token != "" {
		r.tokens.Forget(q.Resource, token) // the next attempt has a fresh one
	}
	text, _ := readLimited(resp.Body, maxBody)
	return nil, r.refuse(req, resp, text)
}

func (r *requester) build(ctx context.Context, q request) (*http.Request, string, error) {
	var body io.Reader
	if q.Body != nil {
		body = bytes.NewReader(q.Body)
	}
	req, err := http.NewRequestWithContext(ctx, q.Method, q.URL, body)
	if err != nil {
		return nil, "", fmt.Errorf("trunk %q: %w", r.trunk, err)
	}
	req.Header.Set("Accept", "application/json, application/problem+json")
	if q.ContentType != "" {
		req.Header.Set("Content-Type", q.ContentType)
	}
	for name, value := range q.Header {
		req.Header.Set(name, value)
	}
	if q.Jar != nil {
		q.Jar.Apply(req)
	}
	if q.Resource == "" {
		return req, "", nil
	}
	token, err := r.tokens.Token(ctx, q.Resource)
	if err != nil {
		return nil, "", err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return req, token, nil
}

func (r *requester) send(req *http.Request, jar *cookieJar) (*http.Response, error) {
	resp, err := r.pool.Do(req)
	if err != nil {
		return nil, r.fail(req, err)
	}
	if jar != nil {
		jar.Learn(req.URL, resp)
	}
	return resp, nil
}

func (r *requester) fail(req *http.Request, err error) error {
	return &requestError{
		Trunk: r.trunk, Method: req.Method, URL: req.URL.String(),
		Cause: transportCause(err), Err: err,
	}
}

func (r *requester) refuse(req *http.Request, resp *http.Response, body []byte) error {
	p, c := refusal(resp, body)
	return &requestError{
		Trunk: r.trunk, Method: req.Method, URL: req.URL.String(),
		Status: resp.StatusCode, Problem: p, Cause: c,
	}
}

// errTooBig is what readLimited returns past its limit.
var errTooBig = errors.New("body too large")

func readLimited(body io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%w: more than %d bytes", errTooBig, limit)
	}
	return b, nil
}

// decode reads a JSON document of the peer.
func decode[T any](trunk, what, from string, body []byte) (T, error) {
	var v T
	if err := json.Unmarshal(body, &v); err != nil {
		return v, bridge.CausePeerError.With("trunk %q: %s at %s is not what it should be: %v", trunk, what, from, err)
	}
	return v, nil
}

// parseURI takes an absolute https URI without credentials or fragment, as all
// of RIPT's are.
func parseURI(s string) (*url.URL, error) {
	const maxURI = 2 << 10
	if len(s) > maxURI {
		return nil, fmt.Errorf("URI longer than %d bytes", maxURI)
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not an absolute https URI", s)
	}
	return u, nil
}

// sameSite parses a URI that a peer gave us and refuses to be led elsewhere.
func sameSite(s string, home *url.URL) (*url.URL, error) {
	u, err := parseURI(s)
	if err != nil {
		return nil, err
	}
	if site(u) != site(home) {
		return nil, fmt.Errorf("%s lies outside %s: our token is not sent there", s, site(home))
	}
	return u, nil
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}

func contains(list []int, status int) bool {
	for _, s := range list {
		if s == status {
			return true
		}
	}
	return false
}
