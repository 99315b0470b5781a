package conform

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// negotiationChecks judge how a running call gets new directives.
var negotiationChecks = []check{
	{reqs: "A57", did: "changed the handler of a call with a right, a stale and no If-Match", run: changesHandler},
	{reqs: "A57", did: "let two handlers race for a call", run: raceForCall},
	{reqs: "A5", did: "GET a call again with its ETag", run: callETag},
}

// callETagOf reads the call's entity tag.
func callETagOf(ctx context.Context, c *call) (string, error) {
	r, _, err := c.get(ctx)
	if err != nil {
		return "", err
	}
	etag := r.header.Get("ETag")
	if etag == "" || strings.HasPrefix(etag, "W/") {
		return "", fmt.Errorf("the call has ETag %q, want a strong one", etag)
	}
	return etag, nil
}

func changesHandler(ctx context.Context, p *Probe) error {
	c, err := p.dial(ctx, dialled{})
	if err != nil {
		return err
	}
	defer c.close(ctx)
	if err := c.answered(); err != nil {
		return err
	}
	other, err := p.registerAdvert(ctx, "alaw", "1 in: PCMA; telephone-event; CN; 1 out: PCMA; telephone-event; CN;")
	if err != nil {
		return err
	}
	etag, err := callETagOf(ctx, c)
	if err != nil {
		return err
	}
	body := map[string]any{"handler": other.uri}
	for name, x := range map[string]struct {
		match string
		want  int
	}{"without If-Match": {"", http.StatusPreconditionRequired}, "with a stale If-Match": {`"stale"`, http.StatusPreconditionFailed}} {
		h := map[string]string{}
		if x.match != "" {
			h["If-Match"] = x.match
		}
		r, err := c.update(ctx, body, h)
		if err != nil {
			return err
		}
		if err := r.refused(x.want); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	r, err := c.update(ctx, body, map[string]string{"If-Match": etag})
	if err != nil {
		return err
	}
	if err := r.is(http.StatusOK); err != nil {
		return fmt.Errorf("with the right If-Match: %w", err)
	}
	var d description
	if err := r.decode(&d); err != nil {
		return err
	}
	switch {
	case d.Handler != other.uri:
		return fmt.Errorf("the call's handler is %s, want the new one", shortURL(d.Handler))
	case !strings.Contains(d.ClientDirectives, "PCMA") || strings.Contains(d.ClientDirectives, "PCMU"):
		return fmt.Errorf("clientDirectives is %q, the handler does PCMA only", d.ClientDirectives)
	case r.header.Get("ETag") == "" || r.header.Get("ETag") == etag:
		return fmt.Errorf("the ETag after the change is %q, before it was %q", r.header.Get("ETag"), etag)
	}
	ev, err := c.await(p.opt.Timeout, "handler-changed")
	if err != nil {
		return err
	}
	if ev.Handler != other.uri || ev.ETag != r.header.Get("ETag") {
		return fmt.Errorf("handler-changed tells handler %s and etag %q", shortURL(ev.Handler), ev.ETag)
	}
	return nil
}

func raceForCall(ctx context.Context, p *Probe) error {
	c, err := p.dial(ctx, dialled{})
	if err != nil {
		return err
	}
	defer c.close(ctx)
	if err := c.answered(); err != nil {
		return err
	}
	etag, err := callETagOf(ctx, c)
	if err != nil {
		return err
	}
	won, lost := 0, 0
	type answer struct {
		r   reply
		err error
	}
	answers := make(chan answer, 2)
	for _, name := range []string{"left", "right"} {
		h, err := p.registerAdvert(ctx, name, "1 in: PCMA; 1 out: PCMA;")
		if err != nil {
			return err
		}
		go func() {
			r, err := c.update(ctx, map[string]any{"handler": h.uri}, map[string]string{"If-Match": etag})
			answers <- answer{r, err}
		}()
	}
	for range 2 {
		a := <-answers
		switch {
		case a.err != nil:
			err = a.err
		case a.r.status == http.StatusOK:
			won++
		case a.r.status == http.StatusPreconditionFailed:
			lost++
		default:
			err = a.r.is(http.StatusOK, http.StatusPreconditionFailed)
		}
	}
	if err != nil {
		return err
	}
	if won != 1 || lost != 1 {
		return fmt.Errorf("%d won and %d lost with the same If-Match, want one of each", won, lost)
	}
	_, err = c.await(p.opt.Timeout, "handler-changed")
	return err
}

func callETag(ctx context.Context, p *Probe) error {
	c, err := p.sample(ctx)
	if err != nil {
		return err
	}
	etag, err := callETagOf(ctx, c)
	if err != nil {
		return err
	}
	r, err := p.do(ctx, request{method: http.MethodGet, url: c.uri, token: c.token, header: map[string]string{"If-None-Match": etag}})
	if err != nil {
		return err
	}
	if err := r.is(http.StatusNotModified); err != nil {
		return fmt.Errorf("with its ETag: %w", err)
	}
	if len(r.body) > 0 {
		return errors.New("the 304 has a body")
	}
	return nil
}
