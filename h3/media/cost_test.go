package media

import (
	"context"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"riptide/bridge"
)

// costCalls is how many calls talk at once, each end a packet every 20 ms.
const costCalls = 20

// BenchmarkRungs is what a packet costs on each rung of the ladder, in CPU of the
// sender and the receiver together, over real connections on loopback, and how
// many times that of plain UDP it is, measured in the same run. An operation is
// 20 ms of talk.
func BenchmarkRungs(b *testing.B) {
	plain := 0.0
	for _, way := range []struct {
		name  string
		calls func(*testing.B) *talkers
	}{
		{"udp", plainUDP},
		{Trunk.String(), rungCalls(Trunk)},
		{WebTransport.String(), rungCalls(WebTransport)},
		{Striped.String(), rungCalls(Striped)},
		{PutGet.String(), rungCalls(PutGet)},
	} {
		b.Run(way.name, func(b *testing.B) {
			calls := way.calls(b)
			calls.talk(25) // until numbers are truncated, buffers made, windows open
			said, used := calls.said, cpuTime()
			for b.Loop() {
				calls.talk(1)
			}
			used = cpuTime() - used
			packets := float64(calls.said - said)
			each := used.Seconds() * 1e6 / packets
			if plain == 0 {
				plain = each
			}
			b.ReportMetric(each, "cpu-µs/packet")
			b.ReportMetric(each/plain, "x-udp")
			b.ReportMetric(100*calls.missing()/float64(calls.said), "lost-%")
		})
	}
}

// cpuTime is what the process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// talkers are both ends of calls that talk.
type talkers struct {
	push  []func(n int)
	said  int
	heard atomic.Int64
}

// Push implements bridge.Sink.
func (c *talkers) Push(*bridge.Frame) { c.heard.Add(1) }

// talk lets all of them talk for a number of packets, spread over time as they
// are in calls.
func (c *talkers) talk(packets int) {
	gap := bridge.DefaultPtime / time.Duration(len(c.push))
	for due := time.Now(); packets > 0; packets-- {
		for _, push := range c.push {
			push(c.said / len(c.push))
			c.said++
			due = due.Add(gap)
			time.Sleep(time.Until(due))
		}
	}
}

// missing is how many packets were not heard, when all had the time.
func (c *talkers) missing() float64 {
	for end := time.Now().Add(2 * time.Second); c.heard.Load() < int64(c.said) && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	return float64(int64(c.said) - c.heard.Load())
}

// plainUDP are calls as RTP has them: a socket for each end of each.
func plainUDP(b *testing.B) *talkers {
	c := &talkers{}
	var reading sync.WaitGroup
	b.Cleanup(reading.Wait) // after the sockets are closed
	for range costCalls {
		var ends [2]*net.UDPConn
		for i := range ends {
			socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = socket.Close() })
			ends[i] = socket
		}
		for i, socket := range ends {
			to := ends[1-i].LocalAddr().(*net.UDPAddr).AddrPort()
			packet := make([]byte, 172)
			c.push = append(c.push, func(int) { _, _ = socket.WriteToUDPAddrPort(packet, to) }) // what is not sent is missing
			reading.Go(func() {
				buf := make([]byte, 1500)
				for {
					if _, _, err := socket.ReadFromUDPAddrPort(buf); err != nil {
						return
					}
					c.heard.Add(1)
				}
			})
		}
	}
	return c
}

// rungCalls are calls on a rung, the client's ends and the server's.
func rungCalls(r Rung) func(*testing.B) *talkers {
	return func(b *testing.B) *talkers {
		c, s := &talkers{}, newSite(b, r.datagrams())
		pool, ladder := s.connect(b), &Ladder{}
		sessions := pool.sessions(b)
		var ends []*Port
		for i := range costCalls {
			id := strconv.Itoa(i)
			client, server := NewPort(Config{}), s.call(id, nil)
			b.Cleanup(client.Close)
			carrier, err := Dial(context.Background(), pool.of(id), s.url(id), client, Options{Rungs: Rungs(r.String()), Ladder: ladder, Sessions: sessions})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(carrier.Close)
			ends = append(ends, client, server)
		}
		for i, p := range ends {
			p.Join(c)
			f := *speech(0)
			c.push = append(c.push, func(n int) {
				f.Seq, f.Timestamp = uint64(n+1), uint64(160*n)
				p.Push(&f)
			})
			eventually(b, "call "+strconv.Itoa(i/2)+" on "+r.Carrier(), func() bool { return p.Stats().Carrier == r.Carrier() })
		}
		return c
	}
}
