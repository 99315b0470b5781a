package ops

import "github.com/prometheus/client_golang/prometheus"

// TrunkState is how a SIP trunk is at the moment.
type TrunkState struct {
	Name       string
	Up         bool // calls can be placed there
	Registers  bool // we register at its peer
	Registered bool
	Contacts   int // of its users that are registered here
}

// trunkCollector shows the state of SIP trunks. Their names are the
// configuration's.
type trunkCollector struct{ take func() []TrunkState }

var (
	trunkUp         = prometheus.NewDesc("riptide_sip_trunk_up", "Whether calls can be placed to a SIP trunk: 1, or 0 while it is down, out of service or not registered.", []string{"trunk"}, nil)
	trunkRegistered = prometheus.NewDesc("riptide_sip_trunk_registered", "Whether we are registered at a trunk's peer, of trunks that register.", []string{"trunk"}, nil)
	trunkContacts   = prometheus.NewDesc("riptide_sip_trunk_contacts", "Contacts of a trunk's users that are registered here.", []string{"trunk"}, nil)
)

// Describe is of prometheus.Collector.
func (c trunkCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- trunkUp
	ch <- trunkRegistered
	ch <- trunkContacts
}

// Collect is of prometheus.Collector.
func (c trunkCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, trunk string, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, trunk)
	}
	bit := map[bool]float64{true: 1}
	for _, t := range c.take() {
		gauge(trunkUp, t.Name, bit[t.Up])
		if t.Registers {
			gauge(trunkRegistered, t.Name, bit[t.Registered])
		}
		gauge(trunkContacts, t.Name, float64(t.Contacts))
	}
}
