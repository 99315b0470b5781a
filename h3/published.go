package h3

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"riptide/bridge"
	"riptide/bridge/store"
	"riptide/policy/stir"
)

// certificateKept is how long a chain stays published after its end, for those
// who look into calls that were.
const certificateKept = 7 * 24 * time.Hour

// certificateFile is the name of a chain: the thumbprint of its leaf. So nothing
// can ever be published under the name of another.
var certificateFile = regexp.MustCompile(`^([A-Za-z0-9_-]{16,128})\.pem$`)

// Published are the certificate chains that one authority publishes: those that
// its CA has issued. The zero value publishes none.
type Published struct {
	store     store.Store
	authority string
}

// NewPublished finds the chains of an authority, "host" or "host:port", in its
// store.
func NewPublished(authority string, st store.Store) Published {
	return Published{store: st, authority: addrOf(strings.ToLower(authority))}
}

// Chain returns the chain behind an x5u of this authority, nil where the x5u is
// another's or nothing is published there. It needs no network: a server behind
// a balancer that asked itself over HTTPS might well reach another node.
func (p Published) Chain(ctx context.Context, x5u string) []*x509.Certificate {
	u, err := url.Parse(x5u)
	if p.store == nil || err != nil || u.Scheme != "https" || addrOf(strings.ToLower(u.Host)) != p.authority {
		return nil
	}
	file, ok := strings.CutPrefix(u.Path, pathCerts)
	if !ok || u.RawQuery != "" {
		return nil
	}
	pem, err := p.get(ctx, file)
	if err != nil {
		return nil
	}
	chain, err := stir.ParseChain(pem)
	if err != nil {
		return nil
	}
	return chain
}

// get reads a chain; store.ErrNotFound where there is none of that name.
func (p Published) get(ctx context.Context, file string) ([]byte, error) {
	m := certificateFile.FindStringSubmatch(file)
	if m == nil {
		return nil, store.ErrNotFound
	}
	entry, err := p.store.Get(ctx, store.Certificates, m[1])
	if err != nil {
		return nil, fmt.Errorf("read certificate %s: %w", m[1], err)
	}
	return entry.Value, nil
}

// put publishes a chain, leaf first, and returns its file name.
func (p Published) put(ctx context.Context, chain []*x509.Certificate) (file string, err error) {
	name := stir.Thumbprint(chain[0])
	_, err = p.store.Create(ctx, store.Certificates, name, stir.EncodeChain(chain), certificateLife+certificateKept)
	if err != nil && !errors.Is(err, store.ErrExists) {
		return "", fmt.Errorf("store certificate %s: %w", name, err)
	}
	return name + ".pem", nil
}

// serveCertificate shows a chain. It never changes: its name is its hash.
func (s *Server) serveCertificate(w http.ResponseWriter, r *http.Request) {
	file := r.PathValue("file")
	pem, err := s.published.get(r.Context(), file)
	switch {
	case errors.Is(err, store.ErrNotFound):
		refuseHTTP(http.StatusNotFound, "no such certificate").write(w)
		return
	case err != nil:
		refuse(bridge.CauseStore.With("the certificate could not be read")).write(w)
		return
	}
	etag := `"` + strings.TrimSuffix(file, ".pem") + `"`
	w.Header().Set("Content-Type", mediaPEM)
	w.Header().Set("Cache-Control", "public, max-age=86400, immutable")
	w.Header().Set("ETag", etag)
	if matches(r.Header.Get("If-None-Match"), etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write(pem)
}

// servePublish takes back a chain that our CA has issued: at another node of
// the authority, or here before the store was lost. Without it that client's
// calls would be refused until it had enrolled anew, at each node in turn. Who
// sends the chain does not matter: it is public, and it proves itself.
func (s *Server) servePublish(w http.ResponseWriter, r *http.Request) {
	if s.cfg.CA == nil {
		refuseHTTP(http.StatusNotFound, "this server publishes no certificates").write(w)
		return
	}
	pem, err := io.ReadAll(r.Body)
	var chain []*x509.Certificate
	if err == nil {
		chain, err = stir.ParseChain(pem)
	}
	if err != nil {
		refuse(bridge.CauseBadRequest.With("the body is no certificate chain: send PEM, leaf first")).write(w)
		return
	}
	leaf, ca, now := chain[0], s.cfg.CA.Certificate(), s.cfg.Now()
	switch {
	case stir.Thumbprint(leaf)+".pem" != r.PathValue("file"):
		refuse(bridge.CauseBadRequest.With("the URL is not that of this certificate, whose thumbprint is %s", stir.Thumbprint(leaf))).write(w)
		return
	case leaf.IsCA || leaf.CheckSignatureFrom(ca) != nil:
		refuseHTTP(http.StatusForbidden, "the certificate was not issued by this server's CA").write(w)
		return
	case now.Before(leaf.NotBefore) || now.After(leaf.NotAfter):
		refuseHTTP(http.StatusForbidden, "the certificate is not valid now").write(w)
		return
	}
	if _, err := s.published.put(r.Context(), []*x509.Certificate{leaf, ca}); err != nil {
		refuse(bridge.CauseStore.With("the certificate could not be stored")).write(w)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
