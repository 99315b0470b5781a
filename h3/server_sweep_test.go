package h3

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// TestErrorsKeepSecrets asks every resource for everything in every wrong way:
// errors are problems, and none repeats the token, the PASSporT or anything
// else that was sent to it.
func TestErrorsKeepSecrets(t *testing.T) {
	t.Parallel()
	_, doc := openAPI(t)
	r := newRig(t, func(c *ServerConfig) { c.Limits.CallsPerSecond = 10_000 })
	token, root := r.token(testTG), r.token(testRoot)
	call, _ := r.place(r.h3, token)
	handler := call.Handler
	passport := r.passport(testFrom, testTo, time.Now())
	const marker = "marker-0123456789-marker"
	fill := strings.NewReplacer("{tg}", "office", "{call}", call.URI[strings.LastIndexByte(call.URI, '/')+1:],
		"{handler}", handler[strings.LastIndexByte(handler, '/')+1:], "{id}", "office", "{n}", "0", "{file}", marker+".pem", "{code}", marker)
	secrets := []string{token, root, passport, marker, "marker-0123"}
	bodies := []any{
		nil, "", "{", "[]", "[1]", `"` + marker + `"`, marker, `{"` + marker + `":"` + marker + `"}`,
		fmt.Sprintf(`{"handler":%q,"destination":%q,"passport":%q}`, marker, marker, passport),
		fmt.Sprintf(`{"handler":%q,"destination":"+12025550199","passport":%q}`, handler, passport+"x"),
		fmt.Sprintf(`{"handler":%q,"destination":"+13035550199","passport":%q}`, handler, passport),
		fmt.Sprintf(`{"handler":%q,"destination":"+12025550199","passport":%q,"facts":{"category":%q}}`, handler, marker+"."+marker+"."+marker, strings.Repeat(marker, 100)),
		fmt.Sprintf(`{"handler-id":%q,"advertisement":"1 in: %s %s;"}`, marker, marker, marker),
		fmt.Sprintf(`{"uri":"https://%s/","outbound":{"destinations":%q},"token":%q}`, marker, marker, token),
		fmt.Sprintf(`{"uri":"https://a.example/","outbound":{"destinations":"*"},"token":%q}`, root),
		fmt.Sprintf(`[{"type":%q,"direction":7}]`, marker),
		url.Values{"grant_type": {marker}, "client_assertion": {token}, "resource": {marker}}.Encode(),
		strings.Repeat(marker, maxBody/len(marker)+2),
	}
	headers := []map[string]string{
		{}, {"Content-Type": marker}, {"Accept": "text/" + marker}, {"Authorization": "Bearer " + marker}, {"Authorization": "Basic " + marker},
		{"Authorization": "Bearer " + token + "x"}, {"Idempotency-Key": strings.Repeat(marker, 20)}, {"Idempotency-Key": uuid.NewString()},
		{"If-Match": marker}, {"If-None-Match": marker}, {"Early-Data": "1"}, {"Ript-Epoch": marker}, {"Ript-Stripes": marker},
		{"Content-Type": "application/pkcs10"}, {"Content-Type": "application/x-www-form-urlencoded"}, {"X-Big": strings.Repeat(marker, maxFields/len(marker)+1)},
	}
	r.do(r.h2, exchange{method: "GET", url: testTG, token: token}) // strangers may say much less
	s := &sweep{r: r, secrets: secrets, seen: map[int]int{}}
	for path := range doc["paths"].(map[string]any) {
		if strings.Contains(path, "{call}/") {
			continue // byways, below: a good one does not end
		}
		at := "https://" + testAuthority + fill.Replace(path)
		with := token
		if strings.HasPrefix(path, wellKnownRIPT) {
			with = root
		}
		for _, method := range []string{"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "BREW"} {
			for _, h := range headers {
				s.ask(exchange{method: method, url: at, token: with, header: h, body: bodies[8]})
			}
		}
		for _, method := range []string{"PUT", "POST"} {
			for _, b := range bodies {
				s.ask(exchange{method: method, url: at, token: with, body: b, header: map[string]string{"Idempotency-Key": uuid.NewString(), "If-Match": "*"}})
			}
		}
	}
	for _, path := range []string{"/events", "/media", "/" + marker} {
		for _, method := range []string{"PUT", "POST", "DELETE", "PATCH", "HEAD"} {
			for _, b := range bodies {
				s.ask(exchange{method: method, url: call.URI + path, token: token, body: b, header: map[string]string{"Ript-Epoch": marker}})
				s.ask(exchange{method: method, url: call.URI + marker + path, token: token, body: b})
			}
		}
	}
	for _, path := range []string{"/" + marker, "/oauth/" + marker, "/certs/" + marker, pathTGPrefix + "nowhere", pathTGPrefix + "office/" + marker, "/%2f" + marker, "/?" + marker} {
		for _, with := range []string{"", token, root, marker} {
			s.ask(exchange{method: "GET", url: "https://" + testAuthority + path, token: with})
		}
	}
	for _, status := range []int{400, 401, 403, 404, 405, 406, 412, 413, 415, 425, 431, 500} {
		if s.seen[status] == 0 {
			t.Errorf("no request was refused with %d: %v", status, s.seen)
		}
	}
}

// sweep judges the answers to many requests.
type sweep struct {
	r       *rig
	secrets []string
	seen    map[int]int // status -> how often
}

func (s *sweep) ask(x exchange) {
	t := s.r.t
	t.Helper()
	resp, body := s.r.do(s.r.h2, x)
	s.seen[resp.StatusCode]++
	if resp.StatusCode < 400 {
		return
	}
	for _, secret := range s.secrets {
		if strings.Contains(string(body), secret) {
			t.Errorf("%s %s %v: %d repeats what was sent: %s", x.method, x.url, x.header, resp.StatusCode, body)
		}
		for name, values := range resp.Header {
			if strings.Contains(strings.Join(values, ","), secret) {
				t.Errorf("%s %s %v: %d: field %s repeats what was sent", x.method, x.url, x.header, resp.StatusCode, name)
			}
		}
	}
	if x.method == "HEAD" {
		return
	}
	if resp.Header.Get("Content-Type") == mediaJSON && strings.HasSuffix(x.url, pathToken) && slices.Contains([]int{400, 401}, resp.StatusCode) {
		return // an OAuth error (RFC 6749 section 5.2)
	}
	var p Problem
	if err := json.Unmarshal(body, &p); err != nil || resp.Header.Get("Content-Type") != mediaProblem || p.Status != resp.StatusCode || p.Title == "" || p.Type == "" {
		t.Errorf("%s %s %v: %d %s is no problem: %s", x.method, x.url, x.header, resp.StatusCode, resp.Header.Get("Content-Type"), body)
	}
	if cc := resp.Header.Get("Cache-Control"); !strings.HasPrefix(cc, "no-store") {
		t.Errorf("%s %s: %d may be cached: %q", x.method, x.url, resp.StatusCode, cc)
	}
}
