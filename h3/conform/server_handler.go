package conform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"riptide/h3/advert"
)

// handlerChecks judge registrations, and what the server makes of them.
var handlerChecks = []check{
	{reqs: "28", did: "POST handlers", run: registrationIsCreated},
	{reqs: "29", did: "compared the description with what was sent", run: registrationIsEchoed},
	{reqs: "27 30 A61", did: "registered handlers that break the grammar", run: refusesBadAdverts},
	{reqs: "A61", did: "registered advertisements written in every allowed way, and at the limits", run: takesGoodAdverts},
	{reqs: "31 32 33 34 59 60 A10", did: "placed calls with maxima below, at and above common values", run: directivesWithinMaxima},
	{reqs: "35", did: "placed a call with each mandatory codec alone", run: mandatoryCodecs},
	{reqs: "36 37", did: "looked for telephone-event and CN in both directives", run: digitsAndNoise},
	{reqs: "A60", did: "registered parameters of both families, and unknown ones", run: parameterNames},
	{reqs: "A57", did: "PUT on a handler with a stale and with the right If-Match", run: handlerPreconditions},
}

func registrationIsCreated(ctx context.Context, p *Probe) error {
	h, err := p.register(ctx, map[string]any{"handler-id": "conform-created", "advertisement": advertisement})
	if err != nil {
		return err
	}
	if err := h.is(http.StatusCreated); err != nil {
		return err
	}
	if _, err := absolute(h.uri); err != nil {
		return fmt.Errorf("Location: %w", err)
	}
	r, err := p.asTG(ctx, request{method: http.MethodGet, url: h.uri})
	if err != nil {
		return err
	}
	if err := r.is(http.StatusOK); err != nil {
		return fmt.Errorf("GET of the Location: %w", err)
	}
	return nil
}

func registrationIsEchoed(ctx context.Context, p *Probe) error {
	h, err := p.register(ctx, map[string]any{
		"handler-id": "conform-echo", "advertisement": advertisement, "uri": "https://elsewhere.example/handlers/mine",
	})
	if err != nil {
		return err
	}
	if err := h.is(http.StatusCreated); err != nil {
		return err
	}
	var d struct {
		URI string `json:"uri"`
		ID  string `json:"handler-id"`
		Adv string `json:"advertisement"`
	}
	if err := h.decode(&d); err != nil {
		return err
	}
	sent, _ := advert.ParseAdvert(advertisement)
	got, err := advert.ParseAdvert(d.Adv)
	switch {
	case err != nil:
		return fmt.Errorf("the echoed advertisement: %w", err)
	case d.ID != "conform-echo" || got.String() != sent.String():
		return fmt.Errorf("the echo is handler-id %q, advertisement %q", clip(d.ID, 60), clip(d.Adv, 120))
	case d.URI != h.header.Get("Location"):
		return fmt.Errorf("its uri is %q, Location is %q", d.URI, h.header.Get("Location"))
	}
	return nil
}

