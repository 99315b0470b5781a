package sip

import (
	"context"
	"errors"
	"fmt"

	sipgo "github.com/emiago/sipgo/sip"
)

// exchange sends a request that belongs to no call and waits for its final
// answer, in the mailbox of its Call-ID like everything else.
func (a *Agent) exchange(ctx context.Context, req *sipgo.Request, f flow) (*sipgo.Response, error) {
	type outcome struct {
		res *sipgo.Response
		err error
	}
	done := make(chan outcome, 1) // a transaction ends once
	send := func(m *mailbox) func() {
		return func() {
			_, err := m.request(req, f, func(res *sipgo.Response) {
				if res.StatusCode >= 200 {
					done <- outcome{res: res}
				}
			}, func(err error) { done <- outcome{err: err} })
			if err != nil {
				select { // onFailure may have said so already
				case done <- outcome{err: err}:
				default:
				}
			}
		}
	}
	for {
		m := a.box(req.CallID().Value())
		if m.post(send(m)) {
			break
		}
		a.forget(m)
	}
	select {
	case o := <-done:
		return o.res, o.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ask is an exchange that tells who we are if the peer wants to know. seq
// numbers the requests that this takes.
func (a *Agent) ask(ctx context.Context, t *trunk, req *sipgo.Request, f flow, seq *uint32) (*sipgo.Response, error) {
	var asked tries
	for {
		t.wallet.authorize(req)
		res, err := a.exchange(ctx, req, f)
		if err != nil {
			return nil, err
		}
		if !t.wallet.learn(res, &asked) {
			return res, nil
		}
		*seq++
		req = again(req, *seq)
	}
}

// askAny asks the targets of a trunk in turn until one answers otherwise than
// by 503.
func (a *Agent) askAny(ctx context.Context, t *trunk, targets []target, build func(f flow) *sipgo.Request, seq *uint32) (*sipgo.Response, target, flow, error) {
	var failures []error
	for _, to := range targets {
		f, err := a.flowTo(ctx, t, to, 0)
		var res *sipgo.Response
		if err == nil {
			res, err = a.ask(ctx, t, build(f), f, seq)
		}
		switch {
		case err == nil && res.StatusCode != 503:
			t.succeeded(to)
			return res, to, f, nil
		case ctx.Err() != nil:
			return nil, to, nil, ctx.Err()
		case err == nil:
			err = fmt.Errorf("%d %s", res.StatusCode, clip(res.Reason, 100))
			t.failed(to, failure{why: err.Error(), pause: retryAfterOf(res), alive: true})
		case timedOut(err):
			err = errors.New("no answer")
			t.failed(to, failure{why: err.Error()})
		default:
			t.failed(to, failure{why: err.Error()})
		}
		failures = append(failures, fmt.Errorf("%v: %w", to, err))
	}
	if len(failures) == 0 {
		return nil, target{}, nil, errors.New("no address")
	}
	return nil, target{}, nil, errors.Join(failures...)
}
