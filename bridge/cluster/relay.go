package cluster

import "encoding/hex"

// subjectRelay is what one node hears alone: what comes for calls that others
// gave it.
func subjectRelay(node string) string {
	return "riptide.cluster.relay." + hex.EncodeToString([]byte(node))
}

// Seal keeps what crosses the bus beside the votes from those who carry it. The
// zero Seal does nothing.
type Seal struct {
	Seal func(value []byte) ([]byte, error)
	Open func(value []byte) ([]byte, error)
}

// Relay sends another node what came here for a call of its. It may be lost.
func (m *Members) Relay(to string, data []byte) {
	if m.cfg.Seal.Seal != nil {
		var err error
		if data, err = m.cfg.Seal.Seal(data); err != nil {
			m.cfg.Logger.Debug("cluster message not sealed", "error", err)
			return
		}
	}
	if err := m.cfg.Bus.Publish(subjectRelay(to), data); err != nil {
		m.cfg.Logger.Debug("cluster message not sent", "to", to, "error", err)
	}
}

func (m *Members) onRelay(data []byte) {
	if m.cfg.Seal.Open != nil {
		var err error
		if data, err = m.cfg.Seal.Open(data); err != nil {
			return // not of a node of ours, or of another key
		}
	}
	m.mu.Lock()
	partner := m.partner
	m.mu.Unlock()
	if partner != nil {
		partner.Relayed(data)
	}
}
