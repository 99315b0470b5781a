package h3

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"riptide/bridge"
	"riptide/h3/media"
	"riptide/policy"
)

// trunk is one peer: what is known about it, and the loop that keeps that
// knowledge fresh.
type trunk struct {
	client *Client
	cfg    TrunkConfig
	discovery
	ways ways
	kick chan struct{} // wakes the loop; a full channel says it is awake

	mu       sync.Mutex
	known    known
	recalled recalled                   // what records of calls say, until it is known
	sessions map[string]*media.Sessions // by TG
	err      error                      // of the last round of the loop; nil: all is well
	rounds   int                        // of the loop, so far
	failures int                        // rounds in a row that ended in err
	as       authServer
	asDue    time.Time

	// Of our TG's registration at the peer; the first four are the loop's.
	inbound         *registered
	inboundDue      time.Time
	inboundFailures int
	trusted         string // origins of the peer that our server believes
	inboundErr      error
	registration    string // its URI, once it is confirmed

	calls                        int
	dialled, refused, reattached uint64
	mediaPanics, unknownEvents   uint64
}

// known is what a call needs to know about its trunk. The values pointed to
// never change: a newer one takes their place.
type known struct {
	root     *url.URL
	tg       *url.URL
	doc      *tgDocument
	docDue   time.Time
	handlers *handlers
	identity *identity // nil where the trunk has no numbers

	// Of a customer's registration.
	revision     uint64
	destinations *policy.NumberSet

	doubted   bool      // the peer cannot get at our certificate: enrol anew
	doubtedAt time.Time // when that was last so
}

func (t *trunk) init() {
	cfg := t.client.cfg
	t.kick = make(chan struct{}, 1)
	resolve := cfg.Resolve
	if t.toCustomer() {
		resolve = publicOnly(resolve, t.cfg.Hosts)
	}
	t.pool = newPool(poolConfig{
		Trunk: t.cfg.Name, TLS: t.cfg.tlsConfig(), Resolve: resolve, Now: cfg.Now,
		Connected: t.client.ladder.Renew,
	})
	t.tokens = &tokenSource{
		trunk: t.cfg.Name, clientID: t.cfg.ClientID, key: t.cfg.Key,
		pool: t.pool, now: cfg.Now, metadata: t.authServer,
	}
	t.trunk = t.cfg.Name
}

// authServer caches the metadata of the authorisation server.
func (t *trunk) authServer(ctx context.Context) (authServer, error) {
	now := t.client.cfg.Now()
	t.mu.Lock()
	as, due := t.as, t.asDue
	t.mu.Unlock()
	if now.Before(due) {
		return as, nil
	}
	d := t.discovery
	if t.toCustomer() {
		tg := t.snapshot().tg
		if tg == nil {
			return authServer{}, bridge.CauseUnreachable.With("trunk %q: %v", t.cfg.Name, errUnregistered)
		}
		d.connect = origin(tg)
	}
	as, err := d.AuthServer(ctx)
	if err != nil {
		return authServer{}, err
	}
	t.mu.Lock()
	t.as, t.asDue = as, now.Add(maxFresh)
	t.mu.Unlock()
	return as, nil
}

// keep is the trunk's loop: make everything ready, sleep until the first thing
// falls due or somebody found something gone, again.
func (t *trunk) keep(ctx context.Context) {
	for ctx.Err() == nil {
		due, err := t.prepare(ctx)
		wait := t.note(ctx, due, err)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-t.kick:
			// Whoever kicks may do it often; the peer shall not feel it.
			pause(ctx, minBackoff/4)
		}
		timer.Stop()
	}
}

// note keeps the outcome of a round and returns how long to wait for the next.
func (t *trunk) note(ctx context.Context, due time.Time, err error) time.Duration {
	if ctx.Err() != nil {
		return 0
	}
	log := t.client.cfg.Logger.With("trunk", t.cfg.Name)
	t.mu.Lock()
	defer t.mu.Unlock()
	before, rounds := t.err, t.rounds
	t.err = err
	t.rounds++
	if err == nil {
		t.failures = 0
		if before != nil || rounds == 0 {
			log.Info("RIPT trunk is ready", "tg", t.known.tg.String())
		}
		return max(due.Sub(t.client.cfg.Now()), time.Second)
	}
	switch {
	case before != nil && before.Error() == err.Error():
	case errors.Is(err, errUnregistered):
		log.Info("RIPT trunk waits for its peer", "err", err)
	default:
		log.Warn("RIPT trunk is not ready", "err", err)
	}
	t.failures++
	var tg TG
	if t.known.doc != nil {
		tg = t.known.doc.TG
	}
	return jittered(max(tg.backoff(t.failures), bridge.CauseOf(err).RetryAfter))
}

// wake makes the loop look again, because something turned out to be gone.
func (t *trunk) wake() {
	select {
	case t.kick <- struct{}{}:
	default:
	}
}

