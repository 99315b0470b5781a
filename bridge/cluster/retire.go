package cluster

// A node that is to go is no place for calls: one that gives its own away leaves
// it out, so that two which go at once do not give each other theirs. It votes
// like any other, and its calls are its own until it gives them.

// Retire tells the others, from now on, that this node is to go.
func (m *Members) Retire() {
	m.mu.Lock()
	told := m.retiring
	m.retiring = true
	m.mu.Unlock()
	if !told {
		m.sendBeat() // they should not hear of it too late by a beat
	}
}
