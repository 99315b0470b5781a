package h3

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"riptide/bridge"
	"riptide/bridge/store"
)

// grants are the bearer tokens with which peers reach TGs of ours that we
// registered with them: 256 random bits each, of which we keep the hash. They
// live in the store, so that every node lets their owner in, and after every
// restart.
type grants struct {
	store store.Store
	now   func() time.Time

	mu    sync.Mutex
	known map[string]knownGrant // by key: media asks a hundred times a second
}

// grant is one of them as it is stored.
type grant struct {
	Version int       `json:"v"`
	TG      string    `json:"tg"` // name
	Expires time.Time `json:"expires"`
}

type knownGrant struct {
	grant
	until time.Time
}

const (
	grantVersion  = 1
	grantLength   = 43 // characters; a JWT has more
	grantKeys     = "grant/"
	grantRecall   = 30 * time.Second // how long one that was taken back may still be good at another node
	grantOverlap  = 24 * time.Hour   // of a token and the next
	maxGrantKnown = 1024
)

func newGrants(st store.Store, now func() time.Time) *grants {
	return &grants{store: st, now: now, known: map[string]knownGrant{}}
}

func grantKey(token string) string {
	sum := sha256.Sum256([]byte(token))
	return grantKeys + hex.EncodeToString(sum[:])
}

// mint makes a token for a TG.
func (g *grants) mint(ctx context.Context, tg string) (token string, expires time.Time, err error) {
	raw := make([]byte, 32)
	if _, err := rand.Read(raw); err != nil {
		return "", time.Time{}, err
	}
	token = base64.RawURLEncoding.EncodeToString(raw)
	expires = g.now().Add(maxTokenLife).UTC().Truncate(time.Second)
	value, err := json.Marshal(grant{Version: grantVersion, TG: tg, Expires: expires})
	if err != nil {
		return "", time.Time{}, err
	}
	if _, err := g.store.Create(ctx, store.Peers, grantKey(token), value, 0); err != nil {
		return "", time.Time{}, fmt.Errorf("keep the token of TG %q: %w", tg, err)
	}
	return token, expires, nil
}

// find tells for which TG a token is. Errors are store.ErrNotFound or the
// store's.
func (g *grants) find(ctx context.Context, token string) (grant, error) {
	key, now := grantKey(token), g.now()
	g.mu.Lock()
	k, ok := g.known[key]
	g.mu.Unlock()
	if !ok || !now.Before(k.until) {
		entry, err := g.store.Get(ctx, store.Peers, key)
		if err != nil {
			return grant{}, err
		}
		if json.Unmarshal(entry.Value, &k.grant) != nil || k.Version != grantVersion {
			return grant{}, store.ErrNotFound
		}
		k.until = now.Add(grantRecall)
		g.mu.Lock()
		if len(g.known) >= maxGrantKnown {
			clear(g.known)
		}
		g.known[key] = k
		g.mu.Unlock()
	}
	return k.grant, nil
}

// retire ends every token of a TG but one, when the overlap is over, and
// removes those that have ended. "" keeps none, and ends them at once.
func (g *grants) retire(ctx context.Context, tg, keep string) error {
	keys, err := g.store.Keys(ctx, store.Peers)
	if err != nil {
		return fmt.Errorf("retire the tokens of TG %q: %w", tg, err)
	}
	kept, now := "", g.now()
	end := now
	if keep != "" {
		kept, end = grantKey(keep), now.Add(grantOverlap)
	}
	var errs []error
	for _, key := range keys {
		if !strings.HasPrefix(key, grantKeys) || key == kept {
			continue
		}
		errs = append(errs, g.shorten(ctx, key, tg, end))
	}
	g.mu.Lock()
	clear(g.known)
	g.mu.Unlock()
	return errors.Join(errs...)
}

// shorten makes a token of the TG end at a time, if it does not end before.
func (g *grants) shorten(ctx context.Context, key, tg string, end time.Time) error {
	entry, err := g.store.Get(ctx, store.Peers, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var old grant
	if json.Unmarshal(entry.Value, &old) != nil || old.Version != grantVersion {
		return nil // of a newer release
	}
	if old.TG == tg && end.Before(old.Expires) {
		old.Expires = end
	} else if g.now().Before(old.Expires) {
		return nil
	}
	if !g.now().Before(old.Expires) {
		return g.store.Delete(ctx, store.Peers, key)
	}
	value, err := json.Marshal(old)
	if err != nil {
		return err
	}
	_, err = g.store.Update(ctx, store.Peers, key, value, entry.Revision)
	if errors.Is(err, store.ErrConflict) {
		return nil // another node does the same
	}
	return err
}

// granted is how the server lets a peer in with a token that it was given.
func (s *Server) granted(ctx context.Context, token string) (access, error) {
	g, err := s.grants.find(ctx, token)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return access{}, tokenCause("token-invalid", "it is none of this server's")
	case err != nil:
		return access{}, bridge.CauseStore.With("whether the token is good could not be found out")
	}
	group := s.tgs[g.TG]
	if group == nil {
		return access{}, tokenCause("token-invalid", "the TG that it was for is gone")
	}
	return access{client: group.cfg.ClientID, audience: []string{group.uri}, scopes: []string{scopeCall}, expires: g.Expires}, nil
}
