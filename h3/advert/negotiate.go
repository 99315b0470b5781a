package advert

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"riptide/bridge/format"
)

// ErrNoCommonCodec is wrapped by the error of Negotiate.
var ErrNoCommonCodec = errors.New("no codec in common")

// Negotiate decides what each end sends. Every source of the one end is paired
// with the first free sink of the other that it shares a codec with. Of the
// codecs they share, those that can flow both ways come first, then the order of
// the client's handler decides; telephone-event and CN accompany speech where
// both list them. A parameter of a directive is at most what either end
// advertised (format.Common), and a sealed codec matches a sealed one only.
//
// toServer is what the client sends (its sources to the server's sinks),
// toClient what the server sends. A direction that only one end offers at all
// stays empty; one that both offer but share no codec for is an error that wraps
// ErrNoCommonCodec. Of streams beyond the first, those without a match are left
// out: a call whose ends share no video goes on with audio.
func Negotiate(client, server Advert) (toServer, toClient Directive, err error) {
	up := pairing{sources: client.lines(false), sinks: server.lines(true), clientSends: true}
	down := pairing{sources: server.lines(false), sinks: client.lines(true)}
	toServer, err = up.direct(down.shared())
	if err != nil {
		return nil, nil, fmt.Errorf("client to server: %w", err)
	}
	toClient, err = down.direct(toServer.chosen())
	if err != nil {
		return nil, nil, fmt.Errorf("server to client: %w", err)
	}
	if len(toServer)+len(toClient) == 0 {
		return nil, nil, fmt.Errorf("%w: no source of one end has a sink at the other", ErrNoCommonCodec)
	}
	return toServer, toClient, nil
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

// pairing is one direction of a negotiation.
type pairing struct {
	sources, sinks []Line
	clientSends    bool
}

// ends are a source and a sink in the order client, server.
func (p pairing) ends(source, sink Line) (client, server []Codec) {
	if p.clientSends {
		return source.Codecs, sink.Codecs
	}
	return sink.Codecs, source.Codecs
}

// shared are the codecs that could flow in this direction at all.
func (p pairing) shared() []Codec {
	var out []Codec
	for _, source := range p.sources {
		for _, sink := range p.sinks {
			client, server := p.ends(source, sink)
			for _, c := range client {
				if _, ok := Match(c, server); ok {
					out = append(out, c)
				}
			}
		}
	}
	return out
}

// direct pairs each source with the first free sink it shares a codec with,
// one of prefer if possible.
func (p pairing) direct(prefer []Codec) (Directive, error) {
	var out Directive
	used := make([]bool, len(p.sinks))
	for _, source := range p.sources {
		for i, sink := range p.sinks {
			if used[i] {
				continue
			}
			if codecs := choose(source, sink, p, prefer); codecs != nil {
				used[i] = true
				out = append(out, Stream{Source: source.ID, Sink: sink.ID, Codecs: codecs})
				break
			}
		}
	}
	if len(out) == 0 && len(p.sources) > 0 && len(p.sinks) > 0 {
		return nil, fmt.Errorf("%w: %s against %s", ErrNoCommonCodec, list(p.sources), list(p.sinks))
	}
	return out, nil
}

// choose is the chosen codec and what accompanies it, or nil.
func choose(source, sink Line, p pairing, prefer []Codec) []Codec {
	client, server := p.ends(source, sink)
	main, ok := first(client, server, prefer)
	if !ok {
		if main, ok = first(client, server, client); !ok {
			return nil
		}
	}
	out := []Codec{main}
	for _, c := range client {
		// Digits and noise of a sealed call are sealed as well.
		if !format.Aside(c.Name) || c.Sealed() != main.Sealed() || slices.ContainsFunc(out, c.same) {
			continue
		}
		if with, ok := Match(c, server); ok {
			out = append(out, with)
		}
	}
	return out
}

// first is the first codec in the client's order that the server has and that
// one of prefer fits.
func first(client, server, prefer []Codec) (Codec, bool) {
	for _, c := range client {
		if format.Aside(c.Name) {
			continue
		}
		if _, ok := Match(c, prefer); !ok {
			continue
		}
		if common, ok := Match(c, server); ok {
			return common, true
		}
	}
	return Codec{}, false
}

// Match finds the first of codecs that fits c, and returns what both can do.
func Match(c Codec, codecs []Codec) (Codec, bool) {
	for _, d := range codecs {
		if !c.same(d) || c.Sealed() != d.Sealed() {
			continue
		}
		params, ok := format.Common(c.Name, c.Values(), d.Values())
		if !ok {
			continue
		}
		out := Codec{Name: c.Name}
		for _, p := range params {
			out.Params = append(out.Params, Param{Name: p.Name, Value: p.Value, HasValue: true})
		}
		if c.Sealed() {
			out.Params = append(out.Params, Param{Name: Sealed})
		}
		return out, true
	}
	return Codec{}, false
}

// Sealed tells whether the codec has that flag.
func (c Codec) Sealed() bool {
	return slices.ContainsFunc(c.Params, func(p Param) bool { return p.Name == Sealed })
}

// same tells whether both are the same codec, whatever their parameters.
func (c Codec) same(d Codec) bool { return strings.EqualFold(c.Name, d.Name) }

// Values are the parameters that have one.
func (c Codec) Values() []format.Param {
	var out []format.Param
	for _, p := range c.Params {
		if p.HasValue {
			out = append(out, format.Param{Name: p.Name, Value: p.Value})
		}
	}
	return out
}

// chosen are the codecs of a directive.
func (d Directive) chosen() []Codec {
	var out []Codec
	for _, s := range d {
		out = append(out, s.Codecs...)
	}
	return out
}

func list(lines []Line) string {
	var out []byte
	for _, l := range lines {
		for _, c := range l.Codecs {
			if len(out) > 0 {
				out = append(out, ' ')
			}
			out = append(out, c.Name...)
		}
	}
	if len(out) > 200 {
		out = append(out[:200], "…"...)
	}
	return string(out)
}
