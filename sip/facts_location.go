package sip

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/textproto"
	"slices"
	"strings"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
)

const (
	typeSDP       = "application/sdp"
	typePIDF      = "application/pidf+xml"
	typeMultipart = "multipart/"
	maxParts      = 8
)

// errPart says that the body has a part which must be understood and is not.
var errPart = errors.New("a part of the body must be understood, and is not")

// content is what a message's body holds for us.
type content struct {
	sdp  []byte
	pidf string // PIDF-LO (RFC 4119)
}

// contentType is the media type of a message's body, in lower case.
func contentType(msg sipgo.Message) (kind string, params map[string]string) {
	values := append(headerValues(msg, "Content-Type"), headerValues(msg, "c")...)
	if len(values) == 0 {
		return "", nil
	}
	kind, params, err := mime.ParseMediaType(values[0])
	if err != nil {
		kind, _, _ = strings.Cut(strings.ToLower(values[0]), ";")
	}
	return strings.TrimSpace(kind), params
}

// contentOf takes a body apart: a session description, a location document, or
// both in parts (RFC 5621). Other parts are passed over, unless the sender says
// that they must be understood.
func contentOf(msg sipgo.Message) (content, error) {
	body := msg.Body()
	kind, params := contentType(msg)
	switch {
	case len(body) == 0:
		return content{}, nil
	case kind == typePIDF:
		return content{pidf: string(body)}, nil
	case strings.HasPrefix(kind, typeMultipart):
		return readParts(body, params["boundary"])
	}
	return content{sdp: body}, nil
}

func readParts(body []byte, boundary string) (content, error) {
	var c content
	if boundary == "" {
		return c, errors.New("multipart body without a boundary")
	}
	r := multipart.NewReader(bytes.NewReader(body), boundary)
	for n := 0; ; n++ {
		p, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			if n == 0 {
				return c, errors.New("multipart body without parts")
			}
			return c, nil
		}
		if err != nil {
			return c, fmt.Errorf("multipart body: %w", err)
		}
		if n == maxParts {
			return c, fmt.Errorf("multipart body of more than %d parts", maxParts)
		}
		text, err := io.ReadAll(p) // the message is bounded
		if err != nil {
			return c, fmt.Errorf("multipart body: %w", err)
		}
		kind, _, _ := mime.ParseMediaType(p.Header.Get("Content-Type"))
		switch {
		case kind == typeSDP && c.sdp == nil:
			c.sdp = text
		case kind == typePIDF && c.pidf == "":
			c.pidf = string(text)
		case required(p.Header.Get("Content-Disposition")):
			return c, fmt.Errorf("%w: %.64q", errPart, kind)
		}
	}
}

// required tells what a sender insists on. RFC 3261 section 20.11 takes that
// for granted where nothing is said; so many send parts for their own network
// without a word that we do not.
func required(disposition string) bool {
	_, params, err := mime.ParseMediaType(disposition)
	return err == nil && strings.EqualFold(params["handling"], "required")
}

// editable is a request or a response.
type editable interface {
	sipgo.Message
	Headers() []sipgo.Header
	RemoveHeader(name string) bool
}

// unpack leaves a message with nothing but its session description in the body,
// and returns the location that came with it.
func unpack(msg editable) (pidf string, r *refusal) {
	kind, _ := contentType(msg)
	if kind != typePIDF && !strings.HasPrefix(kind, typeMultipart) {
		return "", nil
	}
	c, err := contentOf(msg)
	if errors.Is(err, errPart) {
		return "", refuse(415, "", acceptHeader)
	}
	if err != nil {
		return "", refuse(400, "Bad Multipart Body")
	}
	for _, h := range slices.Clone(msg.Headers()) {
		if canonicalName(h.Name()) == "content-type" {
			msg.RemoveHeader(h.Name())
		}
	}
	if len(c.sdp) > 0 {
		msg.AppendHeader(sipgo.NewHeader("Content-Type", typeSDP))
	}
	msg.SetBody(c.sdp)
	return c.pidf, nil
}

// pack makes the body of a session description and a location document (RFC
// 6442 section 3.1), and the header fields that go with it.
func pack(sdp []byte, pidf, id string) (body []byte, headers []sipgo.Header) {
	if pidf == "" {
		return sdp, []sipgo.Header{sipgo.NewHeader("Content-Type", typeSDP)}
	}
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, p := range []struct {
		header textproto.MIMEHeader
		text   []byte
	}{
		{textproto.MIMEHeader{"Content-Type": {typeSDP}}, sdp},
		{textproto.MIMEHeader{"Content-Type": {typePIDF}, "Content-Id": {"<" + id + ">"}}, []byte(pidf)},
	} {
		part, err := w.CreatePart(p.header)
		if err == nil {
			_, err = part.Write(p.text)
		}
		if err != nil {
			return sdp, []sipgo.Header{sipgo.NewHeader("Content-Type", typeSDP)} // a buffer in memory: it cannot
		}
	}
	_ = w.Close()
	return b.Bytes(), []sipgo.Header{
		sipgo.NewHeader("MIME-Version", "1.0"),
		sipgo.NewHeader("Content-Type", "multipart/mixed;boundary="+w.Boundary()),
	}
}

// locationOf reads Geolocation and Geolocation-Routing (RFC 6442 section 4).
func locationOf(msg sipgo.Message, pidf string) *bridge.Location {
	var l bridge.Location
	for _, v := range listOf(msg, "Geolocation") {
		uri, _, _ := strings.Cut(strings.TrimPrefix(v, "<"), ">")
		scheme, _, _ := strings.Cut(uri, ":")
		switch strings.ToLower(scheme) {
		case "cid":
			l.PIDF = pidf
		case "http", "https", "sip", "sips", "pres":
			if l.URI == "" {
				l.URI = uri
			}
		}
	}
	if l.URI == "" && l.PIDF == "" {
		return nil
	}
	for _, v := range headerValues(msg, "Geolocation-Routing") {
		word, _, _ := strings.Cut(v, ";")
		l.Routing = l.Routing || strings.EqualFold(strings.TrimSpace(word), "yes")
	}
	return &l
}

// locationHeaders say where the location is, and whether it may route the call.
func locationHeaders(l *bridge.Location, id string) []sipgo.Header {
	if l == nil {
		return nil
	}
	var where []string
	if l.PIDF != "" {
		where = append(where, "<cid:"+id+">")
	}
	if l.URI != "" {
		where = append(where, "<"+l.URI+">")
	}
	routing := "no"
	if l.Routing {
		routing = "yes"
	}
	return []sipgo.Header{
		sipgo.NewHeader("Geolocation", strings.Join(where, ", ")),
		sipgo.NewHeader("Geolocation-Routing", routing),
	}
}
