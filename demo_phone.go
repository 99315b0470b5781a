package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
	"riptide/configs/setup"
	"riptide/h3"
	"riptide/policy/stir"
	"riptide/sip"
	"riptide/sip/rtp"
)

// The tones of the two built-in telephones: apart enough that no harmonic of
// one is the other.
const (
	tonePBX     = 620.0
	toneCarrier = 1040.0
)

// telephone is a built-in SIP peer of the demo, outside of both nodes: it
// answers calls with a tone, and places them.
type telephone struct {
	hz       float64
	addr     string
	agent    *sip.Agent
	answerer *bridgetest.Answerer
	heard    chan bridgetest.Heard
	cancel   context.CancelFunc
	done     chan error
}

// Times of a built-in telephone.
const (
	phoneTalk = 3 * time.Second // of a call that --call places
	phonePlay = 8 * time.Second // of its tone, before it becomes an echo
)

// telephoneFor makes the telephone behind a side, unless a flag named a real
// peer. It listens before the node starts, and trusts the node's certificates.
func (d *demo) telephoneFor(s *demoSide, hz float64) (*telephone, error) {
	if s.SIPPeer != "" {
		return nil, nil
	}
	host := s.phone
	if host == "" {
		host = hostOf(s.SIP)
	}
	var err error
	t := &telephone{hz: hz, heard: make(chan bridgetest.Heard, 16), done: make(chan error, 1)}
	t.answerer = &bridgetest.Answerer{Hz: hz, RingFor: 200 * time.Millisecond, PlayFor: phonePlay, OnEnd: t.report}
	if t.agent, err = t.newAgent(d, s, host); err != nil {
		return nil, fmt.Errorf("telephone behind %s: %w", s.Name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.cancel = cancel
	go func() { t.done <- t.agent.Serve(ctx) }()
	t.addr = t.agent.Addr().String()
	s.SIPPeer = t.addr
	return t, nil
}

// newAgent makes the telephone's SIP side.
func (t *telephone) newAgent(d *demo, s *demoSide, host string) (*sip.Agent, error) {
	verifier, err := d.verifier()
	if err != nil {
		return nil, err
	}
	var trunks []sip.Trunk
	for _, n := range s.takers() {
		trunks = append(trunks, sip.Trunk{Name: n.Node, Peer: n.SIP, AllowUnverified: true})
	}
	return telephoneAgent(host, trunks, t.answerer, verifier)
}

// telephoneAgent is a SIP telephone, or a whole PBX of them, behind one node or
// several.
func telephoneAgent(host string, trunks []sip.Trunk, acceptor bridge.Acceptor, verifier *stir.Verifier) (*sip.Agent, error) {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return nil, err
	}
	pool, err := rtp.NewPool(ip, 0, 0)
	if err != nil {
		return nil, err
	}
	return sip.New(sip.Config{
		Listen:   []string{net.JoinHostPort(host, "0")},
		Media:    pool,
		Trunks:   trunks,
		Acceptor: acceptor,
		Verifier: verifier,
		Logger:   slog.New(slog.DiscardHandler),
	})
}

// verifier believes callers whom either node vouches for.
func (d *demo) verifier() (*stir.Verifier, error) {
	identity, tls := x509.NewCertPool(), x509.NewCertPool()
	for _, s := range []demoSide{d.office, d.telco} {
		for file, pool := range map[string]*x509.CertPool{setup.StirCACert: identity, setup.CACert: tls} {
			b, err := os.ReadFile(filepath.Join(s.Dir, file))
			if err != nil {
				return nil, fmt.Errorf("trust %s: %w", s.Name, err)
			}
			pool.AppendCertsFromPEM(b)
		}
	}
	return newIdentityVerifier(identity, tls, h3.Published{}, []string{hostOf(d.office.RIPT), hostOf(d.telco.RIPT)}), nil
}

// report keeps the account of an answered call for whoever placed it.
func (t *telephone) report(h bridgetest.Heard) {
	select {
	case t.heard <- h:
	default: // nobody placed it through us, and the last sixteen are enough
	}
}

// call dials through the node that the telephone stands behind.
func (t *telephone) call(ctx context.Context, trunk string, from, to string) (bridgetest.Heard, error) {
	caller := bridgetest.Caller{Dialer: t.agent, Hz: t.hz, TalkFor: phoneTalk}
	return caller.Call(ctx, t.intent(trunk, "demo", from, to))
}

// intent is what it dials.
func (t *telephone) intent(trunk, call, from, to string) bridge.Intent {
	return bridge.Intent{
		Call: call, Trunk: trunk, From: number(from), To: number(to), Hops: bridge.DefaultHops,
		Media: bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMU, bridge.PCMA}, Digits: true, ComfortNoise: true},
	}
}

func (t *telephone) stop() {
	t.answerer.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = t.agent.Shutdown(ctx) // a call that does not end in time ends with us
	t.cancel()
	if err := <-t.done; err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(os.Stderr, "riptide: built-in telephone on %s: %v\n", t.addr, err)
	}
}
