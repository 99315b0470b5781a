package conform

import (
	"slices"
	"strings"
)

// Side is who has to keep a requirement, as far as it can be seen on the wire.
type Side uint8

// The sides. Inside is what only an implementation's own tests can show.
const (
	Inside Side = 0
	Server Side = 1 << 0
	Client Side = 1 << 1
	Both        = Server | Client
)

func (s Side) String() string {
	switch s {
	case Server:
		return "server"
	case Client:
		return "client"
	case Both:
		return "both"
	}
	return "inside"
}

// Level is how binding a requirement is.
type Level string

// Ours marks what our profile of the protocol adds to the drafts.
const (
	Must   Level = "MUST"
	Should Level = "SHOULD"
	Ours   Level = "OURS"
)

// Requirement is one row of the checklist.
type Requirement struct {
	ID      string // "1" … "120", "A1" … "A63", "A39a"
	Section string
	Text    string
	Side    Side
	Level   Level
}

// Requirements is the whole checklist, in order.
func Requirements() []Requirement {
	return slices.Concat(coreResources, coreCalls, openPoints, openPointsMedia)
}

// Lookup finds a requirement by its number; the case of letters does not matter.
func Lookup(id string) (Requirement, bool) {
	for _, r := range Requirements() {
		if strings.EqualFold(r.ID, id) {
			return r, true
		}
	}
	return Requirement{}, false
}
