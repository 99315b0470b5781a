package h3

import (
	"crypto/tls"
	"testing"
)

// TestTicketsAreGivenOnce: two connections that are begun side by side never share
// a session.
func TestTicketsAreGivenOnce(t *testing.T) {
	t.Parallel()
	kept := newTickets(2)
	one, two := &tls.ClientSessionState{}, &tls.ClientSessionState{}
	kept.Put("a", one)
	kept.Put("b", two)
	if got, ok := kept.Get("a"); !ok || got != one {
		t.Errorf("a: %p, %v", got, ok)
	}
	if got, ok := kept.Get("a"); ok {
		t.Errorf("a again: %p", got)
	}
	if got, ok := kept.Get("b"); !ok || got != two {
		t.Errorf("b: %p, %v", got, ok)
	}
	kept.Put("a", two)
	if got, ok := kept.Get("a"); !ok || got != two {
		t.Errorf("a, kept anew: %p, %v", got, ok)
	}
}
