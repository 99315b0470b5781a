package configs

import (
	"encoding"
	"fmt"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"riptide/policy"
)

// decoder turns a syntax tree into a Config by the tags of its structs. Unlike
// a YAML library's own decoder it goes on after a mistake, and remembers where
// every key stood, so that later checks can point at it.
type decoder struct {
	file     string
	problems Problems
	at       map[string]place // key -> where its value begins
	told     map[string]bool  // keys whose absence was reported, which several trunks may miss
	sums     sums             // of the files that were read
}

type place struct{ line, column int }

func (d *decoder) problem(key, what, mend string) {
	p := d.locate(key)
	d.problems = append(d.problems, Problem{File: d.file, Line: p.line, Column: p.column, Key: key, What: what, Mend: mend})
}

func (d *decoder) problemAt(n ast.Node, key, what, mend string) {
	p := placeOf(n)
	d.problems = append(d.problems, Problem{File: d.file, Line: p.line, Column: p.column, Key: key, What: what, Mend: mend})
}

// locate finds the place of a key, or of the nearest key above it that was
// written.
func (d *decoder) locate(key string) place {
	for key != "" {
		if p, ok := d.at[key]; ok {
			return p
		}
		key = key[:max(0, strings.LastIndexAny(key, ".["))]
	}
	return place{}
}

// has tells whether a key was written.
func (d *decoder) has(key string) bool {
	_, ok := d.at[key]
	return ok
}

func placeOf(n ast.Node) place {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
		n = m.Values[0].Key
	}
	t := n.GetToken()
	if t == nil || t.Position == nil {
		return place{}
	}
	return place{t.Position.Line, t.Position.Column}
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

// value decodes a node into v, whose zero or default value stays where the
// node is wrong.
func (d *decoder) value(key string, n ast.Node, v reflect.Value, tag reflect.StructTag) {
	switch n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		d.problemAt(n, key, "anchors, aliases and tags are not used here", `write the value out, and quote what begins with * & or !`)
		return
	case nil:
		return
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		v = v.Elem()
	}
	_, text := v.Addr().Interface().(encoding.TextUnmarshaler)
	switch {
	case v.Kind() == reflect.Struct && !text:
		d.mapping(key, n, v)
	case v.Kind() == reflect.Slice && tag.Get("keyed") != "":
		d.keyed(key, n, v, tag.Get("keyed"))
	case v.Kind() == reflect.Slice:
		d.list(key, n, v, tag)
	default:
		d.scalar(key, n, v, tag)
	}
}

// entries lists a mapping's keys, each once.
func (d *decoder) entries(key string, n ast.Node) []*ast.MappingValueNode {
	var values []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	case *ast.NullNode: // everything below it commented out
		return nil
	default:
		d.problemAt(n, key, "want keys and values here", "indent them below, one `key: value` per line")
		return nil
	}
	seen := map[string]int{}
	unique := values[:0:0]
	for _, e := range values {
		name := keyText(e)
		if line, dup := seen[name]; dup {
			d.problemAt(e.Key, join(key, name), fmt.Sprintf("written twice, first in line %d", line), "keep one of them")
			continue
		}
		seen[name] = placeOf(e.Key).line
		unique = append(unique, e)
	}
	return unique
}

func keyText(e *ast.MappingValueNode) string {
	if s, ok := e.Key.(*ast.StringNode); ok {
		return s.Value
	}
	if t := e.Key.GetToken(); t != nil {
		return t.Value
	}
	return ""
}

func (d *decoder) mapping(key string, n ast.Node, v reflect.Value) {
	fields := fieldsOf(v.Type())
	for _, e := range d.entries(key, n) {
		name := keyText(e)
		i, known := fields[name]
		if !known {
			d.problemAt(e.Key, join(key, clip(name)), "unknown key", suggest(v.Type(), name))
			continue
		}
		path := join(key, name)
		d.at[path] = placeOf(e.Key)
		if _, empty := e.Value.(*ast.NullNode); !empty {
			d.at[path] = placeOf(e.Value)
		}
		d.value(path, e.Value, v.Field(i), v.Type().Field(i).Tag)
	}
}

// keyed decodes a mapping of names to structs into a slice, in order.
func (d *decoder) keyed(key string, n ast.Node, v reflect.Value, nameField string) {
	for _, e := range d.entries(key, n) {
		name := keyText(e)
		path := join(key, clip(name))
		d.at[path] = placeOf(e.Key)
		if !isName(name) {
			d.problemAt(e.Key, path, "not a name", "use up to 63 letters, digits, - _ and ., beginning with a letter or digit")
			continue
		}
		elem := reflect.New(v.Type().Elem()).Elem()
		elem.FieldByName(nameField).SetString(name)
		d.value(path, e.Value, elem, "")
		v.Set(reflect.Append(v, elem))
	}
}

