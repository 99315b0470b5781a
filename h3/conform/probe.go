package conform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"riptide/policy"
)

// Probe plays client against one server. Its methods that get documents, tokens,
// a handler and a certificate do so once, the right way; what a check does wrong
// on purpose it does by itself.
type Probe struct {
	opt   Options
	base  *url.URL
	wires *wires

	root    once[*url.URL]
	as      once[authServer]
	list    once[tgList]
	doc     once[*tgDocument]
	main    once[*handler]
	signer  once[*Signer]
	enrol   once[*enrolment]
	stir    once[bool]
	tokens  sync.Map // resource -> *once[string]
	talks   sync.Map // name -> *once[*conversation]
	endings sync.Map // name -> *once[*call]

	customers sync.Mutex // held while a customer TG is registered

	mu    sync.Mutex
	calls []*call
}

// once is a value that is made when it is first asked for.
type once[T any] struct {
	mu   sync.Mutex
	done bool
	v    T
	err  error
}

// get makes the value, or tells again why it could not be made. Whoever asks
// while it is being made waits.
func (o *once[T]) get(f func() (T, error)) (T, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.done {
		o.v, o.err = f()
		o.done = !errors.Is(o.err, context.Canceled)
	}
	return o.v, o.err
}

// NewProbe checks the options. Nothing is sent before Run.
func NewProbe(o Options) (*Probe, error) {
	base, err := o.check()
	if err != nil {
		return nil, err
	}
	return &Probe{opt: o, base: base, wires: newWires(o.Roots)}, nil
}

// ErrUnreachable means that nothing could be judged, because the server does
// not answer.
var ErrUnreachable = errors.New("server not reachable")

// Reach asks the server for anything at all.
func (p *Probe) Reach(ctx context.Context) error {
	if _, err := p.do(ctx, request{method: http.MethodGet, url: p.base.String() + wellKnownRIPT}); err != nil {
		return fmt.Errorf("%w: %w (is it running, is UDP let through, is its CA given with --roots?)", ErrUnreachable, err)
	}
	return nil
}

// Close hangs up what is left and ends the connections.
func (p *Probe) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	p.mu.Lock()
	calls := p.calls
	p.calls = nil
	p.mu.Unlock()
	var wg sync.WaitGroup
	for _, c := range calls {
		wg.Go(func() { c.close(ctx) })
	}
	wg.Wait()
	p.wires.close()
}

const (
	wellKnownRIPT  = "/.well-known/ript"
	wellKnownOAuth = "/.well-known/ript-oauth"
)

// follow GETs a URL and what it redirects to, three times at most.
func (p *Probe) follow(ctx context.Context, at *url.URL, token string) (reply, *url.URL, int, error) {
	for hops := 0; ; hops++ {
		r, err := p.do(ctx, request{method: http.MethodGet, url: at.String(), token: token})
		if err != nil || r.status/100 != 3 {
			return r, at, hops, err
		}
		next, err := at.Parse(r.header.Get("Location"))
		if err != nil || r.header.Get("Location") == "" {
			return r, at, hops, fmt.Errorf("GET %s: the %d has no usable Location", at, r.status)
		}
		if next.Scheme != "https" {
			return r, at, hops, fmt.Errorf("GET %s: redirects to %s, which is not https", at, next)
		}
		if hops == 3 {
			return r, at, hops, fmt.Errorf("GET %s: more than three redirects", at)
		}
		at = next
	}
}

// rootURI is where the well-known service leads.
func (p *Probe) rootURI(ctx context.Context) (*url.URL, error) {
	return p.root.get(func() (*url.URL, error) {
		r, at, _, err := p.follow(ctx, p.base.JoinPath(wellKnownRIPT), "")
		if err != nil {
			return nil, err
		}
		if r.status != http.StatusOK && r.status != http.StatusUnauthorized && r.status != http.StatusNotFound {
			return nil, fmt.Errorf("GET %s: %w", at, r.is(http.StatusOK))
		}
		return at, nil
	})
}

// tgList is the response at providertgs.
type tgList struct {
	reply
	at  string
	TGs []struct {
		URI  string `json:"uri"`
		Name string `json:"name"`
	} `json:"tgs"`
}

func (p *Probe) tgs(ctx context.Context) (tgList, error) {
	return p.list.get(func() (tgList, error) {
		var l tgList
		root, err := p.rootURI(ctx)
		if err != nil {
			return l, err
		}
		token, err := p.token(ctx, root.String())
		if err != nil {
			return l, err
		}
		l.at = root.JoinPath("v1", "providertgs").String()
		l.reply, err = p.do(ctx, request{method: http.MethodGet, url: l.at, token: token})
		if err == nil {
			err = l.is(http.StatusOK)
		}
		if err == nil {
			err = l.decode(&l)
		}
		if err != nil {
			return l, fmt.Errorf("GET %s: %w", l.at, err)
		}
		return l, nil
	})
}

