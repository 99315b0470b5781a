package media

import (
	"context"
	"sync"
	"testing"
	"time"
)

// TestACallThatMovesIsCarriedWhereItWas until it is carried where it goes: nothing of
// what is said meanwhile is lost, in either direction.
func TestACallThatMovesIsCarriedWhereItWas(t *testing.T) {
	t.Parallel()
	for _, rung := range []Rung{Striped, PutGet} {
		t.Run(rung.String(), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, false)
			from, to, client := s.call("1", nil), s.call("2", nil), NewPort(Config{})
			defer client.Close()
			var atServers, atClient recorder
			from.Join(&atServers)
			to.Join(&atServers)
			client.Join(&atClient)
			pool := s.connect(t)
			dial := func(call string, epoch uint64) *Client {
				c, err := Dial(context.Background(), pool, s.url(call), client, Options{Rungs: []Rung{rung, PutGet}, Epoch: epoch})
				if err != nil {
					t.Fatal(err)
				}
				return c
			}
			was := dial("1", 0)
			eventually(t, rung.String(), func() bool {
				return client.Stats().Carrier == rung.Carrier() && from.Stats().Carrier == rung.Carrier()
			})
			ctx, hush := context.WithCancel(context.Background())
			var speaking sync.WaitGroup
			speaking.Go(func() { speakUntil(ctx, client, from) })
			eventually(t, "speech", func() bool { return atServers.frames() > 10 && atClient.frames() > 10 })

			epoch := was.Stay()
			n, m := atServers.frames(), atClient.frames()
			eventually(t, "speech while it is nowhere else", func() bool { return atServers.frames() > n+10 && atClient.frames() > m+10 })
			now := dial("2", epoch+1)
			defer now.Close()
			was.CloseAfter(context.Background(), now)
			eventually(t, "the other place", func() bool { return to.Stats().Received > 10 })
			hush()
			speaking.Wait()
			eventually(t, "everything that the client said", func() bool {
				came := uint64(0)
				for _, p := range []*Port{from, to} {
					st := p.Stats()
					came += st.Received + st.Late // on a machine that stands still they are
				}
				return came == client.Stats().Sent
			})
			if got := client.Stats().Received; got < 20 {
				t.Errorf("the client heard %d frames", got)
			}
		})
	}
}

// TestAClientThatStaysOpensNothing, also when what it has breaks off.
func TestAClientThatStaysOpensNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, false)
	server, client := s.call("1", nil), NewPort(Config{})
	defer client.Close()
	c, err := Dial(context.Background(), s.connect(t), s.url("1"), client, Options{Rungs: []Rung{Striped}})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "stripes", func() bool { return server.Stats().Carrier == Striped.Carrier() })
	epoch := c.Stay()
	s.cut()
	eventually(t, "nothing", func() bool { return client.carriers.current() == nil })
	time.Sleep(100 * time.Millisecond) // it would go on with requests at once
	if client.carriers.current() != nil || c.Stay() != epoch {
		t.Errorf("it has opened %q, at epoch %d after %d", client.Stats().Carrier, c.Stay(), epoch)
	}
	c.Close()
	if c.Stay() != epoch {
		t.Error("another epoch after its end")
	}
}

func (r *recorder) frames() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.arrived)
}
