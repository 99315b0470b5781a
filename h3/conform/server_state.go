package conform

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// stateChecks judge how calls go on and end.
var stateChecks = []check{
	{reqs: "82", did: "called a number that answers, and hung up", run: answeredCall},
	{reqs: "82 A48", did: "called a number that declines", run: endsWith("declined", "declined", 603, 21)},
	{reqs: "82 A48", did: "called a number that is busy", run: endsWith("busy", "declined", 486, 17)},
	{reqs: "82 A48", did: "called a number that does not answer", run: endsWith("no-answer", "noanswer", 480, 0), slow: 8 * time.Second},
	{reqs: "82", did: "gave up a call that rings", run: cancelledCall},
	{reqs: "A9", did: "GET a call that is over", run: asksAboutEnded},
	{reqs: "A49", did: "called a number that speaks before it answers", run: earlyMedia},
	{reqs: "A51", did: "asked for a transfer", run: transfer},
	{reqs: "112", did: "sent a migrate event to the server", run: doesNotMigrate},
}

// target is the number of an option, or why there is none.
func (p *Probe) target(option string) (string, error) {
	n := map[string]string{
		"declined": p.opt.Declined, "busy": p.opt.Busy, "no-answer": p.opt.NoAnswer, "ringing": p.opt.Ringing,
		"early": p.opt.Early, "video": p.opt.Video, "digits": p.opt.Digits,
	}[option]
	if n == "" {
		return "", skip("no number for it: give --%s", option)
	}
	return n, nil
}

func answeredCall(ctx context.Context, p *Probe) error {
	c, err := p.dial(ctx, dialled{})
	if err != nil {
		return err
	}
	defer c.close(ctx)
	if err := c.answered(); err != nil {
		return err
	}
	rank := map[string]int{"proceeding": 1, "alerting": 2, "answered": 3}
	last := 0
	for _, e := range c.in.all() {
		if r := rank[e.Type]; r > 0 && r < last {
			return fmt.Errorf("%s came after a later state", e.Type)
		} else if r > 0 {
			last = r
		}
	}
	if _, d, err := c.get(ctx); err != nil {
		return err
	} else if d.State != "answered" {
		return fmt.Errorf("the call is answered, its document says %q", d.State)
	}
	if r, err := c.end(ctx); err != nil {
		return err
	} else if err := r.is(http.StatusNoContent, http.StatusOK); err != nil {
		return err
	}
	_, err = c.await(p.opt.Timeout, "end")
	return err
}

// endsWith calls a number of an option and wants this event, with these codes.
func endsWith(option, want string, sip, q850 int) func(context.Context, *Probe) error {
	return func(ctx context.Context, p *Probe) error {
		to, err := p.target(option)
		if err != nil {
			return err
		}
		ev, err := p.endOf(ctx, to)
		switch {
		case err != nil:
			return err
		case ev.Type != "ended" && ev.Type != want:
			return fmt.Errorf("the call ended by %s, want %s", ev.Type, want)
		case ev.Reason == nil || ev.Reason.Code == "":
			return fmt.Errorf("%s has no reason with a code", ev.Type)
		case ev.Reason.SIP != sip:
			return fmt.Errorf("%s has SIP status %d in its reason, want %d", ev.Type, ev.Reason.SIP, sip)
		case q850 != 0 && ev.Reason.Q850 != q850:
			return fmt.Errorf("%s has Q.850 cause %d in its reason, want %d", ev.Type, ev.Reason.Q850, q850)
		case ev.EndedBy == "":
			return fmt.Errorf("%s does not say who ended the call (endedBy)", ev.Type)
		}
		return nil
	}
}

// endOf places a call and returns the event that ends it. A call that is over
// before there is a byway is told by its document, under the name "ended".
func (p *Probe) endOf(ctx context.Context, to string) (event, error) {
	c, err := p.place(ctx, dialled{to: to})
	if err != nil {
		return event{}, err
	}
	defer c.close(ctx)
	if missed := c.attach(ctx); missed != nil {
		_, d, err := c.get(ctx)
		if err != nil || d.State != "ended" {
			return event{}, errors.Join(missed, err)
		}
		return event{Type: d.State, Reason: d.Reason, EndedBy: d.EndedBy}, nil
	}
	return c.await(answerLimit, "end", "declined", "failed", "noanswer", "answered")
}

