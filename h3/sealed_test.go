package h3

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"riptide/bridge"
	"riptide/h3/chunk"
	"riptide/h3/chunk/seal"
)

const (
	testKeys  = `[{"kid":7,"suite":4,"key":"000102030405060708090a0b0c0d0e0f"}]`
	otherKeys = `[{"kid":7,"suite":4,"key":"ff0102030405060708090a0b0c0d0e0f"}]`
)

func testRing(t *testing.T, file string) *seal.Ring {
	t.Helper()
	if file == "" {
		return nil
	}
	r, err := seal.ParseRing([]byte(file))
	must(t, err)
	return r
}

// newSealedPair has end-to-end keys at the client, at the server, or both.
func newSealedPair(t *testing.T, media, client, server string) *pair {
	t.Helper()
	p := &pair{rig: newRig(t, func(c *ServerConfig) { c.TGs[0].Keys = testRing(t, server) })}
	p.client = p.connect(media, func(c *TrunkConfig) { c.Keys = testRing(t, client) })
	return p
}

// Two ends with keys hear each other; the bridges see clear media, and the
// directives say that it is sealed.
func TestEndsWithKeys(t *testing.T) {
	t.Parallel()
	for _, carrier := range []string{"auto", "put-get"} {
		t.Run(carrier, func(t *testing.T) {
			t.Parallel()
			p := newSealedPair(t, carrier, testKeys, testKeys)
			out, in := p.dial()
			if info := in.Info(); info.Media.Sealed || len(info.Media.Speech) == 0 || info.Trace.ID == "" {
				t.Errorf("at the server: %+v", info)
			}
			must(t, in.Answer(t.Context(), bridge.Answer{Media: testPlan}))
			if ev := awaitKind(t, out, bridge.Answered); ev.Plan == nil || !ev.Plan.Equal(testPlan) {
				t.Errorf("answered with plan %v", ev.Plan)
			}
			p.heard(out, in)
			desc := in.(serverLeg).call.describe()
			for _, d := range []string{desc.ClientDirectives, desc.ServerDirectives} {
				if strings.Count(d, "sealed") != strings.Count(d, ";") || d == "" {
					t.Errorf("directive %q", d)
				}
			}
			// Another codec, and it is still sealed.
			must(t, out.(bridge.Adapter).Adapt(t.Context(), bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMU}, Digits: true}))
			if ev := awaitKind(t, out, bridge.MediaChanged); ev.Plan == nil || ev.Plan.Speech != bridge.PCMU || ev.Plan.Sealed {
				t.Errorf("changed to %+v", ev.Plan)
			}
			if ev := awaitKind(t, in, bridge.MediaChanged); ev.Plan == nil || ev.Plan.Speech != bridge.PCMU || ev.Plan.Sealed || ev.Offer.Sealed {
				t.Errorf("the server changed to %+v", ev.Plan)
			}
			if desc = in.(serverLeg).call.describe(); !strings.Contains(desc.ClientDirectives, "PCMU,sealed") {
				t.Errorf("directive %q", desc.ClientDirectives)
			}
			if s := in.Media().Stats(); s.Malformed+s.UnknownPayload != 0 {
				t.Errorf("%+v", s)
			}
			must(t, in.End(t.Context(), bridge.CauseNormal))
		})
	}
}

// Ends with different keys hear nothing, and it is counted.
func TestEndsWithOtherKeys(t *testing.T) {
	t.Parallel()
	p := newSealedPair(t, "put-get", testKeys, otherKeys)
	out, in := p.dial()
	must(t, in.Answer(t.Context(), bridge.Answer{Media: testPlan}))
	awaitKind(t, out, bridge.Answered)
	f := &bridge.Frame{Codec: bridge.PCMA, Payload: make([]byte, 160)}
	for deadline := time.Now().Add(20 * time.Second); in.Media().Stats().Malformed < 3; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%+v", in.Media().Stats())
		}
		f.Seq++
		f.Timestamp += 160
		out.Media().Push(f)
	}
	if s := in.Media().Stats(); s.Received != 0 {
		t.Errorf("%+v", s)
	}
	must(t, in.End(t.Context(), bridge.CauseNormal))
}

