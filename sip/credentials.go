package sip

import (
	"fmt"
	"sync"

	sipgo "github.com/emiago/sipgo/sip"
)

// Login is how a trunk says who we are when its peer asks.
type Login struct {
	User     string
	Password Password
	Realm    string // answer for this realm only; "" = for whichever the peer names
}

// Header fields of a challenge by its answer's (RFC 3261 sections 22.2, 22.3).
const (
	wwwAuthenticate    = "WWW-Authenticate"
	proxyAuthenticate  = "Proxy-Authenticate"
	authorization      = "Authorization"
	proxyAuthorization = "Proxy-Authorization"
)

// maxRealms bounds the challenges that are remembered of one trunk, and how
// often one request is challenged before we stop answering.
const maxRealms = 8

// wallet is a trunk's login and the challenges it knows the answer to. A
// request takes what is in it from the start, so that only the first of a
// trunk's calls is asked back.
type wallet struct {
	login Login

	mu     sync.Mutex
	grants []*grant // oldest first
}

// grant is a challenge that is answered again with every request.
type grant struct {
	where realmOf
	challenge
	count uint32
}

// realmOf is who asked: a proxy or the peer itself, and for which realm.
type realmOf struct {
	proxy bool
	realm string
}

func newWallet(l *Login) *wallet {
	if l == nil {
		return nil
	}
	return &wallet{login: *l}
}

// tries is what one request was challenged with so far, so that a wrong
// password does not make a loop.
type tries struct {
	seen map[realmOf]string // nonce answered last
	n    int
}

// learn takes the challenges of a 401 or 407, and says whether it is worth
// sending the request again: each realm is answered once, and once more for
// each new nonce after one that was stale.
func (w *wallet) learn(res *sipgo.Response, t *tries) bool {
	if w == nil || res.StatusCode != 401 && res.StatusCode != 407 {
		return false
	}
	if t.n++; t.n > maxRealms {
		return false
	}
	again := false
	for _, name := range []string{wwwAuthenticate, proxyAuthenticate} {
		for where, c := range choose(headerValues(res, name), name == proxyAuthenticate) {
			if w.login.Realm != "" && where.realm != w.login.Realm {
				continue
			}
			last, answered := t.seen[where]
			if answered && (!c.stale || last == c.nonce) {
				return false
			}
			if t.seen == nil {
				t.seen = map[realmOf]string{}
			}
			t.seen[where] = c.nonce
			w.keep(&grant{where: where, challenge: c})
			again = true
		}
	}
	return again
}

// choose picks one challenge for each realm: the first that we can answer,
// since they come best first (RFC 8760 section 2.4).
func choose(values []string, proxy bool) map[realmOf]challenge {
	best := map[realmOf]challenge{}
	for i, v := range values {
		c, err := parseChallenge(v)
		where := realmOf{proxy, c.realm}
		if _, have := best[where]; err != nil || have || i >= maxRealms {
			continue
		}
		best[where] = c
	}
	return best
}

// keep remembers a challenge in the place of what was known of its realm.
func (w *wallet) keep(g *grant) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, old := range w.grants {
		if old.where == g.where {
			w.grants[i] = g
			return
		}
	}
	if len(w.grants) >= maxRealms {
		w.grants = w.grants[1:]
	}
	w.grants = append(w.grants, g)
}

// authorize writes answers to all challenges that are known into a request, in
// the place of those it has.
func (w *wallet) authorize(req *sipgo.Request) {
	if w == nil {
		return
	}
	for req.RemoveHeader(authorization) || req.RemoveHeader(proxyAuthorization) {
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, g := range w.grants {
		g.count++
		name := authorization
		if g.where.proxy {
			name = proxyAuthorization
		}
		req.AppendHeader(sipgo.NewHeader(name, g.answer(w.login.User, w.login.Password, string(req.Method), req.Recipient.String(), newToken(), g.count)))
	}
}

// complaint says why a challenge was the end of it, and what would mend it.
func (w *wallet) complaint(trunk string) string {
	if w == nil {
		return fmt.Sprintf(": it wants a login (trunks.%s.sip.login)", trunk)
	}
	return fmt.Sprintf(": it does not take the login as %q (trunks.%s.sip.login)", w.login.User, trunk)
}

// again makes the request that follows a challenge (RFC 3261 section 22.2): the
// same with the next number and without the Via, which is another's.
func again(req *sipgo.Request, seq uint32) *sipgo.Request {
	next := req.Clone()
	next.RemoveHeader("Via")
	next.CSeq().SeqNo = seq
	return next
}

// copyCredentials gives an ACK what its INVITE had (RFC 3261 section 22.1).
func copyCredentials(ack, invite *sipgo.Request) {
	for _, name := range []string{authorization, proxyAuthorization} {
		for _, h := range invite.GetHeaders(name) {
			ack.AppendHeader(sipgo.HeaderClone(h))
		}
	}
}

// request sends a request within the leg's dialog d, with what the peer wants
// to know of who we are, and answers its challenges. The other arguments are
// those of the mailbox.
func (l *Leg) request(d *dialog, req *sipgo.Request, f flow, onResponse func(*sipgo.Response), onFailure func(error)) error {
	return l.challenged(d, req, f, &tries{}, onResponse, onFailure)
}

func (l *Leg) challenged(d *dialog, req *sipgo.Request, f flow, t *tries, onResponse func(*sipgo.Response), onFailure func(error)) error {
	w := l.trunk.wallet
	w.authorize(req)
	if req.IsInvite() {
		l.invited = req
	}
	_, err := l.box.request(req, f, func(res *sipgo.Response) {
		if w.learn(res, t) {
			d.localSeq++
			if l.challenged(d, again(req, d.localSeq), f, t, onResponse, onFailure) == nil {
				return
			}
		}
		if res.IsSuccess() {
			l.met()
		}
		if onResponse != nil {
			onResponse(res)
		}
	}, onFailure)
	return err
}
