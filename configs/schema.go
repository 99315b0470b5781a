package configs

import (
	"reflect"
	"slices"
	"strings"
)

// Keys lists every key of the schema, in order: "sip.media.ports",
// "trunks.NAME.ript.connect", "routes[].to". Documentation and completion are
// made from it.
func Keys() []string { return keysOf(reflect.TypeFor[Config](), "") }

func keysOf(t reflect.Type, prefix string) []string {
	var keys []string
	for f := range t.Fields() {
		name := f.Tag.Get("yaml")
		if name == "" {
			continue
		}
		path := join(prefix, name)
		keys = append(keys, path)
		inner := f.Type
		switch {
		case f.Tag.Get("keyed") != "":
			inner, path = inner.Elem(), path+".NAME"
		case inner.Kind() == reflect.Slice && inner.Elem().Kind() == reflect.Struct:
			inner, path = inner.Elem(), path+"[]"
		case inner.Kind() == reflect.Pointer:
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct {
			keys = append(keys, keysOf(inner, path)...)
		}
	}
	return keys
}

// fieldsOf maps a struct's keys to its fields.
func fieldsOf(t reflect.Type) map[string]int {
	fields := make(map[string]int)
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("yaml"); name != "" {
			fields[name] = i
		}
	}
	return fields
}

// suggest says what an unknown key of a struct was probably meant to be: a
// misspelt neighbour, or a key that belongs elsewhere.
func suggest(t reflect.Type, name string) string {
	var here []string
	for f := range t.Fields() {
		if key := f.Tag.Get("yaml"); key != "" {
			here = append(here, key)
		}
	}
	if meant := nearest(name, here); meant != "" {
		return "did you mean " + meant + "?"
	}
	var elsewhere []string
	for _, key := range Keys() {
		if name != "" && (key == name || strings.HasSuffix(key, "."+name)) {
			elsewhere = append(elsewhere, key)
		}
	}
	if len(elsewhere) > 0 {
		return "it belongs at " + strings.Join(elsewhere, " or ")
	}
	slices.Sort(here)
	return "known here: " + strings.Join(here, ", ")
}

func didYouMean(s string, words []string) string {
	if meant := nearest(s, words); meant != "" {
		return " (did you mean " + meant + "?)"
	}
	return ""
}
