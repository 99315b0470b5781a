package cluster

import "slices"

// Nodes seal what they put on record. One with another key than the others is of no
// use to them, nor they to it: none can go on with a call of the other. Beats say
// by which keys their senders seal and open, so that it is found out before.

const (
	maxKeys  = 16
	maxKeyID = 32
)

// alike tells whether two nodes open what the other seals. Of the ids of keys the
// first is of that which seals.
func alike(ours, theirs []string) bool {
	return slices.Contains(ours, theirs[0]) && slices.Contains(theirs, ours[0])
}

// unlike are the nodes whose key is another than ours, as far as they said. outvoted
// is that they are more than those with ours, this one among them: then it is this
// node whose key is wrong.
func (r *roll) unlike(ours []string) (nodes []string, outvoted bool) {
	if len(ours) == 0 {
		return nil, false
	}
	same := 1
	for _, name := range r.nodes {
		p, ok := r.peers[name]
		switch {
		case name == r.self || !ok || len(p.keys) == 0: // of an older release, or not heard
		case alike(ours, p.keys):
			same++
		default:
			nodes = append(nodes, name)
		}
	}
	return nodes, len(nodes) > same
}

// Unlike are the nodes that were heard with another key than this one; outvoted is
// that it is ours that is wrong.
func (m *Members) Unlike() (nodes []string, outvoted bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.roll.unlike(m.cfg.Keys)
}

// keyHint is what mends it.
const keyHint = "key cluster.key: the file has to be the same on every node"

// compareKeys tells in the log when a node turns out to have another key. The caller
// holds mu.
func (m *Members) compareKeys(name string) {
	nodes, outvoted := m.roll.unlike(m.cfg.Keys)
	if other := slices.Contains(nodes, name); other != m.unlike[name] {
		m.unlike[name] = other
		if other {
			m.cfg.Logger.Warn("a node of the cluster has another key: neither can go on with a call of the other ("+keyHint+")",
				"name", name, "keys", m.roll.peer(name).keys, "ours", m.cfg.Keys)
		} else {
			m.cfg.Logger.Info("a node of the cluster has our key now", "name", name)
		}
	}
	if outvoted != m.outvoted {
		m.outvoted = outvoted
		if outvoted {
			m.cfg.Logger.Error("this node is not ready: it has another key than most nodes of the cluster ("+keyHint+")", "others", nodes, "ours", m.cfg.Keys)
		}
	}
}
