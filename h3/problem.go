package h3

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"riptide/bridge"
)

// problemError is a request's refusal: an RFC 9457 problem and the header fields
// that go with it. It never repeats what the client sent: tokens and PASSporTs
// must not travel on in error bodies, logs of proxies and screenshots.
type problemError struct {
	Problem
	header http.Header
}

// refuse makes the refusal of a cause.
func refuse(c bridge.Cause) *problemError {
	r := &problemError{Problem: problemOf(c), header: http.Header{}}
	switch r.Status {
	case http.StatusUnauthorized, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		_ = r.retryAfter(c.RetryAfter)
	}
	if challenge := challengeOf(c); challenge != "" {
		r.header.Set("WWW-Authenticate", challenge)
	}
	return r
}

// refuseHTTP makes a refusal that HTTP's own status says well enough.
func refuseHTTP(status int, format string, args ...any) *problemError {
	return &problemError{
		Problem: Problem{
			Type:   "about:blank",
			Title:  http.StatusText(status),
			Status: status,
			Detail: fmt.Sprintf(format, args...),
		},
		header: http.Header{},
	}
}

// retryAfter sets Retry-After in whole seconds, at least one; without a hint
// of the cause's own only where the status asks for the field.
func (r *problemError) retryAfter(d time.Duration) *problemError {
	if d <= 0 && r.Status == http.StatusUnauthorized {
		return r
	}
	r.header.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(d.Seconds())))))
	return r
}

// challengeOf is the WWW-Authenticate value of a token problem (RFC 6750
// section 3: a request without any token gets no error code).
func challengeOf(c bridge.Cause) string {
	switch c.Code {
	case "token-missing":
		return `Bearer realm="ript", scope="` + scopeCall + `"`
	case "token-invalid", "token-expired", "token-audience":
		return `Bearer realm="ript", error="invalid_token", error_description="` + c.Title() + `"`
	case "token-scope":
		return `Bearer realm="ript", error="insufficient_scope", scope="` + scopeCall + `"`
	}
	return ""
}

func (r *problemError) Error() string {
	return fmt.Sprintf("%d %s: %s", r.Status, r.Title, r.Detail)
}

// GetStatus, GetHeaders and ContentType are what huma asks of an error.
func (r *problemError) GetStatus() int { return r.Status }

// GetHeaders returns the header fields of the refusal.
func (r *problemError) GetHeaders() http.Header { return r.header }

// ContentType is always problem+json.
func (r *problemError) ContentType(string) string { return mediaProblem }

// write sends the refusal as the response.
func (r *problemError) write(w http.ResponseWriter) {
	for k, v := range r.header {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Type", mediaProblem)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(r.Status)
	_ = json.NewEncoder(w).Encode(r) // the client is gone if this fails
}

func init() {
	// huma builds its own errors with this hook only. It must not be left as it
	// is: the default repeats the offending value.
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError { return refuseHuma(status, msg, errs) }
}

// refuseHuma translates an error of huma's own, which happens before a handler
// of ours sees the request.
func refuseHuma(status int, msg string, errs []error) *problemError {
	var d *huma.ErrorDetail
	for _, err := range errs {
		if errors.As(err, &d) {
			break
		}
	}
	switch {
	case d != nil && strings.HasPrefix(d.Message, huma.ErrUnknownContentType.Error()):
		return refuseHTTP(http.StatusUnsupportedMediaType, "this resource takes application/json")
	case d != nil && d.Location == "body":
		return refuse(bridge.CauseBadRequest.With("the body is not JSON"))
	case d != nil:
		return refuse(bridge.CauseBadRequest.With("%s is not as it should be", d.Location))
	case status == http.StatusBadRequest || status == http.StatusUnprocessableEntity:
		return refuse(bridge.CauseBadRequest.With("%s", msg))
	case status == http.StatusInternalServerError:
		return refuse(bridge.CauseInternal.With("the request could not be handled"))
	}
	return refuseHTTP(status, "%s", msg)
}

// serveProblems lists the problem types.
func serveProblems(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != pathProblems {
		refuseHTTP(http.StatusNotFound, "no such problem type").write(w)
		return
	}
	w.Header().Set("Content-Type", mediaText+"; charset=utf-8")
	w.Header().Set("Cache-Control", "public, max-age=86400")
	for _, code := range bridge.Codes() {
		c := bridge.Cause{Code: code}
		fmt.Fprintf(w, "%d %s%s %s\n", c.HTTPStatus(), pathProblems, code, c.Title())
	}
}

// serveProblem explains a problem type to people who follow its URI.
func serveProblem(w http.ResponseWriter, r *http.Request) {
	c := bridge.Cause{Code: bridge.Code(r.PathValue("code"))}
	if !slices.Contains(bridge.Codes(), c.Code) {
		refuseHTTP(http.StatusNotFound, "no such problem type").write(w)
		return
	}
	sip, phrase := c.SIPStatus()
	w.Header().Set("Content-Type", mediaText+"; charset=utf-8")
	w.Header().Set("Cache-Control", "public, max-age=86400")
	fmt.Fprintf(w, "%s\n\n%s.\nHTTP status %d, RIPT event %q before the answer.\nA SIP caller gets %d %s, Reason: Q.850;cause=%d.\n",
		c.Code, c.Title(), c.HTTPStatus(), c.RIPTEvent(false), sip, phrase, c.Q850Cause())
}
