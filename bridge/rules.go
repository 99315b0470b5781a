package bridge

import "riptide/policy"

// Rules are what of a bridge may change while calls run. A call that has begun
// keeps its trunks; whether it may be transferred is asked when it is.
type Rules struct {
	Policy   *policy.Policy
	MaxCalls int // 0: as many as before
	Trunks   map[string]Trunk
}

// Change puts others in their place, all at once.
func (b *Bridge) Change(r Rules) {
	if r.MaxCalls == 0 {
		r.MaxCalls = b.rules.Load().MaxCalls
	}
	b.rules.Store(&r)
}

// Use names the trunks, by their names in the policy.
func (b *Bridge) Use(trunks map[string]Trunk) {
	r := *b.rules.Load()
	r.Trunks = trunks
	b.rules.Store(&r)
}
