package bridge

// Running is a call that is not over, as others need to know it.
type Running struct {
	ID   string // as in the log
	Legs []LegInfo
}

// Running are all calls. It may be called from anywhere.
func (b *Bridge) Running() []Running {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]Running, 0, len(b.calls))
	for id, c := range b.calls {
		r := Running{ID: id}
		for _, leg := range c.owned {
			if b.owners[leg] == c { // not another call's by now
				r.Legs = append(r.Legs, leg.Info())
			}
		}
		out = append(out, r)
	}
	return out
}
