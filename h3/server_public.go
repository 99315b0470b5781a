package h3

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// addPublic enters what needs no token: the authorisation server, certificates,
// problem types, and whether we are alive.
func (s *Server) addPublic(t *routes) {
	t.add(s.serveASMetadata, huma.Operation{
		OperationID: "get-authorization-server", Method: http.MethodGet, Path: wellKnownAS,
		Summary: "Metadata of the authorisation server (RFC 8414)", Responses: replies(http.StatusOK, mediaJSON, "The metadata."),
	})
	t.add(redirectMetadata, huma.Operation{
		OperationID: "find-authorization-server", Method: http.MethodGet, Path: wellKnownOAuth,
		Summary: "Redirects to the metadata of the authorisation server", Responses: redirects(http.StatusTemporaryRedirect),
	})
	t.add(s.issuer.token, tokenOperation())
	t.add(s.issuer.jwks, huma.Operation{
		OperationID: "get-jwks", Method: http.MethodGet, Path: pathJWKS,
		Summary: "Public keys of the access tokens (RFC 7517)", Responses: replies(http.StatusOK, mediaJSON, "A JWK set."),
	})
	t.add(s.serveCertificate, huma.Operation{
		OperationID: "get-certificate", Method: http.MethodGet, Path: pathCerts + "{file}",
		Summary: "A certificate chain: the x5u of PASSporTs", Parameters: []*huma.Param{pathParam("file", "Thumbprint of the leaf, and .pem")},
		Responses: replies(http.StatusOK, mediaPEM, "The chain, leaf first. It never changes."),
	})
	t.add(limitBody(s.servePublish, maxChainPEM), huma.Operation{
		OperationID: "publish-certificate", Method: http.MethodPut, Path: pathCerts + "{file}",
		Summary: "Publish a certificate chain again",
		Description: "For a client whose call was refused with identity-info-unavailable because of its own certificate: another node of this authority " +
			"issued it, or it was lost here. The chain must be one that this server's CA issued and that is valid now; the client then repeats the call.",
		Parameters: []*huma.Param{pathParam("file", "Thumbprint of the leaf, and .pem")}, RequestBody: chainBody(),
		Responses: replies(http.StatusNoContent, "", "It is published."),
	})
	t.add(serveProblem, huma.Operation{
		OperationID: "get-problem-type", Method: http.MethodGet, Path: pathProblems + "{code}",
		Summary: "What a problem type means", Parameters: []*huma.Param{pathParam("code", "The last segment of the type")},
		Responses: replies(http.StatusOK, mediaText, "For people."),
	})
	t.add(serveProblems, huma.Operation{
		OperationID: "list-problem-types", Method: http.MethodGet, Path: pathProblems,
		Summary: "Every problem type, one a line", Responses: replies(http.StatusOK, mediaText, "For people."),
	})
	t.add(s.serveHealth, huma.Operation{
		OperationID: "get-health", Method: http.MethodGet, Path: pathHealth,
		Summary: "Whether the process is alive, for balancers", Responses: replies(http.StatusOK, mediaText, "It is."),
	})
}

func (s *Server) serveASMetadata(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", mediaJSON)
	w.Header().Set("Cache-Control", "public, max-age=300")
	_, _ = w.Write(s.issuer.metadata)
}

func redirectMetadata(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, wellKnownAS, http.StatusTemporaryRedirect)
}

// serveHealth says that the process is alive, and takes requests. Balancers tear
// calls apart that are on a node which says no: it is said when they are asked to
// leave (Drain).
func (s *Server) serveHealth(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", mediaText+"; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if s.draining.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte("draining\n"))
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}
