package h3

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"riptide/bridge"
	"riptide/policy"
	"riptide/policy/stir"
)

// relX5U is the link relation under which the 200 of POST certs names the
// stable, public URL of the chain: the x5u of the client's PASSporTs.
const relX5U = "x5u"

const mediaPEM = "application/pem-certificate-chain" // RFC 8555 section 9.1

func (s *Server) addCerts(t *routes) {
	const path = pathTGPrefix + "{tg}/certs"
	tg := []*huma.Param{pathParam("tg", "Name of the TG")}
	t.add(limitBody(s.serveEnrol, maxBody), huma.Operation{
		OperationID: "enrol-certificate", Method: http.MethodPost, Path: path,
		Summary: "Enrol a certificate (RFC 8226) for caller numbers within the TG's origins",
		Description: "A server that lets people decide answers 202 with Location and Retry-After, and the client asks there until it gets the 200. " +
			"This one decides at once.",
		Parameters: tg, RequestBody: csrBody(), Responses: enrolReplies(),
	})
	t.add(redirectCerts, huma.Operation{
		OperationID: "enrol-certificate-alias", Method: http.MethodPost, Path: pathTGPrefix + "{tg}/cert",
		Summary: "The drafts' other name of certs", Deprecated: true, Parameters: tg, Responses: redirects(http.StatusPermanentRedirect),
	})
}

// redirectCerts serves the other name that the drafts have for the resource.
func redirectCerts(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, pathTGPrefix+r.PathValue("tg")+"/certs", http.StatusPermanentRedirect)
}

// serveEnrol issues an RFC 8226 certificate for a request that asks for
// numbers within the TG's origins. The same numbers are checked again in every
// PASSporT; the certificate is what lets others check them too.
func (s *Server) serveEnrol(w http.ResponseWriter, r *http.Request) {
	group := s.tgs[r.PathValue("tg")]
	if s.cfg.CA == nil || group.cfg.Customer {
		refuseHTTP(http.StatusNotFound, "this server issues no certificates").write(w)
		return
	}
	csr, err := readCSR(r)
	if err != nil {
		var p *problemError
		if !errors.As(err, &p) {
			p = refuse(bridge.CauseBadRequest.With("the body is no certificate request (PKCS #10): send DER, PEM, or JSON with a member csr"))
		}
		p.write(w)
		return
	}
	chain, uri, err := s.issue(r.Context(), csr, group.cfg.Origins)
	switch {
	case errors.Is(err, stir.ErrNumberNotAllowed):
		refuse(bridge.CauseCaller.With("the request asks for numbers outside the TG's origins")).write(w)
		return
	case errors.Is(err, stir.ErrCSR):
		refuse(bridge.CauseBadRequest.With("the certificate request cannot be used: it needs an ECDSA key on P-256, a valid signature and a TNAuthList")).write(w)
		return
	case errors.Is(err, bridge.CauseStore):
		refuse(bridge.CauseOf(err)).write(w)
		return
	case err != nil:
		s.log.Error("certificate not issued", "tg", group.cfg.Name, "error", err)
		refuse(bridge.CauseInternal.With("the certificate could not be issued")).write(w)
		return
	}
	s.log.Info("certificate issued", "tg", group.cfg.Name, "client", clientOf(r.Context()), "subject", chain[0].Subject.CommonName, "x5u", uri)
	w.Header().Set("Content-Type", mediaPEM)
	w.Header().Set("Content-Location", uri)
	w.Header().Set("Link", "<"+uri+`>; rel="`+relX5U+`"`)
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(stir.EncodeChain(chain))
}

// issue certifies numbers and publishes the chain, which is at x5u from then on.
func (s *Server) issue(ctx context.Context, csr []byte, allowed policy.NumberSet) (chain []*x509.Certificate, x5u string, err error) {
	if chain, err = s.cfg.CA.Issue(csr, allowed, certificateLife, s.cfg.Now()); err != nil {
		return nil, "", err
	}
	file, err := s.published.put(ctx, chain)
	if err != nil {
		return nil, "", bridge.CauseStore.With("the certificate could not be stored")
	}
	return chain, s.base + pathCerts + file, nil
}

// readCSR takes a request as DER, as PEM, or as JSON with either in it.
func readCSR(r *http.Request) ([]byte, error) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		var big *http.MaxBytesError
		if errors.As(err, &big) {
			return nil, refuseHTTP(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", maxBody)
		}
		return nil, err
	}
	return parseCSR(r.Header.Get("Content-Type"), raw)
}

func parseCSR(contentType string, raw []byte) ([]byte, error) {
	kind, _, _ := mime.ParseMediaType(contentType)
	if kind == "application/json" {
		var in struct {
			CSR string `json:"csr"`
		}
		if err := json.Unmarshal(raw, &in); err != nil {
			return nil, err
		}
		raw = []byte(in.CSR)
		if !strings.Contains(in.CSR, "-----BEGIN") {
			return base64.StdEncoding.DecodeString(in.CSR)
		}
	}
	if block, _ := pem.Decode(raw); block != nil {
		return block.Bytes, nil
	}
	return raw, nil
}
