package advert

import (
	"strconv"
	"strings"

	"riptide/bridge/format"
)

// Limits of a document, the same for advertisements and directives.
const (
	MaxBytes = 4 << 10
	MaxLines = 64
)

// Sealed is the flag of a codec whose media the ends of the call encrypt between
// themselves. A codec with the flag and the same codec without are two.
const Sealed = "sealed"

// Param is one parameter of a codec. A parameter with a value is a maximum
// ("at most"); one without is a flag.
type Param struct {
	Name     string // lower case
	Value    int64
	HasValue bool
}

// Codec is a codec by its registered name, with its parameters.
type Codec struct {
	Name   string // known names in their registered spelling, others in lower case
	Params []Param
}

// Line advertises one sink ("in") or one source ("out") of a handler. Sinks and
// sources are numbered separately, from 1.
type Line struct {
	ID     uint8
	In     bool
	Codecs []Codec // best first
}

// Advert is what a handler can do.
type Advert []Line

// Stream tells the sender of Source what it may send to Sink.
type Stream struct {
	Source, Sink uint8
	Codecs       []Codec
}

// Directive is what one end of a call is told to send.
type Directive []Stream

// Append adds the advertisement in its written form.
func (a Advert) Append(dst []byte) []byte {
	for i, l := range a {
		if i > 0 {
			dst = append(dst, '\n')
		}
		dst = strconv.AppendUint(dst, uint64(l.ID), 10)
		if l.In {
			dst = append(dst, " in:"...)
		} else {
			dst = append(dst, " out:"...)
		}
		dst = appendCodecs(dst, l.Codecs)
	}
	return dst
}

// String is the written form.
func (a Advert) String() string { return string(a.Append(nil)) }

// Append adds the directive in its written form.
func (d Directive) Append(dst []byte) []byte {
	for i, s := range d {
		if i > 0 {
			dst = append(dst, '\n')
		}
		dst = strconv.AppendUint(dst, uint64(s.Source), 10)
		dst = append(dst, " to "...)
		dst = strconv.AppendUint(dst, uint64(s.Sink), 10)
		dst = append(dst, ':')
		dst = appendCodecs(dst, s.Codecs)
	}
	return dst
}

// String is the written form.
func (d Directive) String() string { return string(d.Append(nil)) }

func appendCodecs(dst []byte, codecs []Codec) []byte {
	for _, c := range codecs {
		dst = append(dst, ' ')
		dst = append(c.append(dst), ';')
	}
	return dst
}

func (c Codec) append(dst []byte) []byte {
	dst = append(dst, format.Canonical(c.Name)...)
	for _, p := range c.Params {
		dst = append(dst, ',')
		dst = append(dst, strings.ToLower(p.Name)...)
		if p.HasValue {
			dst = append(dst, '=')
			dst = strconv.AppendInt(dst, p.Value, 10)
		}
	}
	return dst
}

// String is the codec as a line has it.
func (c Codec) String() string { return string(c.append(nil)) }
