package h3

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"riptide/bridge"
	"riptide/bridge/format"
	"riptide/bridge/store"
	"riptide/h3/advert"
)

// registration is a handler as it is stored.
type registration struct {
	Version int     `json:"v"`
	ID      string  `json:"id"`
	Client  string  `json:"client"`
	TG      string  `json:"tg"`
	Handler Handler `json:"handler"`

	adv advert.Advert
}

const registrationVersion = 1

// maxHandlerID bounds the client's own name of a handler.
const maxHandlerID = 256

// handlerTable holds the registered handlers: in memory for the calls, in the
// store for the next process.
type handlerTable struct {
	store     store.Store
	perClient int

	mu   sync.Mutex
	byID map[string]*registration
}

func newHandlerTable(st store.Store, perClient int) *handlerTable {
	return &handlerTable{store: st, perClient: perClient, byID: map[string]*registration{}}
}

// name is the id of a new registration. It follows from what the client says, so
// that every node of an authority, and one that has lost its store, gives a
// handler the same URI.
func (r *registration) name() string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte(strings.Join([]string{r.Client, r.TG, r.Handler.HandlerID}, "\x00"))).String()
}

// errRegistration: a stored handler cannot be read by this release.
var errRegistration = errors.New("stored handler not readable")

// load reads what an earlier process has registered. What cannot be read is as
// good as not there: its client is told so by its next call, and registers anew.
func (t *handlerTable) load(ctx context.Context) error {
	keys, err := t.store.Keys(ctx, store.Handlers)
	if err != nil {
		return fmt.Errorf("load handlers: %w", err)
	}
	for _, key := range keys {
		if _, err := t.fetch(ctx, key); err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, errRegistration) {
			return fmt.Errorf("load handler %s: %w", key, err)
		}
	}
	return nil
}

// fetch reads one registration into memory.
func (t *handlerTable) fetch(ctx context.Context, id string) (*registration, error) {
	entry, err := t.store.Get(ctx, store.Handlers, id)
	if err != nil {
		return nil, err
	}
	r := &registration{}
	if err := json.Unmarshal(entry.Value, r); err != nil {
		return nil, fmt.Errorf("%w: %w", errRegistration, err)
	}
	if r.Version != registrationVersion {
		return nil, fmt.Errorf("%w: version %d, this release reads %d", errRegistration, r.Version, registrationVersion)
	}
	if r.adv, err = advert.ParseAdvert(r.Handler.Advertisement); err != nil {
		return nil, fmt.Errorf("%w: advertisement: %w", errRegistration, err)
	}
	t.mu.Lock()
	t.byID[id] = r
	t.mu.Unlock()
	return r, nil
}

// get finds a client's handler on a TG. One that another node has registered
// is found in the store.
func (t *handlerTable) get(ctx context.Context, client, tg, id string) (*registration, error) {
	t.mu.Lock()
	r := t.byID[id]
	t.mu.Unlock()
	if r == nil {
		if uuid.Validate(id) != nil {
			return nil, store.ErrNotFound
		}
		var err error
		if r, err = t.fetch(ctx, id); err != nil {
			return nil, err
		}
	}
	if r.Client != client || r.TG != tg {
		return nil, store.ErrNotFound
	}
	return r, nil
}

// put stores a registration. A client that registers the same handler-id again
// means the same device: it gets the same URI, and dead ones do not pile up.
func (t *handlerTable) put(ctx context.Context, r *registration) error {
	t.mu.Lock()
	count := 0
	for _, other := range t.byID {
		if other.Client == r.Client {
			count++
		}
	}
	if r.ID == "" {
		r.ID = r.name()
		if other := t.byID[r.ID]; other != nil && other.Handler.HandlerID != r.Handler.HandlerID {
			r.ID = uuid.NewString() // a PUT has given that URI to another handler
		}
	}
	_, known := t.byID[r.ID]
	t.mu.Unlock()
	if !known && count >= t.perClient {
		return bridge.Cause{Code: "rate-limited"}.With("the client has %d handlers, which is the limit; DELETE those it does not need", count)
	}
	r.Version = registrationVersion
	value, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode handler: %w", err)
	}
	if _, err := t.store.Put(ctx, store.Handlers, r.ID, value); err != nil {
		return bridge.CauseStore.With("the handler could not be stored")
	}
	t.mu.Lock()
	t.byID[r.ID] = r
	t.mu.Unlock()
	return nil
}

func (t *handlerTable) delete(ctx context.Context, id string) error {
	if err := t.store.Delete(ctx, store.Handlers, id); err != nil {
		return bridge.CauseStore.With("the handler could not be deleted")
	}
	t.mu.Lock()
	delete(t.byID, id)
	t.mu.Unlock()
	return nil
}

func (t *handlerTable) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID)
}

type handlerPath struct {
	TG      string `path:"tg" maxLength:"64"`
	ID      string `path:"handler" maxLength:"64"`
	IfMatch string `header:"If-Match"`

	IfNoneMatch string `header:"If-None-Match"`
}

type handlerBody struct {
	Status       int
	Location     string `header:"Location"`
	ETag         string `header:"ETag"`
	CacheControl string `header:"Cache-Control"`
	Vary         string `header:"Vary"`
	Body         Handler
}

