package sip

import (
	"strings"

	sipgo "github.com/emiago/sipgo/sip"
)

// dialog is the peer-to-peer relationship of RFC 3261 section 12, as seen from
// our side. It holds no socket and no timer.
type dialog struct {
	callID    string
	localTag  string
	remoteTag string
	local     sipgo.Uri // From of our requests
	remote    sipgo.Uri // To of our requests
	localSeq  uint32
	remoteSeq uint32      // 0 = the peer has sent no request yet
	target    sipgo.Uri   // the peer's Contact
	routes    []sipgo.Uri // route set, next hop first
	rseq      uint32      // of the peer's last reliable provisional response (RFC 3262)
	answer    []byte      // what one of them answered our offer with
	secure    bool        // the peer called us by sips
}

func (d *dialog) matches(localTag, remoteTag string) bool {
	return d != nil && d.localTag == localTag && d.remoteTag == remoteTag
}

// dialogOfRequest is the dialog that an INVITE from a peer makes (RFC 3261
// section 12.1.1).
func dialogOfRequest(req *sipgo.Request, localTag string) *dialog {
	d := &dialog{
		callID:    req.CallID().Value(),
		localTag:  localTag,
		local:     *req.To().Address.Clone(),
		remote:    *req.From().Address.Clone(),
		remoteSeq: req.CSeq().SeqNo,
		routes:    recordRoutes(req),
		target:    *req.From().Address.Clone(),
		secure:    secureRequest(req),
	}
	d.remoteTag, _ = req.From().Params.Get("tag")
	if c := req.Contact(); c != nil {
		d.target = *c.Address.Clone()
	}
	return d
}

// secureRequest tells whether an INVITE wants our Contact to be a sips URI (RFC
// 3261 section 12.1.1).
func secureRequest(req *sipgo.Request) bool {
	if rr := recordRoutes(req); len(rr) > 0 {
		return req.Recipient.Scheme == "sips" || rr[0].Scheme == "sips"
	}
	c := req.Contact()
	return req.Recipient.Scheme == "sips" || c != nil && c.Address.Scheme == "sips"
}

// dialogOfResponse is the dialog that a response to our INVITE makes (section
// 12.1.2). Forks make several; they differ in the To tag.
func dialogOfResponse(invite *sipgo.Request, res *sipgo.Response) *dialog {
	d := &dialog{
		callID:   invite.CallID().Value(),
		local:    *invite.From().Address.Clone(),
		remote:   *invite.To().Address.Clone(),
		localSeq: invite.CSeq().SeqNo,
		target:   *invite.Recipient.Clone(),
	}
	d.localTag, _ = invite.From().Params.Get("tag")
	d.adopt(res)
	return d
}

// adopt takes over what a later response of the same dialog says: the final
// one recomputes the route set (section 13.2.2.4).
func (d *dialog) adopt(res *sipgo.Response) {
	if to := res.To(); to != nil {
		d.remoteTag, _ = to.Params.Get("tag")
	}
	d.routes = recordRoutes(res)
	for i, j := 0, len(d.routes)-1; i < j; i, j = i+1, j-1 {
		d.routes[i], d.routes[j] = d.routes[j], d.routes[i]
	}
	d.refresh(res)
}

// refresh takes a new remote target (section 12.2.1.2).
func (d *dialog) refresh(msg sipgo.Message) {
	type contacted interface{ Contact() *sipgo.ContactHeader }
	if m, ok := msg.(contacted); ok {
		if c := m.Contact(); c != nil && !c.Address.Wildcard && c.Address.Host != "" {
			d.target = *c.Address.Clone()
		}
	}
}

// maxRoutes bounds the route set; a call that crossed more proxies is broken.
const maxRoutes = 30

func recordRoutes(msg sipgo.Message) []sipgo.Uri {
	var out []sipgo.Uri
	for _, h := range msg.GetHeaders("Record-Route") {
		if rr, ok := h.(*sipgo.RecordRouteHeader); ok && len(out) < maxRoutes {
			out = append(out, *rr.Address.Clone())
		}
	}
	return out
}

// request makes a request in the dialog, with the next number (section
// 12.2.1.1). An ACK takes the number of the INVITE it is for: use ack.
func (d *dialog) request(method sipgo.RequestMethod) *sipgo.Request {
	d.localSeq++
	return d.build(method, d.localSeq)
}

// ack acknowledges the 2xx to our INVITE with this number.
func (d *dialog) ack(seq uint32) *sipgo.Request { return d.build(sipgo.ACK, seq) }

func (d *dialog) build(method sipgo.RequestMethod, seq uint32) *sipgo.Request {
	recipient, routes := d.target, d.routes
	if len(routes) > 0 && !routes[0].UriParams.Has("lr") {
		// The next hop is a strict router: it expects to be the Request-URI.
		recipient = routes[0]
		routes = append(append([]sipgo.Uri{}, routes[1:]...), d.target)
	}
	recipient.Headers = nil // not allowed in a Request-URI (section 19.1.1)
	req := sipgo.NewRequest(method, recipient)
	for _, r := range routes {
		req.AppendHeader(&sipgo.RouteHeader{Address: *r.Clone()})
	}
	from := &sipgo.FromHeader{Address: *d.local.Clone()}
	from.Params.Add("tag", d.localTag)
	to := &sipgo.ToHeader{Address: *d.remote.Clone()}
	if d.remoteTag != "" {
		to.Params.Add("tag", d.remoteTag)
	}
	callID := sipgo.CallIDHeader(d.callID)
	forwards := sipgo.MaxForwardsHeader(70)
	req.AppendHeader(&forwards)
	req.AppendHeader(from)
	req.AppendHeader(to)
	req.AppendHeader(&callID)
	req.AppendHeader(&sipgo.CSeqHeader{SeqNo: seq, MethodName: method})
	return req
}

// nextHop is where the dialog's requests go: host, port (0 = default) and
// transport ("" = as before).
func (d *dialog) nextHop() (host string, port int, transport string) {
	u := &d.target
	if len(d.routes) > 0 {
		u = &d.routes[0]
	}
	transport, _ = u.UriParams.Get("transport")
	return strings.Trim(u.Host, "[]"), u.Port, strings.ToLower(transport)
}

// sips tells that the dialog's requests must not travel in clear: where they go
// next, or in the end, says so (RFC 3261 section 8.1.2, RFC 5630 section 3.1).
func (d *dialog) sips() bool {
	return d.target.Scheme == "sips" || len(d.routes) > 0 && d.routes[0].Scheme == "sips"
}

// inOrder tells whether a request of the peer comes after those before it
// (section 12.2.2), and remembers it.
func (d *dialog) inOrder(seq uint32) bool {
	if d.remoteSeq != 0 && seq <= d.remoteSeq {
		return false
	}
	d.remoteSeq = seq
	return true
}
