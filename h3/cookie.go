package h3

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"

	"golang.org/x/net/publicsuffix"

	"riptide/bridge"
)

// Header fields of W3C Trace Context.
const (
	headerTraceparent = "Traceparent"
	headerTracestate  = "Tracestate"
)

// Limits of a jar. A call needs one cookie, or one per balancer on the way.
const (
	maxCookies    = 16
	maxCookieSize = 4 << 10
)

// cookieJar holds what all requests of one call have in common: its cookies and
// its trace. Balancers keep a call's requests on one node by the cookies; a jar
// shared by calls would pin all of them to one node.
type cookieJar struct {
	trace bridge.Trace
	mu    sync.Mutex
	jar   *cookiejar.Jar
	taken int
}

func newCookieJar(t bridge.Trace) *cookieJar { return &cookieJar{trace: t, jar: freshJar()} }

func freshJar() *cookiejar.Jar {
	jar, _ := cookiejar.New(&cookiejar.Options{PublicSuffixList: publicsuffix.List}) // never fails
	return jar
}

// Apply adds the call's cookies and its trace context (W3C Trace Context) to a
// request.
func (j *cookieJar) Apply(req *http.Request) {
	if parent := j.trace.Traceparent(); parent != "" {
		req.Header.Set(headerTraceparent, parent)
		if j.trace.State != "" {
			req.Header.Set(headerTracestate, j.trace.State)
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, c := range j.jar.Cookies(req.URL) {
		req.AddCookie(c)
	}
}

// Learn keeps the cookies of a response, within limits.
func (j *cookieJar) Learn(u *url.URL, resp *http.Response) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var keep []*http.Cookie
	for _, c := range resp.Cookies() {
		if len(c.Name)+len(c.Value) <= maxCookieSize && j.taken < maxCookies {
			keep = append(keep, c)
			j.taken++
		}
	}
	if len(keep) > 0 {
		j.jar.SetCookies(u, keep)
	}
}

// taught tells whether there is a cookie.
func (j *cookieJar) taught() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.taken > 0
}

// Empty forgets everything: a migration begins without cookies, so that the
// balancer chooses anew.
func (j *cookieJar) Empty() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.jar, j.taken = freshJar(), 0
}

// Copy is a jar that keeps what is in this one when it is emptied.
func (j *cookieJar) Copy() *cookieJar {
	j.mu.Lock()
	defer j.mu.Unlock()
	return &cookieJar{trace: j.trace, jar: j.jar, taken: j.taken}
}

// Values are the cookies for u, as they stand in a record.
func (j *cookieJar) Values(u *url.URL) map[string]string {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := map[string]string{}
	for _, c := range j.jar.Cookies(u) {
		out[c.Name] = c.Value
	}
	return out
}

// Restore takes the cookies of a record, within limits.
func (j *cookieJar) Restore(u *url.URL, values map[string]string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var keep []*http.Cookie
	for name, value := range values {
		if len(name)+len(value) <= maxCookieSize && j.taken < maxCookies {
			keep = append(keep, &http.Cookie{Name: name, Value: value, Path: "/", Secure: true})
			j.taken++
		}
	}
	j.jar.SetCookies(u, keep)
}

// site is what two URIs must have in common before the one may send us, and
// our token, to the other: the registrable domain, or the very same authority
// for addresses and names without one.
func site(u *url.URL) string {
	host := strings.ToLower(u.Hostname())
	if domain, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil && !isAddress(host) && strings.Contains(host, ".") {
		return domain
	}
	return addrOf(strings.ToLower(u.Host))
}
