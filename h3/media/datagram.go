package media

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"
)

// Protocol is the WebTransport sub-protocol of this profile.
const Protocol = "ript-1"

const (
	// maxDatagram is what we put into a datagram before the connection tells
	// its own limit. Audio is far below it, and is never fragmented.
	maxDatagram = 1200

	// maxUniStreams is how many streams of one chunk each the peer may have open
	// on a session: two keyframes, and for them to cross an ocean.
	maxUniStreams = 256

	// streamTimeout is for a chunk on a stream of its own.
	streamTimeout = time.Second

	// maxPacket is what no datagram is larger than, whatever the path.
	maxPacket = 1500
)

// WebTransportConfig is what both ends of a connection must use: without flow
// control the library allows one session per connection.
func WebTransportConfig() *webtransport.Config {
	return &webtransport.Config{MaxIncomingStreams: 1, MaxIncomingUniStreams: maxUniStreams, MaxIncomingData: 1 << 20}
}

// NewWebTransportServer puts WebTransport on an HTTP/3 server.
func NewWebTransportServer(h *http3.Server) *webtransport.Server {
	return &webtransport.Server{H3: h, Config: WebTransportConfig(), ApplicationProtocols: []string{Protocol}}
}

// NewWebTransportClient makes WebTransport connections of QUIC connections.
func NewWebTransportClient() *webtransport.Transport {
	return &webtransport.Transport{Config: WebTransportConfig(), ApplicationProtocols: []string{Protocol}}
}

// QUICConfig adds to a QUIC configuration what WebTransport wants of both ends.
func QUICConfig(c quic.Config) *quic.Config {
	c.EnableDatagrams = true
	c.EnableStreamResetPartialDelivery = true
	return &c
}

// session is the part of a WebTransport session that carries media.
type session interface {
	SendDatagram([]byte) error
	ReceiveDatagram(context.Context) ([]byte, error)
}

// streams is the rest of it, for chunks that fit no datagram.
type streams interface {
	OpenUniStream() (*webtransport.SendStream, error)
	AcceptUniStream(context.Context) (*webtransport.ReceiveStream, error)
}

// datagrams carries chunks as the datagrams of a session.
type datagrams struct {
	p     *Port
	s     session
	epoch uint64
	large oversize
}

var datagramTraits = traits{rung: WebTransport, limit: maxDatagram}

func (d *datagrams) about() traits { return datagramTraits }
func (d *datagrams) ready() bool   { return true }

// send blocks while 32 datagrams wait for the connection's congestion window.
// A chunk that is too large for the path travels alone on a stream.
func (d *datagrams) send(m message) {
	err := d.s.SendDatagram(m.body)
	if tooLarge(err) {
		d.large.send(d.s, nil, m.body, func(err error) { d.p.settle(m, err) })
		return
	}
	d.p.settle(m, err)
}

func tooLarge(err error) bool {
	if err == nil {
		return false
	}
	var large *quic.DatagramTooLargeError
	return errors.As(err, &large)
}

// begin makes a session a carrier of the call; carry must follow.
func (p *Port) begin(s session, epoch uint64, peer string) *datagrams {
	d := &datagrams{p: p, s: s, epoch: epoch}
	p.attach(d, epoch, peer)
	return d
}

// carry reads the session until that, or the call, is over. It is the only
// reader of its datagrams and does nothing else: the queue of the library
// holds 32, and silently drops what does not fit.
func (p *Port) carry(d *datagrams) error {
	var reading sync.WaitGroup
	defer reading.Wait()
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	defer d.large.close()
	defer p.detach(d)
	if s, ok := d.s.(streams); ok {
		reading.Go(func() { p.carryStreams(ctx, s, d.epoch) })
	}
	for {
		b, err := d.s.ReceiveDatagram(ctx)
		if p.ctx.Err() != nil {
			return errClosed
		}
		if err != nil {
			return err
		}
		p.receive(b, WebTransport, d.epoch)
	}
}

// carryStreams reads the chunks that fit no datagram.
func (p *Port) carryStreams(ctx context.Context, s streams, epoch uint64) {
	eachStream(ctx, s, func(str *webtransport.ReceiveStream) {
		b, err := readStream(str)
		if err != nil {
			b = nil // counts as malformed
		}
		p.receive(b, WebTransport, epoch)
	})
}

// notSupported tells a peer that has no WebTransport from one that did not
// answer in time.
func notSupported(err error) bool {
	var missing *webtransport.RequirementsNotMetError
	return errors.As(err, &missing)
}
