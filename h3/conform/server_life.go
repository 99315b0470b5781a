package conform

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// lifeChecks judge what becomes of calls whose client is away.
var lifeChecks = []check{
	{reqs: "109 110 A45", did: "left an answered call without byways until it ended", run: holds, slow: 45 * time.Second},
	{reqs: "108", did: "was away while a call was answered, and came back", run: missedEvents, slow: 8 * time.Second},
}

const (
	hold      = 30 * time.Second
	holdSlack = 10 * time.Second
)

func holds(ctx context.Context, p *Probe) error {
	c, err := p.dial(ctx, dialled{})
	if err != nil {
		return err
	}
	if err := c.answered(); err != nil {
		return err
	}
	c.cancel()
	_ = c.out.pipe.CloseWithError(errors.New("the probe went away"))
	began := time.Now()
	ended := func() (bool, description, error) {
		_, d, err := c.get(ctx)
		return d.State == "ended", d, err
	}
	if err := pause(ctx, hold-4*time.Second); err != nil {
		return err
	}
	over, d, err := ended()
	if err != nil {
		return err
	}
	if over {
		return fmt.Errorf("the call was over within %v: %+v", hold-4*time.Second, d.Reason)
	}
	for time.Since(began) < hold+holdSlack {
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
		if over, d, err = ended(); err != nil {
			return err
		}
		if over {
			if d.Reason == nil || d.Reason.Code == "" {
				return errors.New("the call was ended, its document does not say why")
			}
			return nil
		}
	}
	return fmt.Errorf("the call is still %s %v after its byways were gone", d.State, time.Since(began).Round(time.Second))
}

func missedEvents(ctx context.Context, p *Probe) error {
	c, err := p.place(ctx, dialled{})
	if err != nil {
		return err
	}
	defer c.close(ctx)
	if err := pause(ctx, 4*time.Second); err != nil {
		return err
	}
	if err := c.attach(ctx); err != nil {
		return err
	}
	if err := c.answered(); err != nil {
		return fmt.Errorf("the call was answered while we were away: %w", err)
	}
	return errorIfGone(ctx, c)
}

func errorIfGone(ctx context.Context, c *call) error {
	r, d, err := c.get(ctx)
	if err != nil {
		return err
	}
	if r.status != http.StatusOK || d.State != "answered" {
		return fmt.Errorf("the call is %s", d.State)
	}
	return nil
}
