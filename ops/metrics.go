package ops

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"riptide/bridge"
)

// SIPCounts is a snapshot of the SIP side, counted since the process began.
type SIPCounts struct {
	Strangers  uint64 // packets and connections from addresses of no trunk, dropped
	Malformed  uint64 // not SIP, or too broken to be answered
	Stray      uint64 // responses and ACKs that belong to nothing
	Full       uint64 // messages for calls with too many waiting
	Refused    uint64 // connections over the limit
	Handshakes uint64 // connections whose TLS or WebSocket came to nothing
	Limited    uint64 // messages and connections over the rate of their source
	Unsent     uint64 // messages the network did not take
	Unproven   uint64 // requests with a wrong name or password
}

// RIPTCounts is a snapshot of the RIPT side, counted since the process began.
type RIPTCounts struct {
	Refused  map[bridge.Code]uint64 // requests refused: tokens, identities, calls
	Replayed uint64                 // retries of POST calls answered with the first outcome
	Events   uint64                 // events read that this release does not know
	Byways   uint64                 // event streams cut because the client sent rubbish, or did not read

	Strangers uint64 // connections without a token closed to make room for others

	Reopened map[string]uint64 // event streams opened anew after a loss, by trunk
	Sessions map[string]uint64 // trunk sessions that we have open now, by trunk
	Seated   map[string]uint64 // calls on them
}

// register fills the registry. It is our own: nothing that a library puts into
// the process-wide one is shown.
func (s *Server) register() error {
	parts := []prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		buildInfo(s.cfg.Version),
	}
	parts = append(parts, s.calls.collectors()...)
	parts = append(parts, s.store.collectors()...)
	if s.room != nil {
		parts = append(parts, s.room.collector())
	}
	if s.cfg.Tracer != nil {
		parts = append(parts, s.cfg.Tracer.collectors()...)
	}
	src := s.cfg.Sources
	if src.ActiveCalls != nil {
		parts = append(parts, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "riptide_calls_active", Help: "Calls that are not over.",
		}, func() float64 { return float64(src.ActiveCalls()) }))
	}
	if src.SIP != nil {
		parts = append(parts, sipCollector(src.SIP))
	}
	if src.SIPTrunks != nil {
		parts = append(parts, trunkCollector{src.SIPTrunks})
	}
	if src.RIPT != nil {
		parts = append(parts, riptCollector(src.RIPT))
	}
	for _, c := range parts {
		if err := s.registry.Register(c); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	return nil
}

func buildInfo(version string) prometheus.Collector {
	revision := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				revision = setting.Value
			}
		}
	}
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "riptide_build_info", Help: "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": version, "revision": revision, "goversion": runtime.Version()},
	})
	g.Set(1)
	return g
}

// sample is one value of a snapshot.
type sample struct {
	label string
	value uint64
}

// snapshotCollector asks for one snapshot per scrape, so that the families
// made from it agree with each other.
type snapshotCollector[T any] struct {
	take     func() T
	families []snapshotFamily[T]
}

type snapshotFamily[T any] struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(T) []sample
}

func familyOf[T any](name, help string, labels []string, read func(T) []sample) snapshotFamily[T] {
	return snapshotFamily[T]{prometheus.NewDesc(name, help, labels, nil), prometheus.CounterValue, read}
}

// gauges is a family of what goes up and down, one for each value of a label.
func gauges[T any](name, help, label string, read func(T) map[string]uint64) snapshotFamily[T] {
	return snapshotFamily[T]{prometheus.NewDesc(name, help, []string{label}, nil), prometheus.GaugeValue, func(t T) []sample { return samplesOf(read(t)) }}
}

func samplesOf[K ~string](m map[K]uint64) []sample {
	samples := make([]sample, 0, len(m))
	for label, n := range m {
		samples = append(samples, sample{string(label), n})
	}
	return samples
}

// Describe is of prometheus.Collector.
func (c snapshotCollector[T]) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range c.families {
		ch <- f.desc
	}
}

// Collect is of prometheus.Collector.
func (c snapshotCollector[T]) Collect(ch chan<- prometheus.Metric) {
	snapshot := c.take()
	for _, f := range c.families {
		for _, s := range f.read(snapshot) {
			var labels []string
			if s.label != "" {
				labels = []string{s.label}
			}
			ch <- prometheus.MustNewConstMetric(f.desc, f.kind, float64(s.value), labels...)
		}
	}
}

func sipCollector(take func() SIPCounts) prometheus.Collector {
	return snapshotCollector[SIPCounts]{take, []snapshotFamily[SIPCounts]{
		familyOf("riptide_sip_dropped_total", "SIP messages not taken up, by reason.", []string{"reason"},
			func(c SIPCounts) []sample {
				return []sample{{"stranger", c.Strangers}, {"malformed", c.Malformed}, {"stray", c.Stray}, {"full", c.Full}, {"connection", c.Refused}, {"handshake", c.Handshakes}, {"rate", c.Limited}, {"login", c.Unproven}}
			}),
		familyOf("riptide_sip_unsent_total", "SIP messages that the network did not take.", nil,
			func(c SIPCounts) []sample { return []sample{{"", c.Unsent}} }),
	}}
}

func riptCollector(take func() RIPTCounts) prometheus.Collector {
	return snapshotCollector[RIPTCounts]{take, []snapshotFamily[RIPTCounts]{
		familyOf("riptide_ript_refused_total", "Requests that the RIPT server refused, by cause.", []string{"cause"},
			func(c RIPTCounts) []sample { return samplesOf(c.Refused) }),
		familyOf("riptide_ript_replayed_total", "Retries of calls that were answered with the outcome of the first.", nil,
			func(c RIPTCounts) []sample { return []sample{{"", c.Replayed}} }),
		familyOf("riptide_ript_unknown_events_total", "Events of types that this release does not know; they are ignored.", nil,
			func(c RIPTCounts) []sample { return []sample{{"", c.Events}} }),
		familyOf("riptide_ript_byways_cut_total", "Event streams cut because the client sent rubbish, or did not read.", nil,
			func(c RIPTCounts) []sample { return []sample{{"", c.Byways}} }),
		familyOf("riptide_ript_strangers_cut_total", "Connections that showed no token, closed to make room for others.", nil,
			func(c RIPTCounts) []sample { return []sample{{"", c.Strangers}} }),
		familyOf("riptide_ript_byways_reopened_total", "Event streams of calls that we placed, opened anew after a loss, by trunk.", []string{"trunk"},
			func(c RIPTCounts) []sample { return samplesOf(c.Reopened) }),
		gauges("riptide_ript_trunk_sessions", "Trunk sessions that we have open, which calls share, by trunk.", "trunk",
			func(c RIPTCounts) map[string]uint64 { return c.Sessions }),
		gauges("riptide_ript_trunk_session_calls", "Calls whose media ride on them, by trunk.", "trunk",
			func(c RIPTCounts) map[string]uint64 { return c.Seated }),
	}}
}
