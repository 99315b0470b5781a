package configs

import (
	"cmp"
	"crypto/sha256"
	"reflect"
	"slices"
)

// Change is a key that two configurations differ in.
type Change struct {
	Key  string // as in "trunks.pbx.sip.callers"; a trunk that is new or gone is one, as in "trunks.pbx"
	File bool   // the key is the same, the file that it names holds something else
}

// Changes says in what a configuration differs from one that was loaded before,
// both filled with their defaults: by key, in order.
func (c *Config) Changes(before *Config) []Change {
	var d differences
	d.structs(reflect.ValueOf(*before), reflect.ValueOf(*c), "")
	was, is := before.sums.Reveal(), c.sums.Reveal()
	for key, sum := range is {
		if old, ok := was[key]; ok && old != sum {
			d.found = append(d.found, Change{Key: key, File: true})
		}
	}
	slices.SortFunc(d.found, func(a, b Change) int { return cmp.Compare(a.Key, b.Key) })
	return slices.CompactFunc(d.found, func(a, b Change) bool { return a.Key == b.Key })
}

type differences struct{ found []Change }

func (d *differences) add(key string) { d.found = append(d.found, Change{Key: key}) }

// structs compares two of the schema's structs. What was loaded from files has no
// key, and is compared by its sums.
func (d *differences) structs(a, b reflect.Value, path string) {
	for i := range a.NumField() {
		f := a.Type().Field(i)
		name := f.Tag.Get("yaml")
		switch {
		case name == "":
		case f.Tag.Get("keyed") != "":
			d.keyed(a.Field(i), b.Field(i), join(path, name), f.Tag.Get("keyed"))
		default:
			d.values(a.Field(i), b.Field(i), join(path, name))
		}
	}
}

func (d *differences) values(a, b reflect.Value, path string) {
	switch {
	case a.Kind() == reflect.Pointer && !a.IsNil() && !b.IsNil():
		d.values(a.Elem(), b.Elem(), path)
	case a.Kind() == reflect.Struct && len(fieldsOf(a.Type())) > 0:
		d.structs(a, b, path)
	case !reflect.DeepEqual(a.Interface(), b.Interface()):
		d.add(path)
	}
}

// keyed compares lists of what has a name.
func (d *differences) keyed(a, b reflect.Value, path, field string) {
	was, before := named(a, field)
	is, after := named(b, field)
	for _, name := range after {
		if old, ok := was[name]; ok {
			d.structs(old, is[name], join(path, name))
		} else {
			d.add(join(path, name))
		}
	}
	for _, name := range before {
		if _, ok := is[name]; !ok {
			d.add(join(path, name))
		}
	}
	both := func(name string) bool { return was[name].IsValid() && is[name].IsValid() }
	if !slices.Equal(only(before, both), only(after, both)) { // the first that fits counts
		d.add(path)
	}
}

func named(list reflect.Value, field string) (by map[string]reflect.Value, names []string) {
	by = map[string]reflect.Value{}
	for i := range list.Len() {
		name := list.Index(i).FieldByName(field).String()
		by[name], names = list.Index(i), append(names, name)
	}
	return by, names
}

func only(names []string, wanted func(string) bool) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !wanted(n) })
}

// sums are those of the files that were read, by the key that names them.
type sums map[string][sha256.Size]byte

// note remembers what a file held. Where a key names several, they are one.
func (s *sums) note(key string, content []byte) {
	if *s == nil {
		*s = sums{}
	}
	sum := sha256.Sum256(content)
	if before, ok := (*s)[key]; ok {
		sum = sha256.Sum256(slices.Concat(before[:], sum[:]))
	}
	(*s)[key] = sum
}
