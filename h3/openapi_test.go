package h3

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what the tests compare with: docs/spec/openapi.json, testdata/events")

const openAPIFile = "../docs/spec/openapi.json"

// openAPI is the document of a server, as a client gets it.
func openAPI(t *testing.T) (raw []byte, doc map[string]any) {
	t.Helper()
	r := newRig(t)
	resp, raw := r.do(r.h3, exchange{method: "GET", url: testRoot + "/openapi.json"})
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != mediaOpenAPI {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	must(t, json.Unmarshal(raw, &doc))
	return raw, doc
}

// TestOpenAPIFile keeps the copy in the specification up to date.
func TestOpenAPIFile(t *testing.T) {
	t.Parallel()
	raw, _ := openAPI(t)
	raw = bytes.ReplaceAll(raw, []byte("https://"+testAuthority), []byte(exampleBase))
	var want bytes.Buffer
	must(t, json.Indent(&want, raw, "", "  "))
	want.WriteByte('\n')
	if *update {
		must(t, os.MkdirAll("../docs/spec", 0o755))
		must(t, os.WriteFile(openAPIFile, want.Bytes(), 0o644))
	}
	have, err := os.ReadFile(openAPIFile)
	must(t, err)
	if !bytes.Equal(have, want.Bytes()) {
		t.Errorf("%s is not what the server serves: go test ./h3 -run TestOpenAPIFile -update", openAPIFile)
	}
}

// TestOpenAPIRoutes asks for every operation of the document: there is a
// resource behind each, and none behind the methods it does not name.
func TestOpenAPIRoutes(t *testing.T) {
	t.Parallel()
	_, doc := openAPI(t)
	r := newRig(t)
	root, token := r.token(testRoot), r.token(testTG)
	parameter := regexp.MustCompile(`\{[a-z]+\}`)
	for path, item := range doc["paths"].(map[string]any) {
		url := "https://" + testAuthority + parameter.ReplaceAllString(strings.Replace(path, "{tg}", "office", 1), "nothing")
		x := exchange{url: url, token: token}
		if strings.HasPrefix(path, wellKnownRIPT) {
			x.token = root
		}
		for _, method := range []string{"GET", "PUT", "POST", "DELETE", "PATCH"} {
			_, there := item.(map[string]any)[strings.ToLower(method)]
			x.method = method
			resp, body := r.do(r.h3, x)
			none := resp.StatusCode == http.StatusMethodNotAllowed || strings.Contains(string(body), "no such resource")
			// A call that is not there has no methods.
			if there == none && !(resp.StatusCode == 404 && strings.Contains(path, "{call}")) {
				t.Errorf("%s %s: %d, in the document: %v", method, path, resp.StatusCode, there)
			}
		}
	}
}

// TestOpenAPIStructure checks the document against what OpenAPI 3.1.0 demands.
func TestOpenAPIStructure(t *testing.T) {
	t.Parallel()
	_, doc := openAPI(t)
	c := &openAPICheck{t: t, doc: doc, ids: map[string]bool{}}
	if v, _ := doc["openapi"].(string); !strings.HasPrefix(v, "3.1.") {
		t.Errorf("openapi %q", v)
	}
	c.need("info", doc["info"], "title", "version")
	for path, item := range c.object("paths", doc["paths"]) {
		for method, op := range c.object(path, item) {
			c.operation(method+" "+path, path, op)
		}
	}
	components := c.object("components", doc["components"])
	for name, schema := range c.object("schemas", components["schemas"]) {
		if !regexp.MustCompile(`^[a-zA-Z0-9._-]+$`).MatchString(name) {
			t.Errorf("schema name %q", name)
		}
		c.schema("schemas/"+name, schema)
	}
	c.response("responses/Problem", c.object("responses", components["responses"])["Problem"])
	flows := c.object("flows", c.object(securityOAuth, c.object("security", components["securitySchemes"])[securityOAuth])["flows"])
	c.need("clientCredentials", flows["clientCredentials"], "tokenUrl", "scopes")
	for id := range examples {
		if !c.ids[id] {
			t.Errorf("an example is for operation %q, which is not there", id)
		}
	}
}

// openAPICheck walks a document.
type openAPICheck struct {
	t   *testing.T
	doc map[string]any
	ids map[string]bool
}

func (c *openAPICheck) object(at string, v any) map[string]any {
	c.t.Helper()
	m, ok := v.(map[string]any)
	if !ok {
		c.t.Errorf("%s: %T, want an object", at, v)
	}
	return m
}

func (c *openAPICheck) need(at string, v any, members ...string) map[string]any {
	c.t.Helper()
	m := c.object(at, v)
	for _, name := range members {
		if m[name] == nil {
			c.t.Errorf("%s lacks %s", at, name)
		}
	}
	return m
}

func (c *openAPICheck) operation(at, path string, v any) {
	op := c.need(at, v, "operationId", "summary", "responses", "tags", "security")
	id := fmt.Sprint(op["operationId"])
	if c.ids[id] {
		c.t.Errorf("%s: operationId %q is there twice", at, id)
	}
	c.ids[id] = true
	want := regexp.MustCompile(`\{([a-z]+)\}`).FindAllStringSubmatch(path, -1)
	var have []string
	parameters, _ := op["parameters"].([]any)
	for _, p := range parameters {
		m := c.need(at+" parameter", p, "name", "in", "schema")
		c.schema(at, m["schema"])
		if m["in"] == "path" {
			have = append(have, fmt.Sprint(m["name"]))
			if m["required"] != true {
				c.t.Errorf("%s: path parameter %v is not required", at, m["name"])
			}
		}
	}
	for _, m := range want {
		if !slices.Contains(have, m[1]) {
			c.t.Errorf("%s: parameter %s is not described", at, m[1])
		}
	}
	if len(have) != len(want) {
		c.t.Errorf("%s: path parameters %v", at, have)
	}
	for _, m := range jsonBodies(op) {
		if m["example"] == nil && !slices.Contains([]string{"get-authorization-server", "get-jwks", "get-token", "enrol-certificate"}, id) {
			c.t.Errorf("%s: a JSON body without an example", at)
		}
	}
	if body, ok := op["requestBody"]; ok {
		c.content(at, c.need(at, body, "content")["content"])
	}
	responses := c.need(at, op["responses"], "default")
	if len(responses) < 2 {
		c.t.Errorf("%s: no response but problems", at)
	}
	for status, r := range responses {
		if status != "default" && !regexp.MustCompile(`^[1-5][0-9][0-9]$`).MatchString(status) {
			c.t.Errorf("%s: status %q", at, status)
		}
		c.response(at+" "+status, r)
	}
}

// jsonBodies are the application/json parts of what an operation takes and
// answers.
func jsonBodies(op map[string]any) (out []map[string]any) {
	holders := []any{op["requestBody"]}
	for _, r := range op["responses"].(map[string]any) {
		holders = append(holders, r)
	}
	for _, h := range holders {
		m, _ := h.(map[string]any)
		content, _ := m["content"].(map[string]any)
		if body, ok := content[mediaJSON].(map[string]any); ok {
			out = append(out, body)
		}
	}
	return out
}

func (c *openAPICheck) response(at string, v any) {
	r := c.object(at, v)
	if ref, ok := r["$ref"].(string); ok {
		c.resolve(at, ref)
		return
	}
	c.need(at, v, "description")
	if content, ok := r["content"]; ok {
		c.content(at, content)
	}
	headers, _ := r["headers"].(map[string]any)
	for name, h := range headers {
		c.schema(at+" "+name, c.need(at, h, "schema")["schema"])
		if c.object(name, h)["name"] != nil || c.object(name, h)["in"] != nil {
			c.t.Errorf("%s: header object %s has a name or a place", at, name)
		}
	}
}

func (c *openAPICheck) content(at string, v any) {
	for media, m := range c.object(at, v) {
		if !strings.Contains(media, "/") {
			c.t.Errorf("%s: media type %q", at, media)
		}
		c.schema(at, c.need(at, m, "schema")["schema"])
	}
}

// schema checks a JSON Schema (2020-12) as far as ours go.
func (c *openAPICheck) schema(at string, v any) {
	s := c.object(at, v)
	if ref, ok := s["$ref"].(string); ok {
		c.resolve(at, ref)
		return
	}
	kinds, ok := s["type"].([]any)
	if !ok && s["type"] != nil {
		kinds = []any{s["type"]}
	}
	for _, k := range kinds {
		if !slices.Contains([]any{"object", "array", "string", "integer", "number", "boolean", "null"}, k) {
			c.t.Errorf("%s: type %v", at, k)
		}
	}
	if slices.Contains(kinds, any("array")) {
		c.schema(at+"[]", s["items"])
	}
	properties, _ := s["properties"].(map[string]any)
	for name, p := range properties {
		c.schema(at+"."+name, p)
	}
	required, _ := s["required"].([]any)
	for _, name := range required {
		if properties[fmt.Sprint(name)] == nil {
			c.t.Errorf("%s: %v is required and not described", at, name)
		}
	}
	for _, key := range []string{"oneOf", "anyOf", "allOf"} {
		list, _ := s[key].([]any)
		for _, one := range list {
			c.schema(at+" "+key, one)
		}
	}
}

func (c *openAPICheck) resolve(at, ref string) {
	var v any = c.doc
	for name := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	if v == nil {
		c.t.Errorf("%s: %s leads nowhere", at, ref)
	}
}