// tgDocument is a TG document as it came.
type tgDocument struct {
	reply
	uri string

	URI          string           `json:"uri"`
	RetryBackoff *int             `json:"retry-backoff"`
	MediaTimeout *int             `json:"media-timeout"`
	Keepalive    *int             `json:"keepalive"`
	ParkedGets   *int             `json:"parked-gets"`
	Media        []string         `json:"media"`
	Profile      *int             `json:"profile"`
	Outbound     *json.RawMessage `json:"outbound"`

	out struct {
		Origins       *string         `json:"origins"`
		OriginNumbers []string        `json:"originNumbers"`
		Destinations  json.RawMessage `json:"destinations"`
	}
	destinations policy.NumberSet
}

// tg is the document of the TG under test.
func (p *Probe) tg(ctx context.Context) (*tgDocument, error) {
	return p.doc.get(func() (*tgDocument, error) {
		uri := p.opt.TG
		if uri == "" {
			l, err := p.tgs(ctx)
			if err != nil {
				return nil, err
			}
			if len(l.TGs) == 0 {
				return nil, errors.New("providertgs lists no TG for us")
			}
			uri = l.TGs[0].URI
		}
		return p.readTG(ctx, uri)
	})
}

func (p *Probe) readTG(ctx context.Context, uri string) (*tgDocument, error) {
	if _, err := absolute(uri); err != nil {
		return nil, fmt.Errorf("TG URI: %w", err)
	}
	token, err := p.token(ctx, uri)
	if err != nil {
		return nil, err
	}
	d := &tgDocument{uri: uri}
	d.reply, err = p.do(ctx, request{method: http.MethodGet, url: uri, token: token})
	if err == nil {
		err = d.is(http.StatusOK)
	}
	if err == nil {
		err = d.decode(d)
	}
	if err == nil && d.Outbound != nil {
		err = json.Unmarshal(*d.Outbound, &d.out)
	}
	if err != nil {
		return nil, fmt.Errorf("GET TG %s: %w", uri, err)
	}
	d.destinations = policy.NumberSet{Allow: []policy.Pattern{"*"}}
	if d.out.Destinations != nil {
		d.destinations = policy.NumberSet{}
		if err := json.Unmarshal(d.out.Destinations, &d.destinations); err != nil {
			return nil, fmt.Errorf("GET TG %s: destinations: %w", uri, err)
		}
	}
	return d, nil
}

func (d *tgDocument) has(carrier string) bool {
	for _, m := range d.Media {
		if m == carrier {
			return true
		}
	}
	return false
}

// asTG sends a request to the TG with its token.
func (p *Probe) asTG(ctx context.Context, q request) (reply, error) {
	d, err := p.tg(ctx)
	if err != nil {
		return reply{}, err
	}
	if q.token, err = p.token(ctx, d.uri); err != nil {
		return reply{}, err
	}
	if !strings.Contains(q.url, "://") {
		q.url = d.uri + q.url
	}
	return p.do(ctx, q)
}

// from is the caller of our calls.
func (p *Probe) from(ctx context.Context) (string, error) {
	if p.opt.From != "" {
		return p.opt.From, nil
	}
	d, err := p.tg(ctx)
	if err != nil {
		return "", err
	}
	if n := exampleOf(d.out.OriginNumbers, "0"); n != "" {
		return n, nil
	}
	return "", skip("no caller: the TG lists no originNumbers; give --from")
}

// to is the number that answers.
func (p *Probe) to(ctx context.Context) (string, error) {
	if p.opt.To != "" {
		return p.opt.To, nil
	}
	d, err := p.tg(ctx)
	if err != nil {
		return "", err
	}
	var allow []string
	for _, a := range d.destinations.Allow {
		allow = append(allow, string(a))
	}
	if n := exampleOf(allow, "1"); n != "" {
		return n, nil
	}
	return "", skip("no number that answers: give --to")
}

// exampleOf is a number inside one of the patterns.
func exampleOf(patterns []string, digit string) string {
	for _, s := range patterns {
		n := strings.ReplaceAll(strings.ReplaceAll(s, "x", digit), "*", strings.Repeat(digit, 4))
		if !strings.HasPrefix(n, "+") {
			continue
		}
		if _, err := policy.ParseNumber(n); err == nil {
			return n
		}
	}
	return ""
}

func asJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // of maps and strings of our own
	}
	return b
}
