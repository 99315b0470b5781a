package agree

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"riptide/bridge"
	"riptide/bridge/format"
	"riptide/h3/advert"
)

var offers = map[string]bridge.MediaOffer{
	"narrow": {Speech: []bridge.Codec{bridge.PCMA, bridge.PCMU}, Digits: true, ComfortNoise: true},
	"wide": {
		Speech: []bridge.Codec{bridge.Opus, bridge.G722}, Ptime: 40 * time.Millisecond,
		Limits: []bridge.Format{{Codec: bridge.Opus, Params: []bridge.Param{{Name: format.BitRate, Value: 24000}}}},
	},
	"video":  {Speech: []bridge.Codec{bridge.PCMU}, Video: []bridge.Format{{Codec: bridge.VP8}, {Codec: bridge.H264, Params: []bridge.Param{{Name: format.PacketizationMode, Value: 1}}}}},
	"sealed": {Speech: []bridge.Codec{bridge.PCMU}, Digits: true, Sealed: true, Video: []bridge.Format{{Codec: bridge.VP8}}},
}

// What a handler advertises is what it was made of, and what it agrees on with
// our end of a call is its first choice.
func TestOfferThereAndBack(t *testing.T) {
	for name, o := range offers {
		t.Run(name, func(t *testing.T) {
			a, err := advert.ParseAdvert(Advert(o).String())
			if err != nil {
				t.Fatal(err)
			}
			if got := Offer(a, o.Sealed); !reflect.DeepEqual(got, o) {
				t.Errorf("came back as %+v, was %+v", got, o)
			}
			if other := Offer(a, !o.Sealed); len(other.Speech)+len(other.Video) != 0 {
				t.Errorf("with the other seal: %+v", other)
			}
			d, err := Decide(a, Server(a, nil), nil)
			if err != nil {
				t.Fatal(err)
			}
			plan, err := d.Plan(true)
			if err != nil || plan.Speech != o.Speech[0] || plan.Sealed != o.Sealed || plan.Digits != o.Digits || (plan.Video != nil) != (len(o.Video) > 0) {
				t.Errorf("plan %+v, %v", plan, err)
			}
			if err := d.Follow(a); err != nil {
				t.Error(err)
			}
			if _, err := Decide(a, Server(a, []bridge.Codec{bridge.VP8}), nil); !errors.Is(err, bridge.CauseMediaIncompatible) {
				t.Errorf("no speech in common: %v", err)
			}
		})
	}
}

// Sealed and clear streams do not mix, whatever a client lists.
func TestSealIsForTheWholeCall(t *testing.T) {
	a, err := advert.ParseAdvert("1 in: PCMU,sealed; 1 out: PCMU,sealed; 2 in: VP8; 2 out: VP8;")
	if err != nil {
		t.Fatal(err)
	}
	d, err := Decide(a, Server(a, nil), nil)
	if err != nil || d.ToServer.String() != "1 to 1: PCMU,sealed;" {
		t.Errorf("%q, %v", d.ToServer, err)
	}
}

func FuzzDecide(f *testing.F) {
	for _, o := range offers {
		f.Add(Advert(o).String(), Advert(offers["narrow"]).String())
	}
	f.Fuzz(func(t *testing.T, one, other string) {
		a, errA := advert.ParseAdvert(one)
		b, errB := advert.ParseAdvert(other)
		if errA != nil || errB != nil {
			return
		}
		d, err := Decide(a, b, nil)
		if err != nil {
			return
		}
		if err := d.Follow(a); err != nil && d.ToServer != nil {
			t.Fatalf("%q with %q gave %q, which the client cannot follow: %v", one, other, d.ToServer, err)
		}
		for _, server := range []bool{true, false} {
			plan, err := d.Plan(server)
			if err != nil || !plan.Speech.Speech() {
				t.Fatalf("%q with %q gave %q and %q: %+v, %v", one, other, d.ToServer, d.ToClient, plan, err)
			}
		}
	})
}
