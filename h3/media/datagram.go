package media

import (
	"context"
	"errors"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"
)

// Protocol is the WebTransport sub-protocol of this profile.
const Protocol = "ript-1"

// maxDatagram is what we put into a datagram before the connection tells its
// own limit. Audio is far below it, and is never fragmented.
const maxDatagram = 1200

// WebTransportConfig is what both ends of a connection must use: without flow
// control the library allows one session per connection.
func WebTransportConfig() *webtransport.Config {
	return &webtransport.Config{MaxIncomingStreams: 1, MaxIncomingUniStreams: 16, MaxIncomingData: 1 << 20}
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

// datagrams carries chunks as the datagrams of a session.
type datagrams struct {
	p *Port
	s session
}

var datagramTraits = traits{name: "webtransport", rank: rankDatagrams, limit: maxDatagram}

func (d *datagrams) about() traits { return datagramTraits }
func (d *datagrams) ready() bool   { return true }

// send blocks while 32 datagrams wait for the connection's congestion window.
// One that turns out to be too large for the path is dropped.
func (d *datagrams) send(m message) {
	d.p.settle(m, d.s.SendDatagram(m.body))
}

// begin makes a session a carrier of the call; carry must follow.
func (p *Port) begin(s session, epoch uint64, peer string) *datagrams {
	d := &datagrams{p, s}
	p.attach(d, epoch, peer)
	return d
}

// carry reads the session until that, or the call, is over. It is its only
// reader and does nothing else: the queue of the library holds 32 datagrams,
// and silently drops what does not fit.
func (p *Port) carry(d *datagrams) error {
	defer p.detach(d)
	for {
		b, err := d.s.ReceiveDatagram(p.ctx)
		if p.ctx.Err() != nil {
			return errClosed
		}
		if err != nil {
			return err
		}
		p.receive(b)
	}
}

// notSupported tells a peer that has no WebTransport from one that did not
// answer in time.
func notSupported(err error) bool {
	var missing *webtransport.RequirementsNotMetError
	return errors.As(err, &missing)
}
