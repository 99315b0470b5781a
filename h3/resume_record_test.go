package h3

import (
	"encoding/json"
	"strings"
	"testing"

	"riptide/bridge"
)

const (
	serverRecord = `{"v":2,"client":"office-pbx","tg":"office","call":"https://ript.test/ript/v1/tgs/office/calls/01234567-89ab-4def-8123-456789abcdef",` +
		`"handler":"https://ript.test/ript/v1/tgs/office/handlers/h","clientDirectives":"1 to 1: PCMA;","serverDirectives":"1 to 1: PCMA;",` +
		`"state":"answered","seqOut":7,"seqIn":3,"advert":"1 in: PCMA; PCMU;\n1 out: PCMA; PCMU;","trace":{"id":"4bf92f3577b34da6a3ce929d0e0e4736"},"created":"2026-01-01T00:00:00Z"}`
	clientRecord = `{"v":2,"call":"https://ript.test/ript/v1/tgs/office/calls/1","tg":"https://ript.test/ript/v1/tgs/office",` +
		`"handler":"https://ript.test/ript/v1/tgs/office/handlers/h","state":"answered","clientDirectives":"1 to 1: PCMA;","serverDirectives":"1 to 1: PCMA;",` +
		`"cookies":{"node":"a"},"epoch":2,"sent":9,"advert":"1 in: PCMA; PCMU;\n1 out: PCMA; PCMU;","hops":9,"rungs":{"trunk":true,"striped":false},"peer":{"profile":1}}`
)

// edited is a record with one thing changed.
func edited(t testing.TB, record, member string, value any) json.RawMessage {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(record), &m); err != nil {
		t.Fatal(err)
	}
	if value == nil {
		delete(m, member)
	} else {
		m[member] = value
	}
	out, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var badRecords = []struct {
	name, member string
	value        any
}{
	{"of a later release", "v", 99}, {"without a version", "v", nil}, {"of another type", "state", 1},
	{"of an ended call", "state", "ended"}, {"without a state", "state", nil},
	{"with a call elsewhere", "call", "https://evil.test/ript/v1/tgs/office/calls/01234567-89ab-4def-8123-456789abcdef"},
	{"with a call that is no URI", "call", "::"}, {"without directives", "clientDirectives", nil},
	{"with directives that are none", "clientDirectives", "1 sideways 1: PCMA;"}, {"with a handler that is none", "advert", "1 sideways: PCMA"},
	{"too large", "handler", "https://ript.test/" + strings.Repeat("h", maxLegState)},
}

// Records that are damaged, of a later release, or too large are refused with a
// cause, and nothing of them is in it.
func TestRecordsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	r := makeRig(t)
	resume := func(record json.RawMessage) error {
		leg, err := r.server.Resume(t.Context(), bridge.Resumption{LegRecord: bridge.LegRecord{
			Protocol: protocolRIPT, Trunk: "office", ID: "x", Incoming: true, State: record,
		}, State: bridge.StateAnswered})
		if err == nil {
			_ = leg.End(t.Context(), bridge.CauseNormal)
		}
		return err
	}
	must(t, resume(json.RawMessage(serverRecord)))
	for _, bad := range badRecords {
		if bad.name == "with a call elsewhere" {
			continue // whatever host it has, it is the client's way to us
		}
		err := resume(edited(t, serverRecord, bad.member, bad.value))
		if err == nil || bridge.CauseOf(err).Code == "" || strings.Contains(err.Error(), "4bf92f") || len(err.Error()) > 1000 {
			t.Errorf("a server's record %s: %v", bad.name, err)
		}
	}
	if err := resume(edited(t, serverRecord, "serverDirectives", "1 sideways 1: PCMA;")); err == nil {
		t.Error("directives of ours that are none")
	}
	if err := resume(edited(t, serverRecord, "tg", "gone")); err == nil {
		t.Error("a TG that is gone")
	}

	p := newFakePeer(t)
	c, err := NewClient(p.config())
	must(t, err)
	attach := func(record json.RawMessage) error {
		_, err := c.trunks["telco"].revive(bridge.Resumption{LegRecord: bridge.LegRecord{
			Protocol: protocolRIPT, Trunk: "telco", ID: "x", State: record,
		}, State: bridge.StateAnswered})
		return err
	}
	must(t, attach(json.RawMessage(clientRecord)))
	for _, bad := range badRecords {
		err := attach(edited(t, clientRecord, bad.member, bad.value))
		if err == nil || len(err.Error()) > 1000 {
			t.Errorf("a client's record %s: %v", bad.name, err)
		}
	}
	if _, err := c.Resume(t.Context(), bridge.Resumption{LegRecord: bridge.LegRecord{Trunk: "gone"}}); err == nil {
		t.Error("a trunk that is gone")
	}
}

// Records of the first version know neither handler nor trace.
func TestRecordsOfTheFirstVersion(t *testing.T) {
	t.Parallel()
	m := newMortal(t, "put-get")
	out, in := m.answered("put/get")
	ofClient, ofServer := again(out, bridge.StateAnswered), again(in, bridge.StateAnswered)
	for _, r := range []*bridge.Resumption{&ofClient, &ofServer} {
		old := edited(t, string(r.LegRecord.State), "v", 1)
		for _, member := range []string{"advert", "media", "trace", "facts", "created", "answered", "tag", "hops", "rungs", "peer"} {
			old = edited(t, string(old), member, nil)
		}
		r.LegRecord.State = old
	}
	m.cut()
	m.crash()
	m.restart(func(s *Server) {
		var err error
		in, err = s.Resume(t.Context(), ofServer)
		must(t, err)
	})
	m.start("put-get")
	out, err := m.client.Resume(t.Context(), ofClient)
	must(t, err)
	m.heard(out, in)
	must(t, out.End(t.Context(), bridge.CauseNormal))
	_ = awaitEnded(t, in)
}

func FuzzLegRecords(f *testing.F) {
	f.Add([]byte(serverRecord))
	f.Add([]byte(clientRecord))
	f.Add([]byte(`{"v":1}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if st, err := parseServerLegState(raw); err == nil {
			if st.callID() == "" || !segment.MatchString(st.TG) || len(raw) > maxLegState {
				t.Errorf("taken: %q", raw)
			}
			st.advertised()
		}
		if st, err := parseLegState(raw); err == nil {
			if st.Version > legStateVersion || len(raw) > maxLegState {
				t.Errorf("taken: %q", raw)
			}
			if _, wire, err := st.agreed(); err == nil {
				_, _, _ = st.advertised(wire)
			}
		}
	})
}
