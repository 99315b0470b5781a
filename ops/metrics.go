package ops

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// SIPCounts is a snapshot of the SIP side, counted since the process began.
type SIPCounts struct {
	Requests  uint64 // requests from trunks that were taken up
	Strangers uint64 // packets and requests from addresses of no trunk, dropped
	Malformed uint64 // messages refused or dropped because they are none
}

// RIPTCounts is a snapshot of the RIPT side, counted since the process began.
type RIPTCounts struct {
	Responses [6]uint64 // what our server answered, by class: Responses[2] counts 2xx
	Events    uint64    // events read that this release does not know
	Chunks    uint64    // media chunks that were malformed or of no call
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
	src := s.cfg.Sources
	if src.ActiveCalls != nil {
		parts = append(parts, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "riptide_calls_active", Help: "Calls that are not over.",
		}, func() float64 { return float64(src.ActiveCalls()) }))
	}
	if src.SIP != nil {
		parts = append(parts, sipCollector(src.SIP))
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
	read func(T) []sample
}

func familyOf[T any](name, help string, labels []string, read func(T) []sample) snapshotFamily[T] {
	return snapshotFamily[T]{prometheus.NewDesc(name, help, labels, nil), read}
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
			ch <- prometheus.MustNewConstMetric(f.desc, prometheus.CounterValue, float64(s.value), labels...)
		}
	}
}

func sipCollector(take func() SIPCounts) prometheus.Collector {
	return snapshotCollector[SIPCounts]{take, []snapshotFamily[SIPCounts]{
		familyOf("riptide_sip_requests_total", "SIP requests from trunks.", nil,
			func(c SIPCounts) []sample { return []sample{{"", c.Requests}} }),
		familyOf("riptide_sip_dropped_total", "SIP messages not taken up, by reason.", []string{"reason"},
			func(c SIPCounts) []sample {
				return []sample{{"stranger", c.Strangers}, {"malformed", c.Malformed}}
			}),
	}}
}

func riptCollector(take func() RIPTCounts) prometheus.Collector {
	return snapshotCollector[RIPTCounts]{take, []snapshotFamily[RIPTCounts]{
		familyOf("riptide_ript_responses_total", "Responses of the RIPT server, by class of status.", []string{"class"},
			func(c RIPTCounts) []sample {
				samples := make([]sample, 0, 5)
				for class := 1; class <= 5; class++ {
					samples = append(samples, sample{fmt.Sprintf("%dxx", class), c.Responses[class]})
				}
				return samples
			}),
		familyOf("riptide_ript_ignored_total", "What RIPT peers sent and was not understood, by kind.", []string{"kind"},
			func(c RIPTCounts) []sample {
				return []sample{{"event", c.Events}, {"chunk", c.Chunks}}
			}),
	}}
}
