package bridge

import "testing"

// sinkPort is a port that counts what it is sent.
type sinkPort struct {
	noMedia
	got int
}

func (s *sinkPort) Push(*Frame) { s.got++ }

// TestAPausedNodeSendsNothingOfWhatWaited: frames that are read when the lease is over
// go nowhere; others may have the call.
func TestAPausedNodeSendsNothingOfWhatWaited(t *testing.T) {
	held := true
	dst := &sinkPort{}
	p := newPump(dst)
	p.fresh = func() bool { return held }
	p.use(MediaPlan{Speech: PCMA})
	f := &Frame{Codec: PCMA, Payload: make([]byte, 160)}
	p.Push(f)
	held = false
	p.Push(f)
	p.Push(&Frame{Request: RequestKeyframe})
	if dst.got != 1 || p.dropped.Load() != 2 {
		t.Errorf("%d were sent, %d dropped", dst.got, p.dropped.Load())
	}
	held = true
	p.Push(f)
	if dst.got != 2 {
		t.Error("the lease came back, and media did not")
	}
	if n := testing.AllocsPerRun(100, func() { p.Push(f) }); n > 0 {
		t.Errorf("%v allocations for a frame", n)
	}
}
