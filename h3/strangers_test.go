package h3

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"riptide/h3/media"
)

// TestFloodOfStrangers: connections that show no token make room for new ones,
// oldest first, and a client whose token was seen is not one of them.
func TestFloodOfStrangers(t *testing.T) {
	t.Parallel()
	const limit = 8
	r := newRig(t, func(c *ServerConfig) { c.Limits.Strangers = limit })
	token := r.token(testTG)
	d, _ := r.place(r.h3, token)
	over3 := r.listen(r.h3, d.URI, token)
	over2 := r.listen(r.h2, d.URI, token)
	addr := r.server.Addr().String()
	conf := &tls.Config{RootCAs: r.roots, ServerName: testAuthority}
	var tcp []net.Conn
	var udp []*quic.Conn
	for range limit {
		c, err := net.Dial("tcp", addr) // says nothing at all
		must(t, err)
		defer c.Close()
		conf2, conf3 := conf.Clone(), conf.Clone()
		conf2.NextProtos, conf3.NextProtos = []string{"h2"}, []string{"h3"}
		c2, err := tls.Dial("tcp", addr, conf2)
		must(t, err)
		defer c2.Close()
		q, err := quic.DialAddr(t.Context(), addr, conf3, media.QUICConfig(quic.Config{}))
		must(t, err)
		defer func() { _ = q.CloseWithError(0, "") }()
		tcp, udp = append(tcp, c), append(udp, q)
	}
	<-udp[0].Context().Done()
	if _, err := tcp[0].Read(make([]byte, 1)); err == nil {
		t.Error("the oldest connection was spoken to")
	}
	if udp[limit-1].Context().Err() != nil {
		t.Error("the newest connection was closed")
	}
	strangers := r.server.strangers
	strangers.mu.Lock()
	here := strangers.order.Len()
	strangers.mu.Unlock()
	if here > limit {
		t.Errorf("%d strangers are here", here)
	}
	if n := r.server.State().CutStrangers; n < 2*limit {
		t.Errorf("%d were cut", n)
	}
	for _, c := range []*http.Client{r.h2, r.h3} {
		resp, body := r.do(c, exchange{method: "PUT", url: d.URI + "/events", token: token, body: []Event{{Type: eventPing, Nonce: "x"}}})
		if resp.StatusCode != http.StatusNoContent {
			t.Errorf("ping: %d %s", resp.StatusCode, body)
		}
	}
	for _, s := range []*stream{over2, over3} {
		s.next(eventProceeding)
		s.next(eventPong)
	}
}

// TestStrangersWhoBeginAndNeverFinish: streams without end cost us more than
// they cost who opens them, so there are few of them without a token.
func TestStrangersWhoBeginAndNeverFinish(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.token(testTG)
	d, _ := r.place(r.h3, token)
	over := r.listen(r.h3, d.URI, token)
	conf := &tls.Config{RootCAs: r.roots, ServerName: testAuthority, NextProtos: []string{"h3"}}
	q, err := quic.DialAddr(t.Context(), r.server.Addr().String(), conf, media.QUICConfig(quic.Config{}))
	must(t, err)
	opened := 0
	for ; q.Context().Err() == nil; opened++ {
		s, err := q.OpenStreamSync(q.Context())
		if err != nil {
			break
		}
		_, _ = s.Write([]byte{1}) // a HEADERS frame, and nothing of it
	}
	select {
	case <-q.Context().Done():
	case <-time.After(10 * time.Second):
		t.Fatalf("%d streams are open, and nobody minds", opened)
	}
	if opened > 10_000 {
		t.Errorf("%d streams were opened", opened)
	}
	if err := context.Cause(q.Context()); !strings.Contains(err.Error(), "0x107") && !strings.Contains(err.Error(), "H3_EXCESSIVE_LOAD") {
		t.Errorf("closed with %v", err)
	}
	over.next(eventProceeding)
	resp, body := r.do(r.h3, exchange{method: "PUT", url: d.URI + "/events", token: token, body: []Event{{Type: eventPing, Nonce: strings.Repeat("x", 1000)}}})
	if resp.StatusCode != http.StatusNoContent {
		t.Errorf("ping: %d %s", resp.StatusCode, body)
	}
	over.next(eventPong)
}
