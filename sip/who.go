package sip

import (
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
)

// Accept says who may speak on a trunk, by name and password, besides what its
// addresses say.
type Accept struct {
	Users      map[string]Password // asked for with every call and registration; empty = nobody is asked
	Algorithms []string            // "MD5", "SHA-256", "SHA-512-256", best first; default SHA-256 and MD5
	Register   bool                // they say by REGISTER where calls to them go
	Anywhere   bool                // they may come from any address; strangers are asked, seldom
	MinExpires time.Duration       // of a registration; default 60 s
	MaxExpires time.Duration       // default 1 h
}

const (
	defaultMinExpires = time.Minute
	defaultMaxExpires = time.Hour
)

// filled is a copy with the defaults, nil of nil.
func (a *Accept) filled() *Accept {
	if a == nil {
		return nil
	}
	filled := *a
	filled.fill()
	return &filled
}

func (a *Accept) fill() {
	if len(a.Algorithms) == 0 {
		a.Algorithms = []string{"SHA-256", "MD5"}
	}
	if a.MinExpires == 0 {
		a.MinExpires = defaultMinExpires
	}
	if a.MaxExpires == 0 {
		a.MaxExpires = defaultMaxExpires
	}
}

// asks tells whether whoever speaks on the trunk has to prove who they are.
func (t *trunk) asks() bool { return t.Accept != nil && len(t.Accept.Users) > 0 }

// authenticate lets a request pass whose sender proves to be a user of the
// trunk, and says who. Otherwise it is answered: with a challenge, or with 403
// to one who tried and failed.
func (m *mailbox) authenticate(req *sipgo.Request, s *serverTx, t *trunk) (user string, ok bool) {
	if !t.asks() {
		return "", true
	}
	a := m.agent
	user, v := a.guard.judge(req, t.Accept)
	a.met(s.flow, t, v)
	switch v {
	case proven:
		return user, true
	case wrong:
		a.counts.unproven.Add(1)
		c := bridge.CauseForbidden.With("%s as %q with a wrong password, or a name that trunk %q does not have (trunks.%s.sip.accept.users)", req.Method, clip(user, 64), t.Name, t.Name)
		if a.complaints.Allow() { // who guesses must not fill the log
			a.cfg.Logger.Warn("login refused", "trunk", t.Name, "user", clip(user, 64), "method", string(req.Method), "source", s.flow.remote().String())
		}
		if a.cfg.OnRefuse != nil && req.IsInvite() {
			a.cfg.OnRefuse(c)
		}
		s.refuse(refuse(403, ""))
	default:
		s.refuse(refuse(401, "", a.guard.challenges(t.Accept.Algorithms, v == stale, s.flow.remote().Addr())...))
	}
	return "", false
}