// list decodes a sequence. A single value is a list of one.
func (d *decoder) list(key string, n ast.Node, v reflect.Value, tag reflect.StructTag) {
	var nodes []ast.Node
	switch s := n.(type) {
	case *ast.SequenceNode:
		nodes = s.Values
	case *ast.NullNode:
		return
	default:
		nodes = []ast.Node{n}
	}
	for i, item := range nodes {
		path := fmt.Sprintf("%s[%d]", key, i)
		elem := reflect.New(v.Type().Elem()).Elem()
		if item != nil {
			d.at[path] = placeOf(item)
		}
		d.value(path, item, elem, tag)
		v.Set(reflect.Append(v, elem)) // wrong ones too, as zero values, so that indices stay
	}
}

func (d *decoder) scalar(key string, n ast.Node, v reflect.Value, tag reflect.StructTag) {
	s, ok := scalarText(n)
	if !ok {
		what := "want one value here, not a list or a mapping"
		if _, null := n.(*ast.NullNode); null {
			what = "has no value"
		}
		d.problemAt(n, key, what, "write one, or leave the key out for its default")
		return
	}
	value := reflect.New(v.Type()).Elem()
	if err := setScalar(value, s, tag, filepath.Dir(d.file)); err != nil {
		what, mend := explain(err)
		if strings.Contains(s, "-----BEGIN") {
			s = redacted // somebody pasted a key
		}
		d.problemAt(n, key, fmt.Sprintf("%q: %s", clip(s), what), mend)
		return // and the default stays, which is right by itself
	}
	v.Set(value)
}

// scalarText is the text as written, so that +12025550123 is a telephone
// number with or without quotes.
func scalarText(n ast.Node) (string, bool) {
	switch s := n.(type) {
	case *ast.StringNode:
		return s.Value, true
	case *ast.LiteralNode:
		return s.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

func setScalar(v reflect.Value, s string, tag reflect.StructTag, dir string) error {
	switch p := v.Addr().Interface().(type) {
	case *time.Duration:
		return setDuration(p, s)
	case *policy.Pattern:
		pattern, err := policy.ParsePattern(s)
		if err != nil {
			return mistake("not a number pattern", "write +12025550123, +1202555xxxx, +1202*, *@pbx.example or *")
		}
		*p = pattern
		return nil
	case *File:
		return setFile(p, s, dir)
	case *policy.Status:
		if p.UnmarshalText([]byte(s)) != nil {
			return mistake("not an answer that refuses a call", "write a SIP status as 503, or a class of them as 5xx")
		}
		return nil
	case encoding.TextUnmarshaler:
		return setText(p, s)
	case *int:
		return setInt(p, s, tag)
	}
	if words := strings.Fields(tag.Get("oneof")); len(words) > 0 && !contains(words, s) {
		return mistake("not one of the values", "write "+strings.Join(words, " or ")+didYouMean(s, words))
	}
	v.SetString(s)
	return nil
}

func setDuration(p *time.Duration, s string) error {
	t, err := time.ParseDuration(s)
	if err != nil || t <= 0 {
		return mistake("not a duration", "write it with its unit, as in 180s or 3m")
	}
	*p = t
	return nil
}

func setInt(p *int, s string, tag reflect.StructTag) error {
	low, _ := strconv.Atoi(tag.Get("min"))
	high, _ := strconv.Atoi(tag.Get("max"))
	n, err := strconv.Atoi(s)
	if err != nil || n < low || n > high {
		return mistake("out of range", fmt.Sprintf("write a whole number from %d to %d", low, high))
	}
	*p = n
	return nil
}

func setText(p encoding.TextUnmarshaler, s string) error {
	err := p.UnmarshalText([]byte(s))
	if err == nil && s != "" {
		return nil
	}
	if _, ours := err.(*valueError); ours {
		return err
	}
	switch reflect.TypeOf(p).Elem().Name() {
	case "AddrPort":
		return mistake("not an IP address and port", "write both, as in 127.0.0.1:5060 or [::1]:5060; 0.0.0.0 stands for every address")
	case "Prefix":
		return mistake("not a range of addresses", "write it with the length of its prefix: 192.0.2.0/24 for a network, 192.0.2.7/32 for one address")
	}
	return mistake("not an IP address", "write it as 203.0.113.5 or 2001:db8::1")
}

// credential is the prefix of files that systemd hands over (LoadCredential=,
// systemd.exec(5)): a key that only the service can read.
const credential = "credential:"

func setFile(p *File, s, dir string) error {
	if name, ok := strings.CutPrefix(s, credential); ok {
		if !isName(name) {
			return mistake("not the name of a credential", "write credential:NAME as in LoadCredential=NAME:/path of the unit")
		}
		*p = File(s)
		return nil
	}
	if s == "" || strings.ContainsAny(s, "\x00\n") {
		return mistake("not a file name", "name a file; relative names are relative to the configuration's directory")
	}
	if !filepath.IsAbs(s) {
		s = filepath.Join(dir, s)
	}
	*p = File(s)
	return nil
}

func contains(words []string, s string) bool {
	for _, w := range words {
		if w == s {
			return true
		}
	}
	return false
}
