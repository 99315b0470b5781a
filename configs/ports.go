package configs

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// takenPort is a port that this box opens.
type takenPort struct {
	key, says string
	protocol  string // "udp" or "tcp"
	addr      netip.AddrPort
}

// checkPorts finds two listeners that would want the same port: only one of them
// would get it, and serve would not start.
func (d *decoder) checkPorts(c *Config) {
	var taken []takenPort
	add := func(key, says string, addr netip.AddrPort, protocols ...string) {
		for _, protocol := range protocols {
			taken = append(taken, takenPort{key, says, protocol, addr})
		}
	}
	for i, l := range c.SIP.Listen {
		add(fmt.Sprintf("sip.listen[%d]", i), l.String(), l.Addr, l.protocols()...)
	}
	for _, t := range c.Trunks {
		if t.SIP != nil {
			add("trunks."+t.Name+".sip.listen", t.SIP.Listen.String(), t.SIP.Listen.Addr, t.SIP.Listen.protocols()...)
		}
	}
	add("ript.listen", c.RIPT.Listen.String(), c.RIPT.Listen, "udp", "tcp")
	add("admin", c.Admin.String(), c.Admin, "tcp")
	if c.Cluster != nil {
		add("cluster.listen", c.Cluster.Listen.String(), c.Cluster.Listen, "tcp")
	}
	var told []string
	for i, t := range taken {
		j := slices.IndexFunc(taken[:i], t.clashes)
		if j < 0 || slices.Contains(told, t.key) {
			continue
		}
		told = append(told, t.key)
		d.problem(t.key, fmt.Sprintf("%s is the %s port of %s already", t.addr, strings.ToUpper(t.protocol), taken[j].key), "give each a port of its own")
	}
}

// clashes tells that two listeners cannot both have what they want. Trunks may
// share a listener of SIP, in the same words.
func (t takenPort) clashes(other takenPort) bool {
	a, b := t.addr, other.addr
	if !a.IsValid() || !b.IsValid() || a.Port() == 0 || a.Port() != b.Port() || t.protocol != other.protocol {
		return false
	}
	if strings.Contains(t.key, "sip.listen") && strings.Contains(other.key, "sip.listen") {
		return a == b && t.says != other.says
	}
	return a.Addr() == b.Addr() || a.Addr().Is4() == b.Addr().Is4() && (a.Addr().IsUnspecified() || b.Addr().IsUnspecified())
}

// protocols are what a listener is below SIP.
func (l Listen) protocols() []string {
	switch l.Transport {
	case "":
		return []string{"udp", "tcp"}
	case "udp":
		return []string{"udp"}
	}
	return []string{"tcp"}
}
