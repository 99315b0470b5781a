package media

import (
	"context"
	"time"
)

// A call that moves has two Clients for a moment: the one that carries it where it
// was goes on until that of the new place does.

// Stay has the carriers go on as they are, and opens no others: the call is about to
// be elsewhere. It returns the highest epoch that the Client has used.
func (c *Client) Stay() (epoch uint64) {
	said := make(chan uint64, 1)
	select {
	case c.stays <- said:
		return <-said
	case <-c.done:
		return c.epoch
	}
}

// stay gives up what is being opened, and what would be.
func (c *Client) stay() {
	c.staying = true
	if c.now != nil {
		if s, ok := c.now.way.(stripesWay); ok {
			s.stays.Store(true)
		}
	}
	a := c.attempt
	if a == nil {
		return
	}
	c.attempt = nil
	a.cancel()
	if o := <-a.result; o.err == nil {
		c.ending.Go(o.way.close)
	}
}

// CloseAfter closes the Client when another one carries the call, and what was on
// its way to us by then has had time to come; or when ctx ends.
func (c *Client) CloseAfter(ctx context.Context, next *Client) {
	select {
	case <-next.carrying:
		wait := time.NewTimer(overlap)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
		}
	case <-next.done:
	case <-ctx.Done():
	}
	c.Close()
}
