package h3

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"riptide/bridge"
)

// Certificates are stored and published for weeks, and a client needs one a
// day; a handler or a customer TG is registered once and seldom again.
const (
	enrolEvery    = 10 * time.Second
	enrolBurst    = 20
	registerEvery = 10 * time.Millisecond
	registerBurst = 1000
)

// quota is how often a client may ask for one kind of thing: so many in a
// window, told in the terms of draft-ietf-httpapi-ratelimit-headers.
type quota struct {
	name    string
	limiter *rate.Limiter
	window  time.Duration // in which the whole quota comes back
}

func newQuota(name string, every float64, burst int) *quota {
	window := time.Duration(float64(burst) / every * float64(time.Second))
	return &quota{name: name, limiter: rate.NewLimiter(rate.Limit(every), burst), window: window}
}

// pace is how fast one client may go, by the last segment of what it POSTs to.
// Each client has its own, so that none can use up what the others need.
type pace map[string]*quota

func newPace(limits ServerLimits) pace {
	perSecond := func(d time.Duration) float64 { return 1 / d.Seconds() }
	p := pace{
		"calls":       newQuota("calls", limits.CallsPerSecond, max(1, int(limits.CallsPerSecond))),
		"certs":       newQuota("certs", perSecond(enrolEvery), enrolBurst),
		"handlers":    newQuota("handlers", perSecond(registerEvery), registerBurst),
		"customertgs": newQuota("customertgs", perSecond(registerEvery), registerBurst),
	}
	p["consumertgs"] = p["customertgs"]
	return p
}

func pacesOf(tgs []TGConfig, limits ServerLimits) map[string]pace {
	out := map[string]pace{}
	for _, tg := range tgs {
		if out[tg.ClientID] == nil {
			out[tg.ClientID] = newPace(limits)
		}
	}
	return out
}

// paced holds clients to their quotas before anything is read or stored.
func (s *Server) paced(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := s.quotaOf(r)
		if q == nil {
			next.ServeHTTP(w, r)
			return
		}
		ok := q.limiter.Allow()
		q.tell(w.Header())
		if ok {
			next.ServeHTTP(w, r)
			return
		}
		c := bridge.Cause{Code: "rate-limited", RetryAfter: q.wait()}
		c = c.With("the quota of %s is used up: %d in %v", q.name, q.limiter.Burst(), q.window)
		if q.name == "calls" {
			s.stats.refused(c.Code)
			if s.cfg.OnRefuse != nil {
				s.cfg.OnRefuse(c)
			}
		}
		refuse(c).write(w)
	})
}

// quotaOf finds what a request counts against: whatever makes something.
func (s *Server) quotaOf(r *http.Request) *quota {
	if r.Method != http.MethodPost && r.Method != http.MethodPut {
		return nil
	}
	return s.paces[clientOf(r.Context())][r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]]
}

// tell writes the quota, and what is left of it.
func (q *quota) tell(h http.Header) {
	left := max(0, int(q.limiter.Tokens()))
	h.Set("RateLimit-Policy", fmt.Sprintf("%q;q=%d;w=%d", q.name, q.limiter.Burst(), seconds(q.window)))
	h.Set("RateLimit", fmt.Sprintf("%q;r=%d;t=%d", q.name, left, seconds(q.wait())))
}

// wait is how long until there is one more.
func (q *quota) wait() time.Duration {
	missing := 1 - math.Mod(max(0, q.limiter.Tokens()), 1)
	return time.Duration(missing / float64(q.limiter.Limit()) * float64(time.Second))
}

// seconds rounds up, to at least one.
func seconds(d time.Duration) int { return max(1, int(math.Ceil(d.Seconds()))) }