// prepare does what is due, in the order in which one thing needs another, and
// returns when the next is. It is called by the loop only.
func (t *trunk) prepare(ctx context.Context) (time.Time, error) {
	k := t.snapshot()
	now := t.client.cfg.Now()
	if t.toCustomer() {
		if err := t.findCustomer(ctx, &k); err != nil {
			return time.Time{}, err
		}
	} else if k.tg == nil {
		root, err := t.Root(ctx)
		if err != nil {
			return time.Time{}, err
		}
		if k.tg, err = t.ChooseTG(ctx, root); err != nil {
			return time.Time{}, err
		}
		k.root = root
		t.learn(func(n *known) { n.root, n.tg = k.root, k.tg })
	}
	if !now.Before(k.docDue) {
		if err := t.refresh(ctx, &k); err != nil {
			return time.Time{}, err
		}
	}
	if k.handlers == nil {
		if _, err := t.register(ctx, k.tg); err != nil {
			return time.Time{}, err
		}
	}
	if len(t.cfg.Numbers) > 0 && (k.identity == nil || k.doubted || !now.Before(k.identity.due())) {
		id, err := t.identify(ctx, k)
		if err != nil {
			return time.Time{}, err
		}
		k.identity = id
		t.learn(func(n *known) { n.identity, n.doubted = id, false })
	}
	// A call shall not have to wait for a token.
	if _, err := t.tokens.Token(ctx, k.tg.String()); err != nil {
		return time.Time{}, err
	}
	return earliest(k.docDue, k.identity.due(), t.tokens.Expires(ctx, k.tg.String()), t.keepInbound(ctx, k)), nil
}

// refresh reads the TG document anew. A TG that is gone is looked for again
// from the start, with everything that hung on it.
func (t *trunk) refresh(ctx context.Context, k *known) error {
	doc, err := t.ReadTG(ctx, k.tg, k.doc)
	if gone(err) {
		t.learn(func(n *known) { *n = known{} })
		return fmt.Errorf("the TG is gone, looking for another: %w", err)
	}
	if err != nil {
		return err
	}
	k.doc, k.docDue = doc, t.client.cfg.Now().Add(doc.Fresh)
	t.learn(func(n *known) { n.doc, n.docDue = k.doc, k.docDue })
	return nil
}

func (t *trunk) snapshot() known {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.known
}

func (t *trunk) learn(f func(*known)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.known)
}

// usable is what a call needs; the error says why the trunk cannot be called.
func (t *trunk) usable() (known, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.known
	if k.tg != nil && k.doc != nil && k.handlers != nil {
		return k, nil
	}
	if t.err != nil {
		return k, fmt.Errorf("trunk %q is not ready: %w", t.cfg.Name, t.err)
	}
	return k, bridge.CauseUnreachable.With("trunk %q is not ready: still connecting to %s", t.cfg.Name, t.peerHost())
}

func (t *trunk) ready() error {
	if _, err := t.usable(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return fmt.Errorf("trunk %q: %w", t.cfg.Name, t.err)
	}
	if len(t.cfg.Numbers) > 0 && t.known.identity == nil {
		return bridge.CauseUnreachable.With("trunk %q is not ready: no certificate for its numbers yet", t.cfg.Name)
	}
	return nil
}

func (t *trunk) state() TrunkState {
	s := TrunkState{Name: t.cfg.Name, Ready: true}
	if err := t.ready(); err != nil {
		s.Ready, s.Reason = false, err.Error()
	}
	s.Connections, s.Streams = t.pool.Counts()
	s.Sessions, s.Seated = t.sessionCounts()
	t.mu.Lock()
	defer t.mu.Unlock()
	s.Connect = t.peerHost()
	if t.known.tg != nil {
		s.TG = t.known.tg.String()
	}
	s.Registration = t.registration
	if t.inboundErr != nil {
		s.Unregistered = t.inboundErr.Error()
	}
	if t.known.identity != nil {
		s.CertificateExpires = t.known.identity.notAfter
	}
	s.Calls, s.Dialled, s.Refused, s.Reattached = t.calls, t.dialled, t.refused, t.reattached
	s.MediaPanics, s.UnknownEvents = t.mediaPanics, t.unknownEvents
	return s
}

// identify gets the certificate with which we sign calls over the trunk.
func (t *trunk) identify(ctx context.Context, k known) (*identity, error) {
	if t.toCustomer() {
		return t.certify(ctx)
	}
	return t.enrol(ctx, k.tg, k.doubted)
}

// peerHost is the authority of the peer, as far as it is known. The caller holds
// the trunk's lock.
func (t *trunk) peerHost() string {
	switch {
	case t.connect != nil:
		return t.connect.Host
	case t.known.tg != nil:
		return t.known.tg.Host
	}
	return ""
}

// gone tells that a resource exists no more.
func gone(err error) bool {
	var e *requestError
	return errors.As(err, &e) && (e.Status == 404 || e.Status == 410)
}

// earliest of the times that are set.
func earliest(times ...time.Time) time.Time {
	var out time.Time
	for _, t := range times {
		if !t.IsZero() && (out.IsZero() || t.Before(out)) {
			out = t
		}
	}
	return out
}
