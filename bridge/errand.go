package bridge

import (
	"encoding/binary"
	"errors"
	"slices"
)

// A request of a call may come to a node that cannot have it: one that is on its way
// out, or that the owner does not give the call to just now. The edge that got it
// sends it to the same edge of the owner, which answers the same way. What is in an
// errand is the edges' own affair.

// errand is what an edge sends the same edge of another node, beside the frames of
// relay.go.
//
//	version (1) | length of the sender (1) | sender | length of the leg (2) | leg | data
type errand struct {
	from, leg string
	data      []byte
}

const (
	errandVersion = 2 // relayVersion is 1
	maxErrand     = 96 << 10
)

var errErrand = errors.New("not an errand")

func (e errand) append(b []byte) []byte {
	b = append(b, errandVersion, byte(len(e.from)))
	b = append(b, e.from...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(e.leg)))
	b = append(b, e.leg...)
	return append(b, e.data...)
}

// parseErrand reads one, which keeps parts of b.
func parseErrand(b []byte) (errand, error) {
	if len(b) < 2 || b[0] != errandVersion || len(b) > maxErrand {
		return errand{}, errErrand
	}
	n := int(b[1])
	if b = b[2:]; n == 0 || len(b) < n+2 {
		return errand{}, errErrand
	}
	e := errand{from: string(b[:n])}
	b = b[n:]
	n = int(binary.BigEndian.Uint16(b))
	if b = b[2:]; n == 0 || len(b) < n {
		return errand{}, errErrand
	}
	e.leg, e.data = string(b[:n]), b[n:]
	return e, nil
}

// Forward sends what came for a leg to the node that has its call, or to node, where
// Config.Forwarded gets it. It tells false where there is no such node. What is sent
// may be lost.
func (b *Bridge) Forward(leg, node string, data []byte) bool {
	if b.ledger == nil {
		return false
	}
	if node == "" {
		node = b.ownerOf(leg)
	}
	if node == "" || node == b.cfg.Node || len(b.cfg.Node) > 255 || len(leg) > 1<<16-1 || !slices.Contains(b.cfg.Takers, node) || !b.cfg.Members.Alive(node) {
		return false
	}
	out := errand{b.cfg.Node, leg, data}.append(nil)
	if len(out) > maxErrand {
		return false
	}
	b.cfg.Members.Relay(node, out)
	return true
}

// ownerOf is the node that has the call of a leg, or is given it at this moment;
// "" if none is known.
func (b *Bridge) ownerOf(leg string) string {
	id, err := b.ledger.callOf(leg)
	if err != nil || id == "" {
		return ""
	}
	if rec, _, err := b.ledger.get(id); err == nil && rec.Node != b.cfg.Node {
		return rec.Node
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.gone[id].to
}

// runErrand hands an errand of another node to its edge, once there is one.
func (b *Bridge) runErrand(data []byte) {
	e, err := parseErrand(data)
	if err != nil || b.cfg.Forwarded == nil {
		return // nobody of ours sends it
	}
	select {
	case <-b.isRestored:
		b.cfg.Forwarded(e.leg, e.from, e.data)
	default: // its edge may not be there yet: the peer repeats what it asks
	}
}
