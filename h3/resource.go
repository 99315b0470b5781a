package h3

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"riptide/bridge"
	"riptide/policy/stir"
)

// terminalGroup is a TG as the server runs it.
type terminalGroup struct {
	cfg  TGConfig
	uri  string
	doc  TG
	etag string

	// peer, of a customer TG, believes the provider's CA too; nil before it is known.
	peer atomic.Pointer[stir.Verifier]
}

func (s *Server) newTG(cfg TGConfig) (*terminalGroup, error) {
	g := &terminalGroup{cfg: cfg, uri: s.base + pathTGPrefix + cfg.Name}
	g.doc = TG{
		URI:          g.uri,
		Name:         cfg.Name,
		Outbound:     Outbound{Destinations: &cfg.Destinations},
		RetryBackoff: 2000,
		MediaTimeout: 5000,
		Keepalive:    int(heartbeat.Milliseconds()),
		ParkedGets:   20,
		Media:        cfg.Media,
		Profile:      Profile,
	}
	if s.cfg.CA != nil && !cfg.Customer {
		chain, err := s.originsOf(cfg)
		if err != nil {
			return nil, fmt.Errorf("TG %q: %w", cfg.Name, err)
		}
		g.doc.Outbound.Origins = string(chain)
	}
	for _, p := range cfg.Origins.Allow {
		g.doc.Outbound.OriginNumbers = append(g.doc.Outbound.OriginNumbers, string(p))
	}
	body, err := json.Marshal(g.doc)
	if err != nil {
		return nil, fmt.Errorf("TG %q: %w", cfg.Name, err)
	}
	g.etag = etagOf(body)
	return g, nil
}

// originsOf makes the certificate with which we prove to the client that we
// may vouch for its numbers. Nobody ever signs with its key. Prefixes of open
// length have no TNAuthList: there the CA's own certificate is the proof.
func (s *Server) originsOf(cfg TGConfig) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	csr, err := stir.NewCSR(key, cfg.Origins.Allow)
	if err != nil {
		return stir.EncodeChain([]*x509.Certificate{s.cfg.CA.Certificate()}), nil
	}
	chain, err := s.cfg.CA.Issue(csr, cfg.Origins, originsLife, s.cfg.Now())
	if err != nil {
		return nil, fmt.Errorf("issue the certificate of its origins: %w", err)
	}
	return stir.EncodeChain(chain), nil
}

func etagOf(body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
}

// rootURIs are the names of the root that a token may be for.
func (s *Server) rootURIs() []string {
	uris := []string{s.base + wellKnownRIPT}
	if !strings.Contains(strings.TrimPrefix(s.base, "https://"), ":") {
		uris = append(uris, s.base+":443"+wellKnownRIPT)
	}
	return uris
}

// Root is the document at the RIPT root, for people and tools who look there
// first. Clients go on to the TG list below it.
type Root struct {
	TGs     string `json:"providertgs"`
	OAuth   string `json:"authorization_server"`
	Profile int    `json:"profile"`
}

type document[T any] struct {
	Status       int
	ETag         string `header:"ETag"`
	CacheControl string `header:"Cache-Control"`
	Vary         string `header:"Vary"`
	Body         T
}

// conditional is what a GET of a cacheable document carries.
type conditional struct {
	IfNoneMatch string `header:"If-None-Match"`
}

// humaMaxBody is the limit as huma wants it, which refuses bodies that reach it.
// (It also takes no parameters from embedded structs of unexported types.)
const humaMaxBody = maxBody + 1

func (s *Server) addDocuments(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "get-root", Method: http.MethodGet, Path: wellKnownRIPT, Summary: "The RIPT root",
	}, func(context.Context, *struct{}) (*document[Root], error) {
		return &document[Root]{
			Status: http.StatusOK, CacheControl: "public, max-age=300",
			Body: Root{TGs: s.base + wellKnownRIPT + pathTGs, OAuth: s.base, Profile: Profile},
		}, nil
	})
	huma.Register(api, huma.Operation{
		OperationID: "list-tgs", Method: http.MethodGet, Path: wellKnownRIPT + pathTGs, Summary: "The TGs of the client that asks",
	}, func(ctx context.Context, in *conditional) (*document[*TGList], error) {
		return cacheable(s.listTGs(clientOf(ctx)), in.IfNoneMatch)
	})
	huma.Register(api, huma.Operation{
		OperationID: "get-tg", Method: http.MethodGet, Path: pathTGPrefix + "{tg}", Summary: "A TG document",
	}, func(_ context.Context, in *struct {
		TG          string `path:"tg" maxLength:"64"`
		IfNoneMatch string `header:"If-None-Match"`
	}) (*document[*TG], error) {
		g := s.tgs[in.TG]
		if g == nil {
			return nil, refuseHTTP(http.StatusNotFound, "no such TG")
		}
		return cacheable(&g.doc, in.IfNoneMatch)
	})
}

func (s *Server) listTGs(client string) *TGList {
	list := &TGList{TGs: []TGEntry{}}
	for _, cfg := range s.cfg.TGs { // in the order of the configuration
		if cfg.ClientID == client {
			list.TGs = append(list.TGs, TGEntry{URI: s.tgs[cfg.Name].uri, Name: cfg.Name})
		}
	}
	return list
}

// cacheable makes the response of a document that differs by client and rarely
// changes: 304 if the client has it already.
func cacheable[T any](v T, ifNoneMatch string) (*document[T], error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode document: %w", err)
	}
	d := &document[T]{
		Status: http.StatusOK, ETag: etagOf(body), CacheControl: "private, max-age=300", Vary: "Authorization", Body: v,
	}
	if matches(ifNoneMatch, d.ETag) {
		d.Status = http.StatusNotModified
	}
	return d, nil
}

// matches reads If-None-Match and If-Match: a list of entity tags, or "*". A
// weak tag is as good as a strong one for documents that are equal byte by byte.
func matches(field, etag string) bool {
	return slices.ContainsFunc(strings.Split(field, ","), func(tag string) bool {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		return tag == "*" || tag == etag
	})
}

// body is a JSON request body that is decoded without huma's validation, which
// refuses unknown members and repeats the values it does not like.
type body[T any] struct {
	raw json.RawMessage
	v   T
	err error
}

// UnmarshalJSON keeps the error for the handler, which knows what to say.
func (b *body[T]) UnmarshalJSON(raw []byte) error {
	b.raw = bytes.Clone(raw)
	b.err = json.Unmarshal(raw, &b.v)
	return nil
}

// Schema describes the body as what it holds.
func (b body[T]) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[T](), true, "")
}

// value is the decoded body; the error names the member, never its value.
func (b *body[T]) value() (T, error) {
	if b.err == nil {
		return b.v, nil
	}
	return b.v, bodyError(b.err)
}

func bodyError(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		return refuse(bridge.CauseBadRequest.With("member %q of the body has the wrong type, want %s", wrong.Field, wrong.Type))
	}
	return refuse(bridge.CauseBadRequest.With("the body is not the JSON object that this resource takes"))
}

// originsLife is longer than any process runs; the CA's own end cuts it short.
const originsLife = 10 * 365 * 24 * time.Hour

// certificateLife is how long the certificates we issue are valid. Clients
// enrol again well before.
const certificateLife = 90 * 24 * time.Hour
