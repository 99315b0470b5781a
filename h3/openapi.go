package h3

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// The OpenAPI 3.1 document is made of the Go types and of what each resource
// says of itself when it enters the tree. docs/spec/openapi.json is a copy of
// it, with telco.example for the authority.

// Tags sort the operations for readers.
const (
	tagAccess       = "access"
	tagDiscovery    = "discovery"
	tagHandlers     = "handlers"
	tagCustomerTGs  = "customer TGs"
	tagCertificates = "certificates"
	tagCalls        = "calls"
	tagByways       = "byways"
	tagAbout        = "about"
)

// Media types.
const (
	mediaJSON    = "application/json"
	mediaProblem = "application/problem+json" // RFC 9457
	mediaForm    = "application/x-www-form-urlencoded"
	mediaPKCS10  = "application/pkcs10" // RFC 5967
	mediaBinary  = "application/octet-stream"
	mediaText    = "text/plain"
	mediaOpenAPI = "application/openapi+json"
)

// securityOAuth names the scheme in the document.
const securityOAuth = "oauth"

// addOpenAPI enters the document itself, last: what comes after is not in it.
func (s *Server) addOpenAPI(t *routes) {
	var doc []byte
	t.add(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaOpenAPI)
		w.Header().Set("Cache-Control", "public, max-age=300")
		_, _ = w.Write(doc)
	}, huma.Operation{
		OperationID: "get-openapi", Method: http.MethodGet, Path: pathOpenAPI,
		Summary: "This document", Responses: replies(http.StatusOK, mediaOpenAPI, "OpenAPI 3.1."),
	})
	t.describe(s.base)
	var err error
	if doc, err = json.Marshal(t.api.OpenAPI()); err != nil {
		panic(fmt.Sprintf("RIPT server: encode the OpenAPI document: %v", err)) // of our own types, so every test finds it
	}
}

// describe adds what holds for the whole document.
func (t *routes) describe(base string) {
	o := t.api.OpenAPI()
	o.Info.Description = "RealTime Internet Peering for Telephony: telephone calls as resources of HTTP/3. " +
		"Errors are problems of RFC 9457. Unknown members are ignored. A client learns every URI from a document, " +
		"beginning with the well-known ones; paths below are this server's own."
	o.Servers = []*huma.Server{{URL: base}}
	o.Tags = []*huma.Tag{
		{Name: tagAccess, Description: "Access tokens: client credentials with private_key_jwt (RFC 7523), one token per resource (RFC 8707)."},
		{Name: tagDiscovery, Description: "From the domain to the terminal group (TG) that takes the calls."},
		{Name: tagHandlers, Description: "What the client can send and receive."},
		{Name: tagCustomerTGs, Description: "Where the client wants its own calls."},
		{Name: tagCertificates, Description: "Certificates with which callers are vouched for."},
		{Name: tagCalls, Description: "Calls."},
		{Name: tagByways, Description: "Events and media of a call."},
		{Name: tagAbout, Description: "About the server."},
	}
	o.Components.SecuritySchemes = map[string]*huma.SecurityScheme{securityOAuth: {
		Type: "oauth2", Description: "Authorization: Bearer with an access token for the TG (resources below it), or for the RIPT root.",
		Flows: &huma.OAuthFlows{ClientCredentials: &huma.OAuthFlow{
			TokenURL: base + pathToken, Scopes: map[string]string{scopeCall: "Place calls, and what belongs to that."},
		}},
	}}
	o.Components.Responses = map[string]*huma.Response{"Problem": {
		Description: "Refused. Retry-After says when to try again, where that may help.",
		Headers:     map[string]*huma.Param{"Retry-After": {Description: "Seconds", Schema: &huma.Schema{Type: huma.TypeInteger}}},
		Content:     map[string]*huma.MediaType{mediaProblem: {Schema: t.schemaOf(Problem{}), Example: exampleProblem}},
	}}
	for path, item := range o.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Put, item.Post, item.Delete} {
			if op != nil {
				t.finish(path, op)
			}
		}
	}
	schemas := o.Components.Schemas.Map()
	schemas["NumberSet"] = numberSetSchema(schemas["NumberSet"])
	delete(schemas, "ProblemError") // huma's view of problemError
}

// finish adds to an operation what all have: security, problems, examples.
func (t *routes) finish(path string, op *huma.Operation) {
	op.Tags = []string{tagOf(path)}
	op.Security = []map[string][]string{{securityOAuth: {scopeCall}}}
	if public(path) {
		op.Security = []map[string][]string{{}}
	}
	for status, r := range op.Responses {
		if code, err := strconv.Atoi(status); err != nil || code >= 400 && r.Content[mediaProblem] != nil {
			delete(op.Responses, status)
		}
	}
	op.Responses["default"] = &huma.Response{Ref: "#/components/responses/Problem"}
	example, ok := examples[op.OperationID]
	if !ok {
		return
	}
	if op.RequestBody != nil {
		for _, m := range op.RequestBody.Content {
			m.Example = example.request
		}
	}
	for _, r := range op.Responses {
		if m := r.Content[mediaJSON]; m != nil {
			m.Example = example.response
		}
	}
}

// tagOf sorts a path.
func tagOf(path string) string {
	for _, in := range []struct{ part, tag string }{
		{pathOAuth + "/", tagAccess}, {wellKnownAS, tagAccess}, {wellKnownOAuth, tagAccess},
		{pathOpenAPI, tagAbout}, {pathHealth, tagAbout}, {pathProblems, tagAbout},
		{"/cert", tagCertificates}, {"customertgs", tagCustomerTGs}, {"consumertgs", tagCustomerTGs}, {"/handlers", tagHandlers},
		{"/calls/{call}/", tagByways}, {"/calls", tagCalls}, {"/media", tagByways},
	} {
		if strings.Contains(path, in.part) {
			return in.tag
		}
	}
	return tagDiscovery
}

