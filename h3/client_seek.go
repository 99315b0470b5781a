package h3

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"time"

	"riptide/bridge"
	"riptide/h3/media"
)

// A balancer keeps a call at its node by a cookie. Whether that node is still
// there it may find out only with its next health check, and may let requests
// wait for as long. So a call that has lost its byways is looked for: by its
// cookies first, then without, where the balancer chooses anew, and may choose the
// dead node once more; then by the cookies of another call that was found. The
// first node that answers for the call is where its byways and media go.
const (
	seekLeast = 30 * time.Millisecond  // what the node that had the call has for an answer: two round trips,
	seekFirst = 100 * time.Millisecond // within these bounds; then half as long again, and
	seekSlow  = 600 * time.Millisecond // twice as long each time, up to this: a node that is slow is not asked more
	seekMost  = 7                      // requests
	seekLimit = 3 * time.Second        // then the byways are opened as if nobody had looked
)

// sighting is the answer to one request for the call.
type sighting struct {
	jar *cookieJar
	old bool // it went where the call was
	err error
}

// seek looks for the call. anew is that the node which its cookies lead to does
// not carry its media any more. What goes wrong is left to the opening of the
// byways to find out; ended is why the call is to end meanwhile.
func (l *clientLeg) seek(ctx context.Context, anew bool) (found bool, ended *bridge.Cause) {
	at, err := url.Parse(l.callURI())
	if err != nil || !l.sticky {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, seekLimit)
	defer cancel()
	open := l.mayAsk.close()
	defer open()
	had := l.jar.Values(at)
	stood := l.stands // where its media are: any response may have led the call elsewhere since
	if stood == nil {
		stood = had
	}
	answers := make(chan sighting, seekMost)
	asked, blind, answered := 0, 0, 0
	ask := func() {
		f := sighting{jar: newCookieJar(l.jar.trace), old: asked == 0 && !anew}
		if f.old {
			f.jar.Restore(at, had)
		} else if blind++; blind > 1 {
			f.jar.Restore(at, l.t.ways.pick(at.Host, had, l.t.client.cfg.Now()))
		}
		asked++
		if !l.t.client.spawn(func() { answers <- l.ask(ctx, at, f) }) {
			cancel() // the client is being stopped
		}
	}
	ask()
	wait := min(max(2*l.media.Stats().RoundTrip, seekLeast), seekFirst)
	next := time.NewTimer(wait)
	defer next.Stop()
	wait += wait / 2
	for {
		select {
		case <-next.C:
			if asked < seekMost {
				ask()
				next.Reset(wait)
				wait = min(2*wait, seekSlow)
			}
		case f := <-answers:
			answered++
			switch {
			case f.err == nil:
				if now := f.jar.Values(at); anew || !maps.Equal(now, stood) {
					l.t.ways.note(at.Host, now, l.t.client.cfg.Now())
					l.settleAt(at, now, anew)
				}
				return true, nil
			case f.old && gone(f.err), errors.Is(f.err, errConnect), answered == seekMost:
				return false, nil
			}
		case c := <-l.ending:
			return false, &c
		case <-ctx.Done():
			return false, nil
		}
	}
}

// settleAt has the call go on where it was found. A node that gave it away still
// sends on what it hears of it: the carriers there are let go of when there are
// others, unless they are known to carry nothing, or are requests, which follow the
// balancer.
func (l *clientLeg) settleAt(at *url.URL, cookies map[string]string, dead bool) {
	if dead || l.media.Stats().Carrier == media.PutGet.Carrier() {
		l.media.Leave()
	} else {
		l.media.Stay()
	}
	l.moves("")
	l.jar.Restore(at, cookies)
}

// cookies are those that requests of the call bear now.
func (l *clientLeg) cookies() map[string]string {
	at, err := url.Parse(l.callURI())
	if err != nil {
		return nil // it was parsed before
	}
	return l.jar.Values(at)
}

// ask asks the node that a jar leads to how the call is.
func (l *clientLeg) ask(ctx context.Context, at *url.URL, f sighting) sighting {
	_, f.err = l.t.Do(ctx, request{Method: http.MethodGet, URL: at.String(), Resource: l.tg.String(), Jar: f.jar})
	return f
}
