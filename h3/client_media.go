package h3

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/quic-go/webtransport-go"

	"riptide/h3/media"
)

// callMedia is the media end of an outgoing call: one port for its life, and
// the carriers of the place where the call is now.
type callMedia struct {
	*media.Port
	leg    *clientLeg
	agreed *agreement

	mu       sync.Mutex
	carriers *media.Client
	call     string // URI they belong to
	epoch    uint64 // of the migration they belong to
	conns    *callConns
	left     bool // the carriers were ended
	stays    bool // they go on where the call was
	closed   bool

	before earlier
}

// openMedia makes the port. What is sent before there are carriers waits there.
func (t *trunk) openMedia(l *clientLeg) *callMedia {
	cfg := media.Config{Resumed: l.resumed}
	if l.keyed {
		cfg.Keys = session(t.cfg.Keys, l.info.Trace, true)
	}
	agreed := newAgreement(l.first.d, l.first.plan, cfg)
	if l.hears != nil {
		agreed.port.Join(l.hears)
	}
	agreed.port.Detour(l.detour)
	return &callMedia{leg: l, agreed: agreed, Port: agreed.port}
}

// carry puts the port on carriers to the call at uri.
func (m *callMedia) carry(uri string, epoch uint64) {
	t := m.leg.t
	doc := t.doc()
	conns := &callConns{leg: m.leg}
	conns.jar.Store(m.leg.jar)
	client, err := media.Dial(t.client.ctx, conns, uri+"/media", m.Port, media.Options{
		Rungs:    t.rungs(),
		Parked:   doc.ParkedGets,
		Draft:    doc.Profile < Profile,
		Epoch:    epoch,
		Hurry:    m.leg.resumed || m.carriers != nil,
		Ladder:   &t.client.ladder,
		Sessions: t.trunkSessions(m.leg.tg),
		Seat:     m.leg.seat,
		Tag:      m.leg.callTag,
	})
	m.leg.seat = nil // it is the carriers' now
	if err != nil {
		return // only for URIs that accept and migrate let nobody in with
	}
	m.carriers, m.call, m.conns = client, uri, conns
}

// Panic passes on that the server has media and no GET to send it on.
func (m *callMedia) Panic() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed && m.carriers != nil {
		m.carriers.Panic()
	}
}

// Attached opens carriers to where the call is now: epoch is the number of the
// migration that led there. It is for the moment when the response headers of
// GET events are here, and with them the cookie that leads media to the same
// node (core draft, "Graceful Migration"; 20-protocol.md A.4-37). Carriers find
// their own way after the loss of a mere connection.
func (m *callMedia) Attached(uri string, epoch uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
	case m.carriers == nil:
		m.epoch = epoch
		m.carry(uri, epoch)
	case m.stays:
		m.epoch = epoch
		m.follow(uri)
	case epoch != m.epoch, m.left:
		m.epoch, m.left = epoch, false
		m.carriers.Close()
		m.carry(uri, m.carriers.Epoch()+1)
	default:
		m.Renumber()
	}
}

// Leave ends the carriers: the call is about to be somewhere else, or the peer is
// out of reach. Until Attached the port keeps what is to be sent, for its time.
func (m *callMedia) Leave() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.carriers != nil && !m.closed {
		m.left, m.stays = true, false
		m.before.end()
		m.carriers.Close()
	}
}

// Close ends the carriers and the port.
func (m *callMedia) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	m.closed = true
	m.agreed.end()
	m.Port.Close()
	m.before.end()
	if m.carriers != nil {
		m.carriers.Close()
	} else {
		m.leg.seat.Release()
	}
}

// callConns are the connections as one call uses them: with the trunk's token
// and the call's cookies.
type callConns struct {
	leg *clientLeg
	jar atomic.Pointer[cookieJar] // the call's, or that of where it was
}

var _ media.Conns = (*callConns)(nil)

// Do sends a request of the media byway.
func (c *callConns) Do(r *http.Request) (*http.Response, error) {
	l := c.leg
	if err := l.mayAsk.pass(r.Context()); err != nil {
		return nil, err
	}
	token, err := l.t.tokens.Token(r.Context(), l.tg.String())
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	c.jar.Load().Apply(r)
	resp, err := l.t.pool.Do(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusUnauthorized {
		l.t.tokens.Forget(l.tg.String(), token)
	}
	c.jar.Load().Learn(r.URL, resp)
	return resp, nil
}

// Session opens a WebTransport session.
func (c *callConns) Session(ctx context.Context, uri string, h http.Header) (*webtransport.Session, error) {
	l := c.leg
	token, err := l.t.tokens.Token(ctx, l.tg.String())
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodConnect, uri, nil)
	if err != nil {
		return nil, err
	}
	r.Header = h.Clone()
	r.Header.Set("Authorization", "Bearer "+token)
	c.jar.Load().Apply(r)
	return l.t.pool.Session(ctx, uri, r.URL.Host, r.Header)
}

// Join puts the call on a trunk session.
func (c *callConns) Join(ctx context.Context, session string, h http.Header) (tag uint64, err error) {
	l := c.leg
	body, err := json.Marshal(CallUpdate{Session: session})
	if err != nil {
		return 0, err
	}
	uri := l.callURI()
	rep, err := l.t.Do(ctx, request{
		Method: http.MethodPost, URL: uri, Resource: l.tg.String(), Body: body, ContentType: "application/json", Jar: c.jar.Load(),
		Header: map[string]string{media.EpochHeader: h.Get(media.EpochHeader)},
	})
	if err != nil {
		return 0, err
	}
	d, err := decode[CallDescription](l.t.cfg.Name, "description of call", uri, rep.Body)
	return d.CallTag, err
}

// rungs are the carriers a call over this trunk may use.
func (t *trunk) rungs() []media.Rung {
	return media.Rungs(t.cfg.Media, t.doc().Media)
}

// doc is the TG document as it was read last; of a TG that is gone, nothing.
// Before the first is here, calls that go on have it as it was.
func (t *trunk) doc() TG {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known.doc != nil {
		return t.known.doc.TG
	}
	return t.recalled.doc
}
