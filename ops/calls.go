package ops

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"riptide/bridge"
)

// maxCauses bounds the values of the label "cause". The table of causes is
// shorter; should a code ever come from elsewhere, it is counted as "other".
const maxCauses = 128

// callMetrics counts calls and their media. Media is added when a call ends,
// from the same figures that its log line and its record show, so that all of
// them agree.
type callMetrics struct {
	ended, refused *prometheus.CounterVec
	identity       *prometheus.CounterVec
	setUp          *prometheus.HistogramVec
	phases         *prometheus.HistogramVec
	talk           prometheus.Counter

	received, lost, sent, peerLost, dropped *prometheus.CounterVec
	frames                                  *prometheus.CounterVec

	mu     sync.Mutex
	causes map[bridge.Code]bool
}

func newCallMetrics() *callMetrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "riptide_" + name, Help: help}, labels)
	}
	return &callMetrics{
		causes:   map[bridge.Code]bool{},
		ended:    counter("calls_total", "Calls that are over, by protocol of either side and cause.", "from", "to", "cause"),
		refused:  counter("calls_refused_total", "Calls refused before they existed, by protocol and cause.", "from", "cause"),
		identity: counter("identity_verdicts_total", "Callers' identities as they came in, by protocol and verdict.", "from", "status"),
		setUp: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "riptide_call_setup_seconds", Help: "Time from the request to the answer.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 40, 80, 180},
		}, []string{"from", "to"}),
		phases: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "riptide_takeover_seconds", Help: "How long running calls took to come back after their node, or the way to it, was gone, by phase.",
			Buckets: []float64{.005, .01, .025, .05, .1, .2, .3, .5, .75, 1, 1.5, 2, 3, 5, 10},
		}, []string{"phase"}),
		talk: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "riptide_call_talk_seconds_total", Help: "Time from the answer to the end, of all calls.",
		}),
		received: counter("media_received_packets_total", "Media packets from peers, handed on; counted when the call ends.", "protocol"),
		lost:     counter("media_lost_packets_total", "Media packets lost on the way to us.", "protocol"),
		sent:     counter("media_sent_packets_total", "Media packets sent to peers.", "protocol"),
		peerLost: counter("media_peer_lost_packets_total", "Media packets lost on the way to peers, as they report.", "protocol"),
		dropped:  counter("media_dropped_packets_total", "Media packets nobody heard, by reason; those unheard were received all the same.", "protocol", "reason"),
		frames:   counter("media_frames_total", "Frames between the two sides of calls, by what was done with them.", "done"),
	}
}

func (m *callMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.ended, m.refused, m.identity, m.setUp, m.phases, m.talk,
		m.received, m.lost, m.sent, m.peerLost, m.dropped, m.frames}
}

// Took measures a phase of the taking over of a call. It is the bridge's OnPhase,
// and the RIPT client's.
func (s *Server) Took(p bridge.Phase, took time.Duration) {
	s.calls.phases.WithLabelValues(string(p)).Observe(max(0, took.Seconds()))
}

// Ended counts a call that is over. It is the bridge's OnEnd.
func (s *Server) Ended(c bridge.Summary) {
	m := s.calls
	to := protocol(c.ProtoB)
	m.ended.WithLabelValues(protocol(c.ProtoA), to, m.cause(c.Cause.Code)).Inc()
	if !c.Answered.IsZero() {
		m.setUp.WithLabelValues(protocol(c.ProtoA), to).Observe(c.SetUp().Seconds())
		m.talk.Add(max(0, c.Talk().Seconds()))
	}
	m.media(protocol(c.ProtoA), c.A)
	if to != none {
		m.media(to, c.B)
	}
	m.frames.WithLabelValues("passed").Add(float64(c.Passed))
	m.frames.WithLabelValues("dropped").Add(float64(c.Dropped))
	m.frames.WithLabelValues("converted").Add(float64(c.Converted))
	m.frames.WithLabelValues("noise").Add(float64(c.Noise))
}

func (m *callMetrics) media(protocol string, s bridge.MediaStats) {
	m.received.WithLabelValues(protocol).Add(float64(s.Received))
	m.lost.WithLabelValues(protocol).Add(float64(s.Lost))
	m.sent.WithLabelValues(protocol).Add(float64(s.Sent))
	m.peerLost.WithLabelValues(protocol).Add(float64(s.PeerLost))
	for _, d := range []struct {
		reason string
		count  uint64
	}{
		{"duplicate", s.Duplicate}, {"foreign", s.Foreign}, {"malformed", s.Malformed},
		{"unknown-payload", s.UnknownPayload}, {"undecrypted", s.Undecrypted}, {"late", s.Late}, {"unheard", s.Unheard}, {"not-sent", s.SendDropped},
	} {
		m.dropped.WithLabelValues(protocol, d.reason).Add(float64(d.count))
	}
}

// none stands for the protocol of a side that a call never had.
const none = "none"

func protocol(name string) string {
	switch name {
	case "sip", "ript":
		return name
	case "":
		return none
	}
	return "other"
}

func (m *callMetrics) cause(code bridge.Code) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.causes[code] && len(m.causes) >= maxCauses {
		return "other"
	}
	m.causes[code] = true
	return string(code)
}

// Refused returns what counts the calls that an edge refuses by itself, before
// it asks its acceptor.
func (s *Server) Refused(from string) func(bridge.Cause) {
	return func(c bridge.Cause) { s.calls.refused.WithLabelValues(protocol(from), s.calls.cause(c.Code)).Inc() }
}

// Count stands before an acceptor and counts the calls it refuses, and what
// became of the callers' identities of all.
func (s *Server) Count(next bridge.Acceptor) bridge.Acceptor { return counting{s.calls, next} }

type counting struct {
	calls *callMetrics
	next  bridge.Acceptor
}

// Accept is of bridge.Acceptor.
func (c counting) Accept(ctx context.Context, leg bridge.Leg) error {
	info := leg.Info()
	status := string(info.Identity.Verdict.Status)
	if status == "" {
		status = "not-verified"
	}
	c.calls.identity.WithLabelValues(protocol(info.Protocol), status).Inc()
	err := c.next.Accept(ctx, leg)
	if err != nil {
		c.calls.refused.WithLabelValues(protocol(info.Protocol), c.calls.cause(bridge.CauseOf(err).Code)).Inc()
	}
	return err
}