// A peer that has keys takes no clear call, and says what mends it.
func TestClearCallToAnEndWithKeys(t *testing.T) {
	t.Parallel()
	p := newSealedPair(t, "put-get", "", testKeys)
	_, err := p.client.Dial(t.Context(), p.intent())
	if !errors.Is(err, bridge.CauseMediaSealed) || !strings.Contains(err.Error(), "e2e-keys") {
		t.Errorf("got %v", err)
	}
	if status, _ := bridge.CauseOf(err).SIPStatus(); status != 488 {
		t.Errorf("SIP %d", status)
	}
}

// keptFrames are the sealed frames that a sink got.
type keptFrames struct {
	mu  sync.Mutex
	all []bridge.Frame
}

func (k *keptFrames) Push(f *bridge.Frame) {
	k.mu.Lock()
	defer k.mu.Unlock()
	g := *f
	g.Payload = bytes.Clone(f.Payload)
	if f.Sealed != nil {
		s := *f.Sealed
		g.Sealed = &s
	}
	k.all = append(k.all, g)
}

func (k *keptFrames) last() (bridge.Frame, int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.all) == 0 {
		return bridge.Frame{}, 0
	}
	return k.all[len(k.all)-1], len(k.all)
}

// Between bridges without keys a sealed call is a sealed call: the plan says so
// at both, and frames cross bit by bit with the numbers of the ends. What is
// sealed already is not sealed again by a trunk with keys.
func TestSealedCallsCross(t *testing.T) {
	t.Parallel()
	for name, keys := range map[string]string{"without keys": "", "over a trunk with keys": testKeys} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newSealedPair(t, "auto", keys, "")
			intent := p.intent()
			intent.Media.Sealed = true
			out := mustDial(t, p.client, intent)
			in := p.incoming()
			if info := in.Info(); !info.Media.Sealed {
				t.Errorf("at the server: %+v", info.Media)
			}
			plan := testPlan
			plan.Sealed = true
			must(t, in.Answer(t.Context(), bridge.Answer{Media: plan}))
			if ev := awaitKind(t, out, bridge.Answered); ev.Plan == nil || !ev.Plan.Equal(plan) {
				t.Errorf("answered with plan %v", ev.Plan)
			}
			var heard keptFrames
			in.Media().Join(&heard)
			sent := bridge.Frame{
				Codec: bridge.PCMA, Marker: true, Payload: []byte("auth tag and ciphertext of a package"),
				Sealed: &bridge.Sealed{KeyID: 99, Seq: 1 << 60, Time: 1700000000000, Clock: 1 << 40, Has: 1 << chunk.TagClock},
			}
			for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
				out.Media().Push(&sent)
				if got, n := heard.last(); n > 3 {
					if !bytes.Equal(got.Payload, sent.Payload) || got.Sealed == nil || got.Sealed.KeyID != 99 || !got.Marker ||
						got.Sealed.Seq > sent.Sealed.Seq || got.Sealed.Time > sent.Sealed.Time || got.Sealed.Clock > sent.Sealed.Clock ||
						sent.Sealed.Seq-got.Sealed.Seq != (sent.Sealed.Time-got.Sealed.Time)/20 {
						t.Errorf("sent %+v of %+v, got %+v of %+v", sent, *sent.Sealed, got, got.Sealed)
					}
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("nothing crosses: %+v, %+v", out.Media().Stats(), in.Media().Stats())
				}
				sent.Sealed.Seq++
				sent.Sealed.Time += 20
				sent.Sealed.Clock += 160
			}
			must(t, in.End(t.Context(), bridge.CauseNormal))
		})
	}
}
