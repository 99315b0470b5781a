package sip

import (
	"slices"
	"strconv"
	"strings"

	sipgo "github.com/emiago/sipgo/sip"
)

// maxRedirects bounds how often one call is sent elsewhere.
const maxRedirects = 3

// redirected follows a 3xx, as far as the trunk allows: to servers of the trunk
// itself, and for the number that was called. A call to another number would be
// one that no route was asked about.
func (l *Leg) redirected(res *sipgo.Response) bool {
	t := l.trunk
	if !t.FollowRedirects || l.state != inviting || l.out.redirects >= maxRedirects {
		return false
	}
	var targets []target
	for _, u := range contactsByQ(res) {
		if n, err := t.Numbers.numberOf(&u); err != nil || n != l.info.To || u.Scheme != "sip" {
			continue
		}
		over := l.out.to.over
		if word, ok := u.UriParams.Get("transport"); ok {
			var err error
			if over, err = parseTransport(strings.ToLower(word)); err != nil {
				continue
			}
		}
		host := strings.Trim(u.Host, "[]")
		to, isAddr := hostPort(host, u.Port, over)
		_, own := t.owns(to)
		switch {
		case isAddr && own:
		case strings.EqualFold(host, t.host) && (u.Port == 0 || u.Port == int(l.out.to.addr.Port())):
			to = l.out.to.addr
		default:
			continue
		}
		u.Headers = nil
		targets = append(targets, target{addr: to, over: over, uri: &u})
	}
	if len(targets) == 0 {
		return false
	}
	l.out.redirects++
	l.out.rest = append(targets[:min(len(targets), maxServices)], l.out.rest...)
	return l.next()
}

// contactsByQ are the addresses of a 3xx, the wanted ones first.
func contactsByQ(res *sipgo.Response) []sipgo.Uri {
	type wanted struct {
		uri sipgo.Uri
		q   float64
	}
	var all []wanted
	for _, h := range res.GetHeaders("Contact") {
		c, ok := h.(*sipgo.ContactHeader)
		if !ok || c.Address.Wildcard || len(all) >= maxServices {
			continue
		}
		q := 1.0
		if v, ok := c.Params.Get("q"); ok {
			q, _ = strconv.ParseFloat(v, 64)
		}
		all = append(all, wanted{*c.Address.Clone(), q})
	}
	slices.SortStableFunc(all, func(a, b wanted) int {
		switch {
		case a.q > b.q:
			return -1
		case a.q < b.q:
			return 1
		}
		return 0
	})
	out := make([]sipgo.Uri, 0, len(all))
	for _, w := range all {
		out = append(out, w.uri)
	}
	return out
}
