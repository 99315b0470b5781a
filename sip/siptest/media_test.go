package siptest

import (
	"context"
	"testing"
	"time"

	"riptide/bridge/bridgetest"
)

// sipp plays a tone, baresip records it.
func TestSippIsHeardByBaresip(t *testing.T) {
	t.Parallel()
	Need(t, "sipp", "baresip")
	ns := NewNamespace(t)
	for payload, hz := range map[int]float64{0: 700, 8: 900} {
		phone := Baresip{Netns: ns}.Start(t)
		caller := Sipp{
			Scenario: UAC, Netns: ns, Remote: phone.Addr, Service: "phone",
			Script: Script{HoldMS: 2000, MediaFile: ToneFile(t, hz, payload), Payload: payload},
		}.Start(t)
		caller.Check(t, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if _, err := phone.Await(ctx, "CALL_CLOSED", 0); err != nil {
			t.Error(err)
		}
		cancel()
		samples, rate, err := phone.Recording()
		if err != nil {
			t.Fatal(err)
		}
		if tone := bridgetest.ToneLevel(samples, rate); !tone.Is(hz) {
			t.Errorf("payload type %d: heard %v in %d samples, want %v Hz", payload, tone, len(samples), hz)
		}
	}
}
