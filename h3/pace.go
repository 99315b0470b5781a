package h3

import (
	"context"
	"time"

	"golang.org/x/time/rate"

	"riptide/bridge"
)

// Certificates are stored and published for weeks; a client needs one a day.
const (
	enrolEvery = 10 * time.Second
	enrolBurst = 20
)

// pace is how fast one client may go. Each has its own, so that none of them
// can use up what the others need.
type pace struct {
	calls  *rate.Limiter
	enrols *rate.Limiter
}

func pacesOf(clients []OAuthClient, limits ServerLimits) map[string]pace {
	out := map[string]pace{}
	for _, c := range clients {
		out[c.ID] = pace{
			calls:  rate.NewLimiter(rate.Limit(limits.CallsPerSecond), max(1, int(limits.CallsPerSecond))),
			enrols: rate.NewLimiter(rate.Every(enrolEvery), enrolBurst),
		}
	}
	return out
}

// mayCall comes before anything is stored for a call.
func (s *Server) mayCall(ctx context.Context) error {
	if s.paces[clientOf(ctx)].calls.Allow() {
		return nil
	}
	c := bridge.Cause{Code: "rate-limited", RetryAfter: time.Second}.With("more than %g calls per second", s.cfg.Limits.CallsPerSecond)
	s.stats.refused(c.Code)
	if s.cfg.OnRefuse != nil {
		s.cfg.OnRefuse(c)
	}
	return refuse(c)
}

// mayEnrol comes before a certificate is issued.
func (s *Server) mayEnrol(ctx context.Context) error {
	if s.paces[clientOf(ctx)].enrols.Allow() {
		return nil
	}
	c := bridge.Cause{Code: "rate-limited", RetryAfter: enrolEvery}
	return c.With("more than %d certificates in short order, and one every %v after that", enrolBurst, enrolEvery)
}
