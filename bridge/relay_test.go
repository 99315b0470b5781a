package bridge

import (
	"log/slog"
	"testing"
)

// FuzzRelayed: frames of another node are read without harm, and say what they
// said.
func FuzzRelayed(f *testing.F) {
	for _, fr := range []Frame{
		{Codec: PCMA, Seq: 7, Timestamp: 1120, Payload: []byte("speech")},
		{Codec: H264, Marker: true, Payload: []byte("x"), Sealed: &Sealed{KeyID: 1, Seq: 2, Time: 3, Clock: 4, Has: 5, ReferenceFrame: 6, SpatialLayer: 7, TemporalLayer: 8}},
	} {
		f.Add(appendRelayed(nil, "call", sideB, &fr))
	}
	f.Add([]byte{1, 0, 0, 2, 0, 1, 'x'})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRelayed(b)
		if err != nil {
			return
		}
		if again := appendRelayed(nil, r.call, r.side, &r.frame); string(again) != string(b) {
			t.Errorf("%x became %x", b, again)
		}
	})
}

// FuzzGiven: so are records.
func FuzzGiven(f *testing.F) {
	f.Add(appendGiven(nil, "call", []byte(`{"v":1,"node":"one","epoch":3}`)))
	f.Add([]byte{3, 4, 'x'})
	f.Fuzz(func(t *testing.T, b []byte) {
		call, value, ok := parseGiven(b)
		if !ok {
			return
		}
		if again := appendGiven(nil, call, value); string(again) != string(b) {
			t.Errorf("%x became %x", b, again)
		}
		l := newLedger(slog.New(slog.DiscardHandler))
		l.given(call, value)
	})
}
