package h3

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"riptide/bridge"
	"riptide/bridge/store"
)

// POST calls is made idempotent by a key of the client's (the Idempotency-Key
// draft of the HTTPAPI working group): a retry of a request whose response was
// lost gets that response, not a second call.

const (
	idempotencyKept = 24 * time.Hour
	// idempotencyClaim is how long a claim whose process died keeps others from
	// trying: longer than a request can take.
	idempotencyClaim = time.Minute

	maxIdempotencyKey = 255
)

// storedCall is a stored response.
type storedCall struct {
	Version  int             `json:"v"`
	Request  string          `json:"request"` // SHA-256 of the body
	Location string          `json:"location"`
	Body     json.RawMessage `json:"body"`
}

// idempotency remembers what requests with a key led to. The claim in the
// store keeps two nodes from serving one key, the map two requests of ours.
type idempotency struct {
	store store.Store

	mu       sync.Mutex
	inFlight map[string]string // name of the key -> SHA-256 of the body
}

func newIdempotency(st store.Store) *idempotency {
	return &idempotency{store: st, inFlight: map[string]string{}}
}

// attempt is one request that may proceed. It ends with forget, before which
// done or abandon leaves word for the next.
type attempt struct {
	table   *idempotency
	name    string
	request string
}

// begin tells what to do with a request: proceed with the attempt, answer with
// the stored outcome, or refuse (400, 409, 422, 503).
func (t *idempotency) begin(ctx context.Context, client, tg, key string, body []byte) (*attempt, *storedCall, error) {
	if key == "" {
		return nil, nil, refuse(bridge.CauseBadRequest.With("send %s: a fresh UUID per call, the same for a retry", headerIdempotencyKey))
	}
	if len(key) > maxIdempotencyKey {
		return nil, nil, refuse(bridge.CauseBadRequest.With("%s is longer than %d bytes", headerIdempotencyKey, maxIdempotencyKey))
	}
	a := &attempt{table: t, name: nameOf(client, tg, key), request: hashOf(body)}
	t.mu.Lock()
	other, busy := t.inFlight[a.name]
	if !busy {
		t.inFlight[a.name] = a.request
	}
	t.mu.Unlock()
	if busy {
		return nil, nil, inFlight(other == a.request)
	}
	old, err := a.claim(ctx)
	if err != nil || old != nil {
		a.forget()
		return nil, old, err
	}
	return a, nil, nil
}

func nameOf(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])
}

func hashOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// inFlight refuses a request whose key is being served right now.
func inFlight(same bool) error {
	if !same {
		return reused()
	}
	p := refuseHTTP(http.StatusConflict, "the request with this %s is still being served", headerIdempotencyKey)
	return p.retryAfter(time.Second)
}

func reused() error {
	return refuse(bridge.Cause{Code: "idempotency-key-reused", Text: "this " + headerIdempotencyKey + " came with another body before"})
}

// claim looks for an outcome and, if there is none, takes the key.
func (a *attempt) claim(ctx context.Context) (*storedCall, error) {
	st := a.table.store
	entry, err := st.Get(ctx, store.Idempotency, a.name+"/outcome")
	switch {
	case err == nil:
		var old storedCall
		if err := json.Unmarshal(entry.Value, &old); err != nil {
			return nil, fmt.Errorf("decode the outcome of an earlier request: %w", err)
		}
		if old.Request != a.request {
			return nil, reused()
		}
		return &old, nil
	case !errors.Is(err, store.ErrNotFound):
		return nil, refuse(bridge.CauseStore.With("whether the request was served before could not be found out: %v", err))
	}
	_, err = st.Create(ctx, store.Idempotency, a.name+"/claim", []byte(a.request), idempotencyClaim)
	switch {
	case errors.Is(err, store.ErrExists):
		entry, err := st.Get(ctx, store.Idempotency, a.name+"/claim")
		return nil, inFlight(err != nil || string(entry.Value) == a.request)
	case err != nil:
		return nil, refuse(bridge.CauseStore.With("the request could not be put on record: %v", err))
	}
	return nil, nil
}

// done stores the response. An error means that a retry would not be noticed;
// the call exists all the same.
func (a *attempt) done(ctx context.Context, location string, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode outcome: %w", err)
	}
	value, err := json.Marshal(storedCall{Version: 1, Request: a.request, Location: location, Body: raw})
	if err != nil {
		return fmt.Errorf("encode outcome: %w", err)
	}
	if _, err := a.table.store.Create(ctx, store.Idempotency, a.name+"/outcome", value, idempotencyKept); err != nil {
		return fmt.Errorf("store outcome: %w", err)
	}
	return nil
}

// abandon gives the key free: a refused request may be sent again.
func (a *attempt) abandon(ctx context.Context) {
	_ = a.table.store.Delete(ctx, store.Idempotency, a.name+"/claim") // it expires by itself
}

func (a *attempt) forget() {
	a.table.mu.Lock()
	defer a.table.mu.Unlock()
	delete(a.table.inFlight, a.name)
}
