package h3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"riptide/bridge"
)

// requestError is what became of a request that did not succeed: a refusal by
// the peer, or none at all. It carries the cause for the call it was for.
type requestError struct {
	Trunk, Method, URL string
	Status             int // 0: no response
	Problem            Problem
	Cause              bridge.Cause
	Err                error // without a response: why
}

func (e *requestError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "trunk %q: %s %s: ", e.Trunk, e.Method, e.URL)
	if e.Status == 0 {
		fmt.Fprint(&b, e.Err)
	} else {
		fmt.Fprintf(&b, "%d %s: %s", e.Status, http.StatusText(e.Status), e.Cause.Code)
		if e.Problem.Detail != "" {
			fmt.Fprintf(&b, ": %s", e.Problem.Detail)
		}
	}
	if h := hint(e.Cause.Code); h != "" {
		fmt.Fprintf(&b, " (%s)", h)
	}
	return b.String()
}

func (e *requestError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Cause}
	}
	return []error{e.Cause, e.Err}
}

// hint says what mends a failure, where that is known.
func hint(code bridge.Code) string {
	switch code {
	case "tls-untrusted":
		return "name the CA that issued the peer's certificate under the trunk's `roots`"
	case "token-missing", "token-invalid", "token-audience", "token-scope":
		return "check the trunk's client id, and that the peer has the public half of our client key"
	case "token-expired":
		return "check the clocks of both sides"
	case "unreachable", "peer-timeout":
		return "check the trunk's `connect`, and that UDP and TCP to that port pass the firewall"
	case "identity-number-not-covered", "caller-forbidden":
		return "the caller's number must lie in the trunk's numbers, which the peer must have assigned to us"
	}
	return ""
}

// untrusted tells a peer that has shown a certificate we do not accept.
func untrusted(err error) bool {
	var verify *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &verify) || errors.As(err, &unknown) || errors.As(err, &name) || errors.As(err, &invalid)
}

// errConnect marks failures to get a connection at all.
var errConnect = errors.New("no connection")

// transportCause is the cause of a request that got no response.
func transportCause(err error) bridge.Cause {
	switch {
	case untrusted(err):
		return bridge.CauseUntrustedTLS
	case errors.Is(err, errPoolClosed):
		return bridge.CauseShuttingDown
	case errors.Is(err, errConnect):
		return bridge.CauseUnreachable
	case errors.Is(err, context.Canceled):
		return bridge.CauseCancelled
	case errors.Is(err, context.DeadlineExceeded):
		return bridge.CausePeerTimeout
	}
	return bridge.CauseUnreachable
}

// refusal reads the error of a response. body is at most maxBody bytes.
func refusal(resp *http.Response, body []byte) (Problem, bridge.Cause) {
	var p Problem
	if strings.Contains(resp.Header.Get("Content-Type"), "json") {
		_ = json.Unmarshal(body, &p) // one that is no problem is judged by its status
	}
	p.Title, p.Detail = phrase(p.Title), phrase(p.Detail)
	r := p.Reason
	if r == nil {
		r = &Reason{}
	}
	code := r.Code
	if _, rest, ok := strings.Cut(p.Type, pathProblems); ok && code == "" {
		code = bridge.Code(path.Base(rest))
	}
	c := bridge.CauseFromRIPT("", code, resp.StatusCode, r.SIP, r.Q850)
	if code == "" {
		c.Code = challengeCode(resp, c.Code)
	}
	c.RetryAfter = retryAfter(resp.Header.Get("Retry-After"))
	return p, c
}

// challengeCode looks for what RFC 6750 section 3.1 says about a token.
func challengeCode(resp *http.Response, fallback bridge.Code) bridge.Code {
	challenge := resp.Header.Get("WWW-Authenticate")
	switch {
	case resp.StatusCode == http.StatusUnauthorized && strings.Contains(challenge, "expired"):
		return "token-expired"
	case strings.Contains(challenge, "insufficient_scope"):
		return "token-scope"
	}
	return fallback
}

// maxRetryAfter bounds what a peer can make us wait.
const maxRetryAfter = 10 * time.Minute

func retryAfter(header string) time.Duration {
	seconds, err := strconv.ParseUint(strings.TrimSpace(header), 10, 32)
	if err != nil {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxRetryAfter)
}

// tokenRefused tells a 401 that a fresh token may mend.
func tokenRefused(err error) bool {
	var e *requestError
	return errors.As(err, &e) && e.Status == http.StatusUnauthorized
}
