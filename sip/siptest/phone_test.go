package siptest

import (
	"context"
	"strings"
	"testing"
	"time"
)

// Two Phones call each other without anything between them: with video, with
// video that one of them cannot, and with video that goes and comes back.
func TestPhones(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, caller, callee string
		video                bool
	}{{"both", "H264", "H264", true}, {"callee has none", "H264", "", false}, {"caller has none", "", "VP8", false}, {"different", "H264", "VP8", false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			caller, callee := (&Phone{Video: c.caller}).Start(t), (&Phone{Video: c.callee}).Start(t)
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			must(caller.Call(ctx, callee.Addr(), "callee"))
			must(callee.Talks(ctx))
			a, b := caller.Peer(), callee.Peer()
			if a.Audio.Port != portOf(callee.Audio) || b.Audio.Port != portOf(caller.Audio) {
				t.Errorf("audio: %+v %+v", a, b)
			}
			if (a.Video != nil) != c.video || (b.Video != nil) != c.video {
				t.Fatalf("video: %+v %+v", a, b)
			}
			if c.video {
				if a.Video.Port != portOf(callee.VideoRTP) || b.VideoRTCP.Port != portOf(caller.VideoRTCP) || a.Payload != phoneNumber {
					t.Errorf("video: %+v %+v", a, b)
				}
				must(caller.Offer(ctx, false))
				if a, b := caller.Peer(), callee.Peer(); a.Video != nil || b.Video != nil || !strings.Contains(a.SDP, "m=video 0 ") {
					t.Errorf("still video: %+v %+v", a, b)
				}
				must(caller.Offer(ctx, true))
				if caller.Peer().Video == nil {
					t.Error("video did not come back")
				}
			}
			must(callee.HangUp(ctx))
			must(caller.Over(ctx))
		})
	}
}

func TestPhoneIsRefused(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	p := (&Phone{}).Start(t)
	if err := p.Call(ctx, p.VideoRTCP.LocalAddr().String(), "nobody"); err == nil {
		t.Error("nobody answered")
	}
}
