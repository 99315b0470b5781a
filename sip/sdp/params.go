package sdp

import (
	"iter"
	"strings"
)

// Parameters walks the parameters of a=fmtp as RFC 4855 section 3 writes them:
// name=value, separated by semicolons. Names come in lower case; what has no
// value is passed over.
func (f Format) Parameters() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for part := range strings.SplitSeq(f.Params, ";") {
			name, value, ok := strings.Cut(part, "=")
			name = strings.ToLower(strings.TrimSpace(name))
			if ok && name != "" && !yield(name, strings.TrimSpace(value)) {
				return
			}
		}
	}
}

// Param is the value of one parameter.
func (f Format) Param(name string) (value string, ok bool) {
	for n, v := range f.Parameters() {
		if n == name {
			return v, true
		}
	}
	return "", false
}