func cancelledCall(ctx context.Context, p *Probe) error {
	to, err := p.target("ringing")
	if err != nil {
		return err
	}
	c, err := p.dial(ctx, dialled{to: to})
	if err != nil {
		return err
	}
	defer c.close(ctx)
	if _, err := c.await(p.opt.Timeout, "alerting", "proceeding"); err != nil {
		return err
	}
	if _, err := c.end(ctx); err != nil {
		return err
	}
	ev, err := c.await(p.opt.Timeout, "end", "failed", "declined", "noanswer", "answered")
	if err != nil {
		return err
	}
	if ev.Type != "end" {
		return fmt.Errorf("a call that its caller gave up ended by %s, want end", ev.Type)
	}
	return nil
}

func asksAboutEnded(ctx context.Context, p *Probe) error {
	c, err := p.dial(ctx, dialled{})
	if err != nil {
		return err
	}
	defer c.close(ctx)
	if err := c.answered(); err != nil {
		return err
	}
	if _, err := c.end(ctx); err != nil {
		return err
	}
	if _, err := c.await(p.opt.Timeout, "end"); err != nil {
		return err
	}
	_, d, err := c.get(ctx)
	switch {
	case err != nil:
		return err
	case d.State != "ended":
		return fmt.Errorf("its state is %q, want ended", d.State)
	case d.EndedBy != "caller":
		return fmt.Errorf("endedBy is %q, we are the caller", d.EndedBy)
	case d.EndedAt == "":
		return errors.New("it does not say when (endedAt)")
	case d.Reason == nil || d.Reason.Code == "":
		return errors.New("it does not say why (reason)")
	}
	return nil
}

func earlyMedia(ctx context.Context, p *Probe) error {
	to, err := p.target("early")
	if err != nil {
		return err
	}
	c, err := p.dial(ctx, dialled{to: to})
	if err != nil {
		return err
	}
	defer c.close(ctx)
	v, err := newConversation(c, carrierPutGet)
	if err != nil {
		return err
	}
	if err := v.overRequests(context.WithoutCancel(ctx), 20); err != nil {
		return err
	}
	ev, ok := c.in.find(answerLimit, func(e event) bool { return e.Media || e.Type == "answered" || e.ends() })
	if !ok || !ev.Media || ev.Type == "answered" {
		return errors.New("no event before the answer says media: true")
	}
	if err := v.heard(5, p.opt.Timeout); err != nil {
		return err
	}
	media, _, _ := v.snapshot()
	if ans, ok := c.in.find(0, typed("answered")); ok && media[0].at.After(ans.at) {
		return errors.New("the event says media: true, but none came before the answer")
	}
	return nil
}

func transfer(ctx context.Context, p *Probe) error {
	c, err := p.dial(ctx, dialled{})
	if err != nil {
		return err
	}
	defer c.close(ctx)
	if err := c.answered(); err != nil {
		return err
	}
	if err := c.out.send(1, "transfer-and-takeback", map[string]any{"destination": c.desc.To}); err != nil {
		return err
	}
	ev, err := c.await(p.opt.Timeout, "transfer-done", "transfer-refused")
	if err != nil {
		return err
	}
	if ev.Type == "transfer-done" {
		return nil
	}
	if ev.Reason == nil || ev.Reason.Code != "transfer-refused" {
		return fmt.Errorf("transfer-refused has reason %+v, want code transfer-refused", ev.Reason)
	}
	if _, d, err := c.get(ctx); err != nil {
		return err
	} else if d.State != "answered" {
		return fmt.Errorf("after a transfer that was refused the call is %s", d.State)
	}
	return nil
}

func doesNotMigrate(ctx context.Context, p *Probe) error {
	c, err := p.dial(ctx, dialled{})
	if err != nil {
		return err
	}
	defer c.close(ctx)
	if err := c.out.send(1, "migrate", map[string]any{"uri": "https://elsewhere.example/call"}); err != nil {
		return err
	}
	if err := c.out.send(2, "ping", map[string]any{"nonce": "stays"}); err != nil {
		return err
	}
	if _, ok := c.in.find(p.opt.Timeout, pong("stays")); !ok {
		return errors.New("the call does not answer after a migrate of the client's")
	}
	for _, e := range c.in.all() {
		if e.Type == "migrate" && e.URI != "" {
			if _, err := absolute(e.URI); err != nil {
				return fmt.Errorf("migrate: %w", err)
			}
		}
	}
	if _, d, err := c.get(ctx); err != nil {
		return err
	} else if slices.Contains([]string{"ended", "end", "migrate"}, d.State) || d.URI != c.uri {
		return fmt.Errorf("after a migrate of the client's the call is %s at %s", d.State, d.URI)
	}
	return nil
}
