package h3

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"riptide/bridge"
	"riptide/h3/advert"
	"riptide/h3/agree"
	"riptide/h3/media"
)

// A server that is started again is the origin of the calls of the process
// before it: under the same URIs, with the same agreements on media. Clients come
// back by themselves; what they find must look as if nobody had been away.

var _ bridge.Resumer = (*Server)(nil)

const (
	// maxLegState is the largest record of a leg that is read, in bytes.
	maxLegState = 64 << 10
	// seqMargin is how many events, or changes of carrier, a record is behind at
	// most.
	seqMargin = 1 << 16
)

// numberedFrom is where to go on counting what was counted up to n when the
// record was written. The time of day keeps two resumptions of one record apart;
// it is less than 2^53, which is all that some JSON parsers can count to.
func numberedFrom(n uint64, now time.Time) uint64 {
	return max(n+seqMargin, uint64(max(0, now.UnixMilli())))
}

// Resume serves a call again that another process was the origin of. Its client
// is told where it stands as soon as it attaches.
func (s *Server) Resume(ctx context.Context, r bridge.Resumption) (bridge.Leg, error) {
	c, err := s.revive(ctx, r)
	if err == nil {
		if err = s.calls.enter(c); err != nil {
			c.lost.Stop()
			c.media.end()
			c.media.port.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("continue call %s of trunk %q: %w", r.ID, r.Trunk, err)
	}
	s.claims.arrived(c.info.ID)
	return serverLeg{c}, nil
}

// revive makes the call of a record.
func (s *Server) revive(ctx context.Context, r bridge.Resumption) (*serverCall, error) {
	st, err := parseServerLegState(r.LegRecord.State)
	if err != nil {
		return nil, bridge.CauseInternal.With("%v", err)
	}
	g := s.tgs[st.TG]
	if g == nil {
		return nil, bridge.CauseUnreachable.With("its TG %q is not configured any more", st.TG)
	}
	t, err := s.termsAgain(ctx, g, st)
	if err != nil {
		return nil, err
	}
	d, err := agree.Read(st.ClientDirectives, st.ServerDirectives)
	if err == nil {
		_, err = advert.ParseDirective(st.ServerDirectives) // ours: a client may be lenient about them
	}
	var plan bridge.MediaPlan
	if err == nil {
		d, plan, err = t.planned(d)
	}
	if err != nil {
		return nil, bridge.CauseInternal.With("its directives: %v", err)
	}
	now := s.cfg.Now()
	desc := CallDescription{
		URI: st.Call, Handler: t.handler, Direction: "outbound", From: r.From, To: r.To,
		ClientDirectives: d.ToServer.String(), ServerDirectives: d.ToClient.String(),
		Created: st.Created, Answered: st.Answered, Facts: st.Facts,
	}
	info := bridge.LegInfo{
		ID: st.Call, Protocol: protocolRIPT, Trunk: g.cfg.Trunk, From: r.From, To: r.To,
		Media: t.offer(plan.Sealed), Trace: st.Trace, Hops: bridge.DefaultHops,
	}
	c := blankServerCall(desc, info, s.cfg.Now)
	c.id, c.client, c.tg, c.terms, c.facts = st.callID(), g.cfg.ClientID, g.cfg.Name, t, g.cfg.Facts
	c.media = newAgreement(d, plan, media.Config{Server: true, Panic: c.mediaPanic, Keys: session(g.cfg.Keys, st.Trace, false), Resumed: true})
	r.Hear(c.media.port)
	c.media.port.Detour(r.Detour)
	c.seq = numberedFrom(st.SeqOut, now)
	// Which of the client's last events came is not on record: none comes again.
	c.heard = seqFilter{highest: st.SeqIn, seen: ^uint64(0)}
	c.announce(Event{Type: st.State, Media: st.Early, Facts: st.Facts})
	// The client may know of a change that the record does not, or the other way
	// round: this is how the call goes on.
	c.announceChange()
	return c, nil
}

// termsAgain are the terms of a recorded call. A record of the first version
// does not have the handler, which is in the store, unless its client has taken
// it back: then it can do what it does.
func (s *Server) termsAgain(ctx context.Context, g *terminalGroup, st serverLegState) (terms, error) {
	h := &registration{Handler: Handler{Advertisement: st.Advert, Media: st.Media}}
	if st.Advert == "" {
		if known, err := s.handlerOf(ctx, g, st.Handler); err == nil {
			h = known
		} else {
			h.Handler.Advertisement = string(st.advertised())
		}
	}
	var err error
	if h.adv, err = advert.ParseAdvert(h.Handler.Advertisement); err != nil {
		return terms{}, bridge.CauseInternal.With("its handler: %v", err)
	}
	return g.termsOf(st.Handler, h), nil
}

// advertised is the least that a client advertises which follows the directives.
func (st serverLegState) advertised() string {
	d, err := agree.Read(st.ClientDirectives, st.ServerDirectives)
	if err != nil {
		return ""
	}
	plan, err := d.Plan(true)
	if err != nil {
		return ""
	}
	o := plan.Offer()
	o.Sealed = plan.Sealed
	return agree.Advert(o).String()
}

// parseServerLegState reads the server's part of a record, of this release or of
// an older one. Its errors quote nothing of it.
func parseServerLegState(raw []byte) (serverLegState, error) {
	var st serverLegState
	if len(raw) > maxLegState {
		return st, fmt.Errorf("record of a leg: %d bytes, more than %d", len(raw), maxLegState)
	}
	if json.Unmarshal(raw, &st) != nil {
		return st, fmt.Errorf("record of a leg: not what a RIPT server writes")
	}
	if st.Version < 1 || st.Version > serverLegStateVersion {
		return st, fmt.Errorf("record of a leg: version %d, this release reads up to %d", st.Version, serverLegStateVersion)
	}
	if _, err := parseURI(st.Call); err != nil || !segment.MatchString(st.TG) || uuid.Validate(st.callID()) != nil {
		return st, fmt.Errorf("record of a leg: not the URI of a call of ours")
	}
	switch st.State {
	case eventProceeding, eventAlerting, eventAnswered:
	default:
		return st, fmt.Errorf("record of a leg: the call is in no state in which it could go on")
	}
	return st, nil
}

// callID is the last segment of the call's URI, "" if the URI is none of a call
// of the TG.
func (st serverLegState) callID() string {
	u, err := parseURI(st.Call)
	if err != nil {
		return ""
	}
	id, ok := strings.CutPrefix(u.Path, pathTGPrefix+st.TG+"/calls/")
	if !ok {
		return ""
	}
	return id
}
