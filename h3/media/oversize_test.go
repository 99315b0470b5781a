package media

import (
	"bytes"
	"context"
	"testing"

	"github.com/quic-go/webtransport-go"

	"riptide/bridge"
)

// A picture's packets that are larger than a datagram go by streams of their
// own, beside those that are not, over a real connection.
func TestLargePicturesCross(t *testing.T) {
	t.Parallel()
	s := newSite(t, true)
	server, client := s.host("1", NewPort(both(true))), NewPort(both(false))
	defer client.Close()
	c, err := Dial(context.Background(), s.connect(t), s.url("1"), client, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var heard listener
	server.Join(&heard)
	eventually(t, "webtransport", func() bool { return client.Stats().Carrier == "webtransport" })
	var sent []*bridge.Frame
	for n := range 40 {
		f := picture(n, 0, 1)
		if n%2 == 0 {
			f.Payload = append(f.Payload, make([]byte, MaxPayload-len(f.Payload))...)
		}
		sent = append(sent, f)
		client.Push(f)
		client.Push(speech(n))
		eventually(t, "the picture", func() bool { return server.Stats().Received >= uint64(2*n+2) })
	}
	settled(t, "client to server", client, server, 80)
	n := 0
	for _, f := range heard.heard() {
		if f.Codec != bridge.H264 {
			continue
		}
		if want := sent[f.Seq-1]; !bytes.Equal(f.Payload, want.Payload) || f.Timestamp != want.Timestamp || f.Marker != want.Marker {
			t.Fatalf("%+v, want %+v", f, want)
		}
		n++
	}
	if n != 40 {
		t.Errorf("%d pictures", n)
	}
}

// A keyframe of packets none of which fits a datagram crosses whole, and speech
// is not held up by it.
func TestALargeKeyframeCrosses(t *testing.T) {
	t.Parallel()
	s := newSite(t, true)
	server, client := s.host("1", NewPort(both(true))), NewPort(both(false))
	defer client.Close()
	c, err := Dial(context.Background(), s.connect(t), s.url("1"), client, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	eventually(t, "webtransport", func() bool { return client.Stats().Carrier == "webtransport" })
	const parts = 100
	for part := range parts {
		f := picture(0, part, parts)
		f.Payload = append(f.Payload, make([]byte, MaxPayload-len(f.Payload))...)
		client.Push(f)
	}
	client.Push(speech(0))
	eventually(t, "the picture", func() bool { return server.Stats().Received == parts+1 })
	settled(t, "client to server", client, server, parts+1)
}

func TestOversizeIsBounded(t *testing.T) {
	var o oversize
	told := 0
	done := func(err error) {
		if told++; err == nil {
			t.Error("sent without streams")
		}
	}
	o.send(&blocked{}, nil, []byte("chunk"), done) // a session without streams
	o.n = maxOversize
	o.send(stuck{}, nil, []byte("chunk"), done)
	o.n = 0
	o.send(stuck{}, nil, []byte("chunk"), done) // no stream can be opened
	o.close()
	o.send(stuck{}, nil, []byte("chunk"), done)
	if told != 4 || o.n != 0 {
		t.Errorf("told %d times, %d on their way", told, o.n)
	}
}

// stuck is a session whose peer allows no streams.
type stuck struct{}

func (stuck) OpenUniStream() (*webtransport.SendStream, error) { return nil, errClosed }
func (stuck) AcceptUniStream(ctx context.Context) (*webtransport.ReceiveStream, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
func (stuck) SendDatagram([]byte) error                           { return nil }
func (stuck) ReceiveDatagram(ctx context.Context) ([]byte, error) { return nil, ctx.Err() }