func (t *routes) schemaOf(v any) *huma.Schema {
	return t.api.OpenAPI().Components.Schemas.Schema(reflect.TypeOf(v), true, "")
}

func (t *routes) bodyOf(v any) *huma.RequestBody {
	return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{mediaJSON: {Schema: t.schemaOf(v)}}}
}

func (t *routes) replyWith(status int, v any, what string) map[string]*huma.Response {
	r := replies(status, mediaJSON, what)
	r[strconv.Itoa(status)].Content[mediaJSON].Schema = t.schemaOf(v)
	return r
}

// numberSetSchema adds the shorter forms that policy.NumberSet reads.
func numberSetSchema(full *huma.Schema) *huma.Schema {
	pattern := &huma.Schema{Type: huma.TypeString, Description: "+12025550123, +1202555xxxx, +1202*, *@pbx.example or *"}
	return &huma.Schema{
		Description: "Numbers: one pattern, a list of them, or patterns with exceptions. The longest match wins, an exception over an equally long permission.",
		OneOf:       []*huma.Schema{pattern, {Type: huma.TypeArray, Items: pattern}, full},
	}
}

// replies is one response, of a media type or without a body.
func replies(status int, media, what string) map[string]*huma.Response {
	r := &huma.Response{Description: what}
	switch media {
	case "":
	case mediaJSON, mediaOpenAPI:
		r.Content = map[string]*huma.MediaType{media: {Schema: &huma.Schema{Type: huma.TypeObject}}}
	case mediaBinary:
		r.Content = map[string]*huma.MediaType{media: binary()}
	default:
		r.Content = map[string]*huma.MediaType{media: {Schema: &huma.Schema{Type: huma.TypeString}}}
	}
	return map[string]*huma.Response{strconv.Itoa(status): r}
}

func redirects(status int) map[string]*huma.Response {
	return map[string]*huma.Response{strconv.Itoa(status): {
		Description: http.StatusText(status),
		Headers:     map[string]*huma.Param{"Location": {Schema: &huma.Schema{Type: huma.TypeString}}},
	}}
}

// binary is a body that JSON Schema has nothing to say about.
func binary() *huma.MediaType { return &huma.MediaType{Schema: &huma.Schema{}} }

func pathParam(name, what string) *huma.Param {
	return &huma.Param{Name: name, In: "path", Required: true, Description: what, Schema: &huma.Schema{Type: huma.TypeString}}
}

func headerParam(name, what string) *huma.Param {
	return &huma.Param{Name: name, In: "header", Description: what, Schema: &huma.Schema{Type: huma.TypeString}}
}

func callParams(more ...*huma.Param) []*huma.Param {
	return slices.Concat([]*huma.Param{pathParam("tg", "Name of the TG"), pathParam("call", "UUID of the call")}, more)
}

func csrBody() *huma.RequestBody {
	text := &huma.Schema{Type: huma.TypeString}
	return &huma.RequestBody{
		Required: true, Description: "A PKCS #10 request with a TNAuthList and a key on P-256: DER, PEM, or either in JSON (DER then in base64).",
		Content: map[string]*huma.MediaType{
			mediaPKCS10: binary(),
			mediaJSON: {Schema: &huma.Schema{
				Type: huma.TypeObject, Properties: map[string]*huma.Schema{"csr": text}, Required: []string{"csr"},
			}},
		},
	}
}

func chainBody() *huma.RequestBody {
	return &huma.RequestBody{
		Required: true, Description: "The chain, leaf first.",
		Content: map[string]*huma.MediaType{mediaPEM: {Schema: &huma.Schema{Type: huma.TypeString}}},
	}
}

func enrolReplies() map[string]*huma.Response {
	out := replies(http.StatusOK, mediaPEM, "The chain, leaf first.")
	out["200"].Headers = map[string]*huma.Param{
		"Link":             {Description: `rel="x5u": the stable, public URL of the chain`, Schema: &huma.Schema{Type: huma.TypeString}},
		"Content-Location": {Description: "The same URL", Schema: &huma.Schema{Type: huma.TypeString}},
	}
	return out
}

// tokenOperation describes the token endpoint. Its errors are those of RFC 6749
// section 5.2, which is what OAuth clients read.
func tokenOperation() huma.Operation {
	text := &huma.Schema{Type: huma.TypeString}
	form := &huma.Schema{Type: huma.TypeObject, Properties: map[string]*huma.Schema{}}
	for _, name := range []string{"grant_type", "client_assertion_type", "client_assertion", "resource"} {
		form.Properties[name] = text
		form.Required = append(form.Required, name)
	}
	form.Properties["client_id"], form.Properties["scope"] = text, text
	op := huma.Operation{
		OperationID: "get-token", Method: http.MethodPost, Path: pathToken,
		Summary:     "An access token: grant_type=client_credentials, private_key_jwt, resource = the TG or the RIPT root",
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{mediaForm: {Schema: form}}},
		Responses:   replies(http.StatusOK, mediaJSON, "The token (RFC 6749 section 5.1)."),
	}
	for status, what := range map[string]string{"400": "The request is not in order.", "401": "The client could not be authenticated."} {
		op.Responses[status] = &huma.Response{Description: what, Content: map[string]*huma.MediaType{mediaJSON: {Schema: &huma.Schema{
			Type: huma.TypeObject, Properties: map[string]*huma.Schema{"error": text, "error_description": text}, Required: []string{"error"},
		}}}}
	}
	return op
}
