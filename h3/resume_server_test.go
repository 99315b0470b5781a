package h3

import (
	"sync/atomic"
	"testing"
	"time"

	"riptide/bridge"
)

// A server is killed and started again on the same address: the call goes on
// under its URI, on whatever carrier, and everything that a call can do it can
// still do.
func TestServerKilledAndStartedAgain(t *testing.T) {
	t.Parallel()
	for rung, name := range map[string]string{
		"auto": "trunk-session", "webtransport": "webtransport", "striped": "striped", "put-get": "put/get",
	} {
		t.Run(rung, func(t *testing.T) {
			t.Parallel()
			m := newMortal(t, rung)
			out, in := m.answered(name)
			var atOut, atIn meter
			var serving atomic.Value
			serving.Store(in.Media())
			in.Media().Join(&atIn)
			out.Media().Join(&atOut)
			stopOut := talk(out.Media)
			stopIn := talk(func() bridge.MediaPort { return serving.Load().(bridge.MediaPort) })
			time.Sleep(500 * time.Millisecond)
			atOut.begin()
			atIn.begin()

			r := again(in, bridge.StateAnswered)
			m.crash()
			time.Sleep(100 * time.Millisecond) // a process takes that to start
			var again bridge.Leg
			m.restart(func(s *Server) {
				var err error
				again, err = s.Resume(t.Context(), r)
				must(t, err)
				again.Media().Join(&atIn)
				serving.Store(again.Media())
			})
			time.Sleep(2 * time.Second)
			stopOut()
			stopIn()
			t.Logf("%s: silence of %v at the client, %v at the server", name, atOut.gap(), atIn.gap())
			m.goesOn(again, out, in, name)
		})
	}
}
