package stir

import (
	"container/list"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Limits of fetching certificates.
const (
	maxURL      = 1024 // bytes
	minKeep     = time.Minute
	maxKeep     = 24 * time.Hour
	keepFailure = 30 * time.Second
	maxKept     = 1024 // URLs, and as many that failed
	maxFetches  = 64   // under way at once
)

// ErrURL is wrapped by the errors of CheckURL.
var ErrURL = errors.New("not a URL of a certificate")

// CheckURL holds the rules for x5u and info that need no network: https, a
// host, no user, no fragment, at most 1024 bytes. Whether the host may be
// talked to is for the one who fetches to check, at the address it connects to.
func CheckURL(s string) error {
	if s == "" || len(s) > maxURL {
		return fmt.Errorf("%w: not 1 to %d bytes", ErrURL, maxURL)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`<>"\`, r) }) {
		return fmt.Errorf("%w: holds a character that URLs do not have", ErrURL)
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return fmt.Errorf("%w: cannot be parsed", ErrURL)
	case u.Scheme != "https":
		return fmt.Errorf("%w: scheme is %.20q, only https is fetched", ErrURL, u.Scheme)
	case u.User != nil:
		return fmt.Errorf("%w: holds a user", ErrURL)
	case u.Hostname() == "":
		return fmt.Errorf("%w: has no host", ErrURL)
	case u.Fragment != "" || strings.HasSuffix(s, "#"):
		return fmt.Errorf("%w: holds a fragment", ErrURL)
	}
	return nil
}

// Fetch gets the PEM chain of a URL. maxAge is how long the answer may be kept
// by its Cache-Control, 0 if it does not say.
type Fetch func(ctx context.Context, url string) (pem []byte, maxAge time.Duration, err error)

// Source fetches certificate chains and keeps them: a minute to a day, no
// longer than the leaf is valid, and a failure for 30 seconds. Calls that need
// the same chain share one fetch. It is safe for concurrent use.
type Source struct {
	fetch Fetch
	now   func() time.Time

	mu       sync.Mutex
	kept     lru
	failed   lru
	underWay map[string]chan struct{} // closed when the fetch is over
}

// NewSource returns a Source that asks now for the time.
func NewSource(fetch Fetch, now func() time.Time) *Source {
	return &Source{fetch: fetch, now: now, underWay: map[string]chan struct{}{}}
}

// Chain returns the chain behind an x5u. Errors wrap ErrURL, ErrChain, or say
// what the fetch said.
func (s *Source) Chain(ctx context.Context, x5u string) ([]*x509.Certificate, error) {
	if err := CheckURL(x5u); err != nil {
		return nil, err
	}
	for {
		chain, wait, err := s.lookUp(x5u)
		if err != nil || chain != nil {
			return chain, err
		}
		if wait == nil {
			return s.get(ctx, x5u)
		}
		select {
		case <-wait: // then look again: the one who fetched may have given up
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for certificate: %w", ctx.Err())
		}
	}
}

// lookUp returns what is kept, or the fetch to wait for. Neither means that
// the fetch is the caller's to make.
func (s *Source) lookUp(x5u string) ([]*x509.Certificate, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if k := s.kept.get(x5u, now); k != nil {
		return k.chain, nil, nil
	}
	if k := s.failed.get(x5u, now); k != nil {
		return nil, nil, k.err
	}
	if wait, ok := s.underWay[x5u]; ok {
		return nil, wait, nil
	}
	if len(s.underWay) >= maxFetches {
		return nil, nil, errors.New("too many certificates are being fetched")
	}
	s.underWay[x5u] = make(chan struct{})
	return nil, nil, nil
}

func (s *Source) get(ctx context.Context, x5u string) (chain []*x509.Certificate, err error) {
	var keep time.Duration
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		now := s.now()
		switch {
		case chain != nil:
			s.kept.put(&keptChain{url: x5u, chain: chain, until: earlier(now.Add(keep), chain[0].NotAfter)})
		case err != nil && ctx.Err() == nil: // a caller who hung up proves nothing
			s.failed.put(&keptChain{url: x5u, err: err, until: now.Add(keepFailure)})
		}
		close(s.underWay[x5u])
		delete(s.underWay, x5u)
	}()
	pem, maxAge, err := s.fetch(ctx, x5u)
	if err != nil {
		return nil, err
	}
	keep = min(max(maxAge, minKeep), maxKeep)
	return ParseChain(pem)
}

type keptChain struct {
	url   string
	chain []*x509.Certificate
	err   error
	until time.Time
}

// lru keeps at most maxKept chains and drops the one that was used longest
// ago. The URLs come from strangers, so those in use must outlast the others.
type lru struct {
	order list.List // of *keptChain, last used first
	byURL map[string]*list.Element
}

func (l *lru) get(url string, now time.Time) *keptChain {
	e := l.byURL[url]
	if e == nil {
		return nil
	}
	k := e.Value.(*keptChain)
	if now.After(k.until) {
		l.remove(e)
		return nil
	}
	l.order.MoveToFront(e)
	return k
}

func (l *lru) put(k *keptChain) {
	if l.byURL == nil {
		l.byURL = map[string]*list.Element{}
	}
	if e := l.byURL[k.url]; e != nil {
		l.remove(e)
	}
	l.byURL[k.url] = l.order.PushFront(k)
	if l.order.Len() > maxKept {
		l.remove(l.order.Back())
	}
}

func (l *lru) remove(e *list.Element) {
	delete(l.byURL, l.order.Remove(e).(*keptChain).url)
}