func (s *Server) addHandlers(api huma.API) {
	const path = pathTGPrefix + "{tg}/handlers"
	huma.Register(api, huma.Operation{
		OperationID: "register-handler", Method: http.MethodPost, Path: path, Summary: "Register a handler",
		DefaultStatus: http.StatusCreated, MaxBodyBytes: humaMaxBody, SkipValidateBody: true,
	}, func(ctx context.Context, in *struct {
		TG   string `path:"tg" maxLength:"64"`
		Body body[Handler]
	}) (*handlerBody, error) {
		return s.registerHandler(ctx, in.TG, "", &in.Body)
	})
	huma.Register(api, huma.Operation{
		OperationID: "get-handler", Method: http.MethodGet, Path: path + "/{handler}", Summary: "A handler description",
	}, func(ctx context.Context, in *handlerPath) (*handlerBody, error) {
		r, err := s.handlerAt(ctx, in)
		if err != nil {
			return nil, err
		}
		out := s.describeHandler(r, http.StatusOK)
		if matches(in.IfNoneMatch, out.ETag) {
			out.Status = http.StatusNotModified
		}
		return out, nil
	})
	huma.Register(api, huma.Operation{
		OperationID: "replace-handler", Method: http.MethodPut, Path: path + "/{handler}", Summary: "Replace a handler description",
		MaxBodyBytes: humaMaxBody, SkipValidateBody: true,
	}, func(ctx context.Context, in *struct {
		TG      string `path:"tg" maxLength:"64"`
		ID      string `path:"handler" maxLength:"64"`
		IfMatch string `header:"If-Match"`
		Body    body[Handler]
	}) (*handlerBody, error) {
		if _, err := s.handlerAt(ctx, &handlerPath{TG: in.TG, ID: in.ID, IfMatch: in.IfMatch}); err != nil {
			return nil, err
		}
		return s.registerHandler(ctx, in.TG, in.ID, &in.Body)
	})
	huma.Register(api, huma.Operation{
		OperationID: "delete-handler", Method: http.MethodDelete, Path: path + "/{handler}", Summary: "Remove a handler",
		DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, in *handlerPath) (*struct{}, error) {
		if _, err := s.handlerAt(ctx, in); err != nil {
			return nil, err
		}
		if err := s.handlers.delete(ctx, in.ID); err != nil {
			return nil, refuse(bridge.CauseOf(err))
		}
		return nil, nil
	})
}

// registerHandler creates a handler, or replaces the one with this id.
func (s *Server) registerHandler(ctx context.Context, tg, id string, in *body[Handler]) (*handlerBody, error) {
	h, err := in.value()
	if err != nil {
		return nil, err
	}
	if h.HandlerID == "" || len(h.HandlerID) > maxHandlerID {
		return nil, refuse(bridge.CauseBadRequest.With("handler-id must be 1 to %d bytes", maxHandlerID))
	}
	adv, err := advert.ParseAdvert(h.Advertisement)
	if err != nil {
		return nil, refuse(bridge.CauseBadRequest.With("the advertisement does not follow the grammar"))
	}
	if err := checkMaxima(adv); err != nil {
		return nil, refuse(bridge.CauseBadRequest.With("%v", err))
	}
	r := &registration{ID: id, Client: clientOf(ctx), TG: tg, Handler: h, adv: adv}
	r.Handler.URI = ""
	if err := s.handlers.put(ctx, r); err != nil {
		return nil, refuse(bridge.CauseOf(err))
	}
	if id != "" {
		return s.describeHandler(r, http.StatusOK), nil
	}
	return s.describeHandler(r, http.StatusCreated), nil
}

// minSampleSize is the least that a handler may allow of a sample, in bits (core
// draft, "Handler Description").
const minSampleSize = 8

// checkMaxima refuses an advertisement that follows the grammar and sets a limit
// with which nobody could speak.
func checkMaxima(a advert.Advert) error {
	for _, line := range a {
		for _, c := range line.Codecs {
			for _, p := range c.Params {
				if p.Name == format.SampleSize && p.HasValue && p.Value < minSampleSize {
					return fmt.Errorf("the advertisement allows samples of less than %d bits; leave %s out", minSampleSize, format.SampleSize)
				}
			}
		}
	}
	return nil
}

func (s *Server) handlerURI(r *registration) string {
	return s.base + pathTGPrefix + r.TG + "/handlers/" + r.ID
}

func (s *Server) describeHandler(r *registration, status int) *handlerBody {
	h := r.Handler
	h.URI = s.handlerURI(r)
	out := &handlerBody{Status: status, ETag: r.etag(), CacheControl: "private, no-cache", Vary: "Authorization", Body: h}
	if status == http.StatusCreated {
		out.Location = h.URI
	}
	return out
}

func (r *registration) etag() string {
	return etagOf([]byte(r.Handler.HandlerID + "\x00" + r.Handler.Advertisement))
}

// handlerAt finds the handler of a request and checks If-Match.
func (s *Server) handlerAt(ctx context.Context, in *handlerPath) (*registration, error) {
	r, err := s.handlers.get(ctx, clientOf(ctx), in.TG, in.ID)
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, errRegistration):
		return nil, refuseHTTP(http.StatusNotFound, "no such handler")
	case err != nil:
		return nil, refuse(bridge.CauseStore.With("the handler could not be read"))
	case in.IfMatch != "" && !matches(in.IfMatch, r.etag()):
		return nil, refuseHTTP(http.StatusPreconditionFailed, "the handler was changed in the meantime")
	}
	return r, nil
}
