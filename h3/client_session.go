package h3

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"riptide/h3/media"
)

// trunkSessions are the sessions that calls to a TG share. Those to a TG that
// the trunk used before end with their calls.
func (t *trunk) trunkSessions(tg *url.URL) *media.Sessions {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sessions == nil {
		t.sessions = map[string]*media.Sessions{}
	}
	s := t.sessions[tg.String()]
	if s == nil {
		s = media.NewSessions(func(ctx context.Context) (media.OwnSession, error) { return t.openTrunkSession(ctx, tg) })
		t.sessions[tg.String()] = s
	}
	return s
}

// sessionCounts is how many of them are open, and the calls on them.
func (t *trunk) sessionCounts() (open, seated int) {
	t.mu.Lock()
	all := slices.Collect(maps.Values(t.sessions))
	t.mu.Unlock()
	for _, s := range all {
		st := s.State()
		open += st.Sessions
		seated += st.Calls
	}
	return open, seated
}

// closeSessions ends them all.
func (t *trunk) closeSessions() {
	t.mu.Lock()
	all := t.sessions
	t.mu.Unlock()
	for _, s := range all {
		s.Close()
	}
}

// openTrunkSession opens a session on {tg}/media.
func (t *trunk) openTrunkSession(ctx context.Context, tg *url.URL) (media.OwnSession, error) {
	token, err := t.tokens.Token(ctx, tg.String())
	if err != nil {
		return media.OwnSession{}, err
	}
	h := http.Header{"Authorization": {"Bearer " + token}}
	sess, err := t.pool.OwnSession(ctx, tg.JoinPath("media").String(), tg.Host, h)
	if err != nil {
		return media.OwnSession{}, fmt.Errorf("trunk %q: %w", t.cfg.Name, err)
	}
	return sess, nil
}

// reserveSeat takes a place on a trunk session for a call that is about to be
// made, if calls go that way and there is one. The first calls find none: they
// move over when it is there.
func (t *trunk) reserveSeat(tg *url.URL) *media.Seat {
	if !slices.Contains(t.rungs(), media.Trunk) || t.client.ladder.Verdict(media.Authority(tg), media.Trunk) == media.Fails {
		return nil
	}
	return t.trunkSessions(tg).Reserve()
}