func refusesBadAdverts(ctx context.Context, p *Probe) error {
	for name, body := range map[string]map[string]any{
		"no advertisement":       {"handler-id": "conform-bad"},
		"no handler-id":          {"advertisement": advertisement},
		"a digit before a codec": {"handler-id": "conform-bad", "advertisement": "1 in: 2PCMU; 1 out: PCMU;"},
		"no codec":               {"handler-id": "conform-bad", "advertisement": "1 in: ; 1 out: PCMU;"},
		"no semicolon":           {"handler-id": "conform-bad", "advertisement": "1 in: PCMU"},
		"source 0":               {"handler-id": "conform-bad", "advertisement": "0 in: PCMU; 1 out: PCMU;"},
		"a sink twice":           {"handler-id": "conform-bad", "advertisement": "1 in: PCMU; 1 in: PCMA;"},
		"65 lines":               {"handler-id": "conform-bad", "advertisement": manyLines(65)},
		"more than 4 KiB":        {"handler-id": "conform-bad", "advertisement": advertisement + strings.Repeat(" ", 4097-len(advertisement))},
		"a list":                 {"handler-id": "conform-bad", "advertisement": []string{"1 in: PCMU;"}},
	} {
		h, err := p.register(ctx, body)
		if err != nil {
			return err
		}
		if err := h.refused(http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func manyLines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%d in: PCMU;", i+1)
	}
	return b.String()
}

func takesGoodAdverts(ctx context.Context, p *Probe) error {
	for name, adv := range map[string]string{
		"on one line":         "1 in: PCMU; 1 out: PCMU;",
		"white space":         " 1  in :\tPCMU , ss = 20 ;\r\n CN ;\n\n1 out: pcmu;",
		"names of other case": "1 IN: pcmu; Pcma; 1 Out: PCMU;",
		"64 lines":            manyLines(64),
		"4 KiB":               advertisement + strings.Repeat(" ", 4096-len(advertisement)),
		"unknown codecs":      "1 in: x-conform,rate=9223372036854775807,flag; PCMU; 1 out: PCMU;",
		"negative integers":   "1 in: PCMU,x=-9223372036854775807; 1 out: PCMU;",
	} {
		h, err := p.register(ctx, map[string]any{"handler-id": "conform-good", "advertisement": adv})
		if err != nil {
			return err
		}
		if err := h.is(http.StatusCreated); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// directives are what the server chose for one handler of ours.
type directives struct{ toServer, toClient advert.Directive }

// negotiated places a call with a handler and hangs up.
func (p *Probe) negotiated(ctx context.Context, name, adv string) (directives, error) {
	h, err := p.registerAdvert(ctx, name, adv)
	if err != nil {
		return directives{}, err
	}
	c, err := p.place(ctx, dialled{handler: h.uri})
	if err != nil {
		return directives{}, err
	}
	defer func() { _, _ = c.end(ctx) }() // the probe hangs up again when it closes
	return parseDirectives(c.desc)
}

func parseDirectives(d description) (directives, error) {
	var out directives
	var err error
	if out.toServer, err = advert.ParseDirective(d.ClientDirectives); err != nil {
		return out, fmt.Errorf("clientDirectives: %w", err)
	}
	if out.toClient, err = advert.ParseDirective(d.ServerDirectives); err != nil {
		return out, fmt.Errorf("serverDirectives: %w", err)
	}
	return out, nil
}

func directivesWithinMaxima(ctx context.Context, p *Probe) error {
	for _, x := range []struct{ name, params string }{
		{"low", ",br=16000,ch=1,ss=8"}, {"high", ",br=9000000,ch=255,ss=65535"}, {"plain", ""},
	} {
		adv := strings.ReplaceAll("1 in: opus@; PCMU; 1 out: opus@; PCMU;", "@", x.params)
		ours, err := advert.ParseAdvert(adv)
		if err != nil {
			return err
		}
		got, err := p.negotiated(ctx, "maxima-"+x.name, adv)
		if err != nil {
			return err
		}
		for _, d := range []struct {
			dir    advert.Directive
			source bool // ours is the source
		}{{got.toServer, true}, {got.toClient, false}} {
			for _, s := range d.dir {
				if err := within(s, ours, d.source); err != nil {
					return fmt.Errorf("%q made of %q: %w", d.dir, adv, err)
				}
			}
		}
	}
	return nil
}

// within tells whether a stream of a directive keeps the maxima of our handler.
func within(s advert.Stream, ours advert.Advert, source bool) error {
	id := s.Sink
	if source {
		id = s.Source
	}
	for _, l := range ours {
		if l.In == source || l.ID != id {
			continue
		}
		for _, c := range s.Codecs {
			if err := codecWithin(c, l.Codecs); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("our handler has no stream %d", id)
}

func codecWithin(c advert.Codec, ours []advert.Codec) error {
	for _, o := range ours {
		if codecName(o.Name) != codecName(c.Name) {
			continue
		}
		for _, got := range c.Params {
			for _, max := range o.Params {
				if got.Name == max.Name && got.HasValue && max.HasValue && got.Value > max.Value {
					return fmt.Errorf("%s has %s=%d, our maximum is %d", c.Name, got.Name, got.Value, max.Value)
				}
			}
			switch {
			case got.Name == "ss" && got.HasValue && got.Value < 8:
				return fmt.Errorf("%s has ss=%d", c.Name, got.Value)
			case got.Name == "ch" && got.HasValue && got.Value == 1:
				return fmt.Errorf("%s spells out ch=1, which is the default", c.Name)
			}
		}
		return nil
	}
	return fmt.Errorf("our handler has no %s", c.Name)
}

func mandatoryCodecs(ctx context.Context, p *Probe) error {
	for _, name := range []string{"PCMU", "PCMA", "opus"} {
		d, err := p.negotiated(ctx, "only-"+name, fmt.Sprintf("1 in: %[1]s; 1 out: %[1]s;", name))
		if err != nil {
			return fmt.Errorf("a call that offers %s only: %w", name, err)
		}
		for _, dir := range []advert.Directive{d.toServer, d.toClient} {
			if len(dir) == 0 || len(dir[0].Codecs) == 0 || codecName(dir[0].Codecs[0].Name) != codecName(name) {
				return fmt.Errorf("a call that offers %s only: the directive is %q", name, dir)
			}
		}
	}
	return nil
}

func digitsAndNoise(ctx context.Context, p *Probe) error {
	d, err := p.negotiated(ctx, "accompanied", advertisement)
	if err != nil {
		return err
	}
	for side, dir := range map[string]advert.Directive{"clientDirectives": d.toServer, "serverDirectives": d.toClient} {
		for _, want := range []string{"telephone-event", "CN"} {
			if len(dir) == 0 || !streamHas(dir[0], want) {
				return fmt.Errorf("%s %q has no %s", side, dir, want)
			}
		}
	}
	return nil
}

func streamHas(s advert.Stream, name string) bool {
	for _, c := range s.Codecs {
		if codecName(c.Name) == codecName(name) {
			return true
		}
	}
	return false
}

func parameterNames(ctx context.Context, p *Probe) error {
	for name, params := range map[string]string{
		"of pictures' size": ",max-width=640,max-height=480,max-fps=15", "of one number": ",max-res=640,br=64000", "nobody's": ",x-unknown=7,x-flag",
	} {
		d, err := p.negotiated(ctx, "names", "1 in: PCMU"+params+"; 1 out: PCMU"+params+";")
		if err != nil {
			return fmt.Errorf("parameters %s: %w", name, err)
		}
		for _, c := range d.toServer[0].Codecs {
			for _, x := range c.Params {
				if strings.HasPrefix(x.Name, "x-") {
					return fmt.Errorf("the directive %q repeats a parameter that means nothing", d.toServer)
				}
			}
		}
	}
	return nil
}

func handlerPreconditions(ctx context.Context, p *Probe) error {
	h, err := p.registerAdvert(ctx, "preconditions", "1 in: PCMU; 1 out: PCMU;")
	if err != nil {
		return err
	}
	put := func(adv, match string) (reply, error) {
		return p.asTG(ctx, request{method: http.MethodPut, url: h.uri, kind: "application/json", header: map[string]string{"If-Match": match},
			body: asJSON(map[string]any{"handler-id": "conform-preconditions", "advertisement": adv})})
	}
	first, err := p.asTG(ctx, request{method: http.MethodGet, url: h.uri})
	if err != nil {
		return err
	}
	etag := first.header.Get("ETag")
	if etag == "" {
		return errors.New("the handler has no ETag")
	}
	r, err := put("1 in: PCMA; 1 out: PCMA;", `"stale"`)
	if err != nil {
		return err
	}
	if err := r.refused(http.StatusPreconditionFailed); err != nil {
		return fmt.Errorf("with a stale If-Match: %w", err)
	}
	if r, err = put("1 in: PCMA; 1 out: PCMA;", etag); err != nil {
		return err
	}
	if err := r.is(http.StatusOK, http.StatusNoContent); err != nil {
		return fmt.Errorf("with the right If-Match: %w", err)
	}
	var d struct {
		Adv string `json:"advertisement"`
	}
	after, err := p.asTG(ctx, request{method: http.MethodGet, url: h.uri})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(after.body, &d); err != nil || !strings.Contains(d.Adv, "PCMA") {
		return fmt.Errorf("after the PUT the advertisement is %q", clip(d.Adv, 80))
	}
	if after.header.Get("ETag") == etag {
		return errors.New("the ETag is the same after a change")
	}
	return nil
}
