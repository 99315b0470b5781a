package h3

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// Limits of what stands before a body. HTTP/3 and HTTP/2 have limits of their
// own (maxHeader), past which a connection is closed without a word.
const (
	maxTarget = 8 << 10
	maxFields = 16 << 10
)

// unfit refuses what no resource needs to see, before anybody asks for a token.
func unfit(r *http.Request) *problemError {
	switch {
	case len(r.URL.RequestURI()) > maxTarget:
		return refuseHTTP(http.StatusRequestURITooLong, "the request target is longer than %d bytes", maxTarget)
	case fieldBytes(r.Header) > maxFields:
		return refuseHTTP(http.StatusRequestHeaderFieldsTooLarge, "the header fields are more than %d bytes", maxFields)
	case early(r) && !replayable(r):
		return refuseHTTP(http.StatusTooEarly, "send this again when the handshake is complete (RFC 8470)")
	}
	return nil
}

func fieldBytes(h http.Header) int {
	n := 0
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(v)
		}
	}
	return n
}

// early tells a request that a balancer received in early data, and that
// somebody may have sent a second time (RFC 8470 section 5.1). We accept none
// ourselves.
func early(r *http.Request) bool { return r.Header.Get("Early-Data") == "1" }

// replayable tells what does no harm when it comes twice: reading, and the
// byways of a call, whose events and chunks are numbered.
func replayable(r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	rest, below := strings.CutPrefix(r.URL.Path, pathTGPrefix)
	at := strings.Split(rest, "/") // tg, "calls", call, byway…
	return below && len(at) >= 4 && at[1] == "calls" && (at[3] == "events" || at[3] == "media")
}

// palatable refuses a request whose client would not read the answer, before
// anything is made of it. Media have one form only, and nobody asks for another.
func palatable(r *http.Request) *problemError {
	media := mediaJSON
	switch r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:] {
	case "certs", "cert":
		media = mediaPEM
	default:
		if strings.Contains(r.URL.Path, "/media") {
			return nil
		}
	}
	if accepts(strings.Join(r.Header.Values("Accept"), ","), media) {
		return nil
	}
	return refuseHTTP(http.StatusNotAcceptable, "this resource answers with %s", media)
}

// accepts reads an Accept field (RFC 9110 section 12.5.1): the most specific
// range that fits a media type decides. What cannot be read excludes nothing.
func accepts(field, media string) bool {
	if strings.TrimSpace(field) == "" {
		return true
	}
	kind, _, _ := strings.Cut(media, "/")
	best, ok := 0, false
	for part := range strings.SplitSeq(field, ",") {
		name, params, err := mime.ParseMediaType(part)
		if err != nil {
			return true
		}
		rank := map[string]int{"*/*": 1, kind + "/*": 2, media: 3}[name]
		if rank <= best {
			continue
		}
		q, err := strconv.ParseFloat(params["q"], 64)
		best, ok = rank, err != nil || q > 0
	}
	return ok
}
