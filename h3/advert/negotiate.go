package advert

import (
	"errors"
	"fmt"
)

// ErrNoCommonCodec is wrapped by the error of Negotiate.
var ErrNoCommonCodec = errors.New("no codec in common")

// defaults of the parameters of the registry that have one. What has none is
// not limited when it is absent.
var defaults = map[string]int64{"ch": 1}

// maxima are the parameters of the registry: two families of names for the
// size of pictures are in use, both are understood. Others are ignored.
var maxima = map[string]bool{
	"br": true, "ch": true, "ss": true,
	"max-res": true, "max-width": true, "max-height": true, "max-fps": true,
}

// Negotiate decides what each end sends: for every source of the one end and
// sink of the other, the first codec in the order of the client's handler that
// both can do, and with it telephone-event and CN where both list them. A
// parameter of a directive is at most what either end advertised.
//
// clientDirective is what the client sends (its sources to the server's
// sinks), serverDirective what the server sends. A direction that only one end
// offers at all stays empty; one that both offer but share no codec for is an
// error that wraps ErrNoCommonCodec.
func Negotiate(client, server Advert) (clientDirective, serverDirective Directive, err error) {
	clientDirective, err = direct(client.lines(false), server.lines(true), true)
	if err != nil {
		return nil, nil, fmt.Errorf("client to server: %w", err)
	}
	serverDirective, err = direct(server.lines(false), client.lines(true), false)
	if err != nil {
		return nil, nil, fmt.Errorf("server to client: %w", err)
	}
	if len(clientDirective)+len(serverDirective) == 0 {
		return nil, nil, fmt.Errorf("%w: no source of one end has a sink at the other", ErrNoCommonCodec)
	}
	return clientDirective, serverDirective, nil
}

func (a Advert) lines(in bool) []Line {
	var out []Line
	for _, l := range a {
		if l.In == in {
			out = append(out, l)
		}
	}
	return out
}

// direct pairs each source with the first free sink it shares a codec with.
func direct(sources, sinks []Line, sourceIsClient bool) (Directive, error) {
	var out Directive
	used := make([]bool, len(sinks))
	for _, src := range sources {
		for i, sink := range sinks {
			if used[i] {
				continue
			}
			first, second := src.Codecs, sink.Codecs
			if !sourceIsClient {
				first, second = second, first
			}
			if codecs := common(first, second); codecs != nil {
				used[i] = true
				out = append(out, Stream{Source: src.ID, Sink: sink.ID, Codecs: codecs})
				break
			}
		}
	}
	if len(out) == 0 && len(sources) > 0 && len(sinks) > 0 {
		return nil, fmt.Errorf("%w: %s against %s", ErrNoCommonCodec, names(sources), names(sinks))
	}
	return out, nil
}

// common is the chosen codec and what accompanies it, or nil.
func common(client, server []Codec) []Codec {
	var out []Codec
	for _, c := range client {
		if s, ok := find(server, c.Name); ok && !accompanies(c.Name) {
			out = append(out, limit(c, s))
			break
		}
	}
	if out == nil {
		return nil
	}
	for _, name := range []string{TelephoneEvent, ComfortNoise} {
		c, here := find(client, name)
		s, there := find(server, name)
		if here && there {
			out = append(out, limit(c, s))
		}
	}
	return out
}

// accompanies tells codecs that never carry a conversation by themselves.
func accompanies(name string) bool {
	return Name(name) == TelephoneEvent || Name(name) == ComfortNoise
}

func find(codecs []Codec, name string) (Codec, bool) {
	for _, c := range codecs {
		if Name(c.Name) == Name(name) {
			return c, true
		}
	}
	return Codec{}, false
}

// limit is the codec with the lower of the two maxima of each parameter; what
// comes out at its default is left out.
func limit(a, b Codec) Codec {
	out := Codec{Name: Name(a.Name)}
	for _, p := range a.Params {
		other, both := b.param(p.Name)
		out.add(p, other, both)
	}
	for _, p := range b.Params {
		if _, both := a.param(p.Name); !both {
			out.add(p, Param{}, false)
		}
	}
	return out
}

func (c *Codec) add(p, other Param, both bool) {
	if !maxima[p.Name] || !p.HasValue {
		return
	}
	def, hasDefault := defaults[p.Name]
	switch {
	case both && other.HasValue:
		p.Value = min(p.Value, other.Value)
	case hasDefault:
		p.Value = min(p.Value, def)
	}
	if hasDefault && p.Value == def {
		return
	}
	c.Params = append(c.Params, p)
}

func names(lines []Line) string {
	var out []byte
	for _, l := range lines {
		for _, c := range l.Codecs {
			if len(out) > 0 {
				out = append(out, ' ')
			}
			out = append(out, Name(c.Name)...)
		}
	}
	if len(out) > 200 {
		out = append(out[:200], "…"...)
	}
	return string(out)
}
