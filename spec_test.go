package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"riptide/bridge"
	"riptide/h3"
	"riptide/h3/advert"
	"riptide/h3/chunk"
)

// The specification is a product: what can be checked of it by a machine is.

var updateSpec = flag.Bool("update", false, "write the generated parts of docs/spec/baseline.md anew")

const specFile = "docs/spec/baseline.md"

func readSpec(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(specFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// block is a fenced block: its info string without the language, and its text.
type block struct{ name, text string }

func blocks(spec, language string) []block {
	var out []block
	fence := regexp.MustCompile("(?ms)^```" + language + "(?: +([^\n]+))?\n(.*?)^```$")
	for _, m := range fence.FindAllStringSubmatch(spec, -1) {
		out = append(out, block{m[1], m[2]})
	}
	return out
}

// TestSpecExamples reads every JSON example with the type that serves it: a
// member that the code does not know, or knows by another name, is an error.
func TestSpecExamples(t *testing.T) {
	types := map[string]func() any{
		"TGList":          func() any { return new(h3.TGList) },
		"TG":              func() any { return new(h3.TG) },
		"Handler":         func() any { return new(h3.Handler) },
		"CallRequest":     func() any { return new(h3.CallRequest) },
		"CallDescription": func() any { return new(h3.CallDescription) },
		"CallUpdate":      func() any { return new(h3.CallUpdate) },
		"CustomerTG":      func() any { return new(h3.CustomerTG) },
		"Facts":           func() any { return new(bridge.Facts) },
		"Event":           func() any { return new(h3.Event) },
		"Reason":          func() any { return new(h3.Reason) },
		"Problem":         func() any { return new(h3.Problem) },
	}
	seen := map[string]bool{}
	for _, b := range blocks(readSpec(t), "json") {
		make, known := types[b.name]
		if !known {
			t.Errorf("the specification has an example of %q, which this test does not know", b.name)
			continue
		}
		seen[b.name] = true
		dec := json.NewDecoder(strings.NewReader(b.text))
		dec.DisallowUnknownFields()
		if err := dec.Decode(make()); err != nil {
			t.Errorf("example of %s: %v", b.name, err)
		}
	}
	for name := range types {
		if !seen[name] {
			t.Errorf("the specification has no example of %s", name)
		}
	}
}

// TestSpecMembers wants every member of every document named.
func TestSpecMembers(t *testing.T) {
	spec := readSpec(t)
	seen := map[reflect.Type]bool{}
	var visit func(reflect.Type)
	visit = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || seen[typ] || !strings.HasPrefix(typ.PkgPath(), "riptide/") {
			return
		}
		seen[typ] = true
		for i := range typ.NumField() {
			f := typ.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name != "" && name != "-" && !regexp.MustCompile("[`\".]"+regexp.QuoteMeta(name)+"[`\"]").MatchString(spec) {
				t.Errorf("%s: the specification does not mention the member %q", typ, name)
			}
			visit(f.Type)
		}
	}
	for _, v := range []any{h3.TGList{}, h3.TG{}, h3.Handler{}, h3.CallRequest{}, h3.CallDescription{}, h3.CallUpdate{}, h3.CustomerTG{}, h3.Event{}, h3.Problem{}} {
		visit(reflect.TypeOf(v))
	}
}

func TestSpecAdvertisements(t *testing.T) {
	spec := readSpec(t)
	var advs []advert.Advert
	for _, b := range blocks(spec, "advert") {
		a, err := advert.ParseAdvert(b.text)
		if err != nil {
			t.Errorf("%s: %v", b.text, err)
		}
		advs = append(advs, a)
	}
	for _, b := range blocks(spec, "directive") {
		if _, err := advert.ParseDirective(b.text); err != nil {
			t.Errorf("%s: %v", b.text, err)
		}
	}
	if len(advs) == 0 {
		t.Error("the specification shows no advertisement")
	}
}

type chunkVector struct{ Name, Hex, Error string }

// TestSpecChunks holds the specification's hexadecimal examples against the
// test vectors.
func TestSpecChunks(t *testing.T) {
	raw, err := os.ReadFile("testdata/chunk/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []chunkVector
	if err := json.Unmarshal(raw, &vectors); err != nil {
		t.Fatal(err)
	}
	spec := readSpec(t)
	found := blocks(spec, "hex")
	if len(found) == 0 {
		t.Error("the specification shows no chunk")
	}
	for _, b := range found {
		i := slices.IndexFunc(vectors, func(v chunkVector) bool { return v.Name == b.name })
		if i < 0 {
			t.Errorf("no test vector is named %q", b.name)
			continue
		}
		bin, err := hex.DecodeString(vectors[i].Hex)
		if err != nil {
			t.Fatal(err)
		}
		want := explain(bin)
		if *updateSpec {
			spec = strings.Replace(spec, "```hex "+b.name+"\n"+b.text+"```", "```hex "+b.name+"\n"+want+"```", 1)
		} else if b.text != want {
			t.Errorf("%q:\n%s\nis not the vector:\n%s", b.name, b.text, want)
		}
	}
	writeSpec(t, spec)
}

func writeSpec(t *testing.T, spec string) {
	t.Helper()
	if *updateSpec {
		if err := os.WriteFile(specFile, []byte(spec), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

var tagNames = map[uint64]string{
	1: "sequence number", 2: "timestamp", 3: "payload type", 4: "media", 5: "kind: control", 6: "source", 7: "sink",
	8: "reference frame", 9: "spatial layer", 10: "temporal layer", 11: "audio level", 12: "control type", 13: "key id",
	14: "media clock", 15: "marker", 17: "acknowledgement", 18: "control body",
}

// explain writes a chunk as the specification shows it: a field per line.
func explain(b []byte) string {
	var out strings.Builder
	line := func(what string, parts ...[]byte) {
		var s []string
		for _, p := range parts {
			s = append(s, hex.EncodeToString(p))
		}
		fmt.Fprintf(&out, "%-34s %s\n", strings.Join(s, " "), what)
	}
	line("version", b[:1])
	length, n := uvarint(b[1:])
	line(fmt.Sprintf("envelope, %d bytes", length), b[1:1+n])
	rest, end := b[1+n:], len(b)-1-n-int(length)
	sealed := false
	for len(rest) > 0 {
		if sealed && len(rest) <= end {
			line("auth tag and ciphertext, opaque", rest)
			return out.String()
		}
		tag, tn := uvarint(rest)
		size, sn := uvarint(rest[tn:])
		head, value := rest[:tn], rest[tn+sn:tn+sn+int(size)]
		what := fmt.Sprintf("%d %s", tag, tagNames[tag])
		switch {
		case tag == 3 || tag == 8 || tag == 12 || tag == 13:
			v, _ := uvarint(value)
			what += fmt.Sprintf(" = %d", v)
		case size <= 8 && tag != 4 && tag != 17 && tag != 18 && tag != 5:
			v := uint64(0)
			for _, c := range value {
				v = v<<8 | uint64(c)
			}
			what += fmt.Sprintf(" = %d", v)
		}
		sealed = sealed || tag == 13
		line(what, head, rest[tn:tn+sn], value)
		rest = rest[tn+sn+int(size):]
	}
	return out.String()
}

// uvarint reads a varint of QUIC (RFC 9000 section 16).
func uvarint(b []byte) (uint64, int) {
	n := 1 << (b[0] >> 6)
	var full [8]byte
	copy(full[8-n:], b[:n])
	full[8-n] &= 0x3f
	return binary.BigEndian.Uint64(full[:]), n
}

// TestSpecProblems keeps the table of codes: it is generated from the one the
// bridge uses.
func TestSpecProblems(t *testing.T) {
	var b strings.Builder
	b.WriteString("| code | http | event | SIP | Q.850 | meaning |\n|--|--|--|--|--|--|\n")
	for _, code := range bridge.Codes() {
		c := bridge.Cause{Code: code}
		sip, _ := c.SIPStatus()
		fmt.Fprintf(&b, "| `%s` | %d | `%s` | %d | %d | %s |\n", code, c.HTTPStatus(), c.RIPTEvent(false), sip, c.Q850Cause(), c.Title())
	}
	generated(t, "problems", b.String())
}

// generated checks, or writes, what stands between two marks.
func generated(t *testing.T, name, want string) {
	t.Helper()
	spec := readSpec(t)
	begin, end := "<!-- "+name+" -->\n", "<!-- end of "+name+" -->\n"
	before, rest, ok := strings.Cut(spec, begin)
	got, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("the specification has no place for %s", name)
	}
	if *updateSpec {
		writeSpec(t, before+begin+want+end+after)
	} else if got != want {
		t.Errorf("the specification's %s are not those of the code; go test -run TestSpec . -update writes them", name)
	}
}

// TestSpecCodecs compares the codec table with the registry in the bridge.
func TestSpecCodecs(t *testing.T) {
	spec := readSpec(t)
	for _, c := range []bridge.Codec{bridge.PCMU, bridge.PCMA, bridge.G722, bridge.ComfortNoise, bridge.Opus, bridge.TelephoneEvent, bridge.H264, bridge.VP8} {
		row := regexp.MustCompile("(?m)^\\|.*`" + regexp.QuoteMeta(c.String()) + "`.*\\|.*\\b" + fmt.Sprint(uint8(c)) + "\\b.*\\| " + fmt.Sprint(c.ClockRate()) + " \\|")
		if !row.MatchString(spec) {
			t.Errorf("the table of codecs has no row for %s, payload type %d, clock %d", c, uint8(c), c.ClockRate())
		}
	}
}

// TestSpecTags compares the tag table with the parser's.
func TestSpecTags(t *testing.T) {
	_, table, _ := strings.Cut(readSpec(t), "### 9.1 ")
	table, _, _ = strings.Cut(table, "### 9.2 ")
	for tag := chunk.Tag(1); tag < 32; tag++ {
		known := tagNames[uint64(tag)] != ""
		listed := regexp.MustCompile(fmt.Sprintf(`(?m)^\| %d \| ([^r]|ref)`, tag)).MatchString(table)
		if known != listed {
			t.Errorf("tag %d: known %v, listed %v", tag, known, listed)
		}
	}
}

// TestSpecLinks follows the links within the document and to its neighbours.
func TestSpecLinks(t *testing.T) {
	spec := readSpec(t)
	anchors := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(spec, -1) {
		a := strings.ToLower(m[1])
		a = regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(a, "")
		anchors["#"+strings.ReplaceAll(a, " ", "-")] = true
	}
	for _, m := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(spec, -1) {
		switch to := m[1]; {
		case strings.HasPrefix(to, "#"):
			if !anchors[to] {
				t.Errorf("no heading for %s", to)
			}
		case strings.Contains(to, "://"):
		default:
			if _, err := os.Stat("docs/spec/" + to); err != nil {
				t.Error(err)
			}
		}
	}
	if bytes.Contains([]byte(spec), []byte("TABLE")) {
		t.Error("a table is missing")
	}
}
