package h3

import (
	"context"
	"encoding/json"
	"time"

	"riptide/bridge"
)

// serverLeg is a call as the bridge sees it: an incoming leg.
type serverLeg struct {
	call *serverCall
}

var (
	_ bridge.Leg     = serverLeg{}
	_ bridge.Adapter = serverLeg{}
)

func (l serverLeg) Info() bridge.LegInfo        { return l.call.info }
func (l serverLeg) Events() <-chan bridge.Event { return l.call.events }
func (l serverLeg) Media() bridge.MediaPort     { return l.call.media.port }

// Progress announces that the called party is being looked for, or rung, and
// whether early media flows.
func (l serverLeg) Progress(_ context.Context, p bridge.Progress) error {
	return l.call.progress(p)
}

// Answer announces the answer. Where the plan is another than that of the
// directives in force, new ones go out first.
func (l serverLeg) Answer(_ context.Context, a bridge.Answer) error {
	return l.call.answer(a)
}

// Adapt gives the client other directives.
func (l serverLeg) Adapt(_ context.Context, o bridge.MediaOffer) error { return l.call.adapt(o) }

// End announces the end on every open byway and waits, within limits, until
// they have carried it.
func (l serverLeg) End(ctx context.Context, cause bridge.Cause) error {
	l.call.finish(cause)
	return l.call.waitTold(ctx)
}

// serverLegState is the RIPT server's part of a call record: what another process
// needs to be the origin of this call.
type serverLegState struct {
	Version          int    `json:"v"`
	Client           string `json:"client"`
	TG               string `json:"tg"`
	Call             string `json:"call"`
	Handler          string `json:"handler"`
	ClientDirectives string `json:"clientDirectives"`
	ServerDirectives string `json:"serverDirectives"`
	State            string `json:"state"`
	Early            bool   `json:"early,omitempty"`
	SeqOut           uint64 `json:"seqOut"` // of the events we sent
	SeqIn            uint64 `json:"seqIn"`  // highest of the client's

	// From version 2 on.
	Advert   string       `json:"advert,omitempty"` // of the handler, as it was when the agreement was made
	Media    []string     `json:"media,omitempty"`  // carriers of the handler
	Trace    bridge.Trace `json:"trace,omitzero"`   // as the client sent it: the keys of sealed media go by it
	Facts    bridge.Facts `json:"facts,omitzero"`   // of the answer
	Created  time.Time    `json:"created,omitzero"`
	Answered time.Time    `json:"answered,omitzero"`
}

const serverLegStateVersion = 2

// Record is enough to serve the call's URI elsewhere.
func (l serverLeg) Record() bridge.LegRecord {
	c := l.call
	c.mu.Lock()
	st := serverLegState{
		Version: serverLegStateVersion,
		Client:  c.client, TG: c.tg, Call: c.uri, Handler: c.desc.Handler,
		ClientDirectives: c.desc.ClientDirectives, ServerDirectives: c.desc.ServerDirectives,
		State: c.desc.State, Early: c.last.Media,
		SeqOut: c.seq, SeqIn: c.heard.highest,
		Advert: c.terms.advert, Media: c.terms.media, Trace: c.info.Trace, Facts: c.desc.Facts,
		Created: c.desc.Created, Answered: c.desc.Answered,
	}
	c.mu.Unlock()
	raw, err := json.Marshal(st)
	if err != nil {
		raw = nil // strings, integers and times only: it cannot
	}
	return bridge.LegRecord{
		Protocol: protocolRIPT, Trunk: c.info.Trunk, ID: c.uri, From: c.info.From, To: c.info.To,
		Incoming: true, State: raw, Seeks: true,
	}
}
