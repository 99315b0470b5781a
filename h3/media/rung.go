package media

import (
	"fmt"
	"slices"
)

// Rung is a kind of carrier. They make a ladder: of two the greater one is the
// better.
type Rung uint8

// The rungs of the ladder.
const (
	PutGet       Rung = iota // a request per chunk, as the core draft has it
	Striped                  // a few streams of chunks that never end
	WebTransport             // datagrams of a session of the call's own
	Trunk                    // datagrams of a session that calls share
)

// rungs by their names in documents and configurations, and as carriers.
var rungs = [...]struct{ name, carrier string }{
	PutGet:       {"put-get", "put/get"},
	Striped:      {"striped", "striped"},
	WebTransport: {"webtransport", "webtransport"},
	Trunk:        {"trunk", "trunk-session"},
}

// String is the rung's name in documents and configurations.
func (r Rung) String() string {
	if int(r) >= len(rungs) {
		return fmt.Sprintf("rung %d", uint8(r))
	}
	return rungs[r].name
}

// Carrier is the rung's name in counters and records.
func (r Rung) Carrier() string { return rungs[r].carrier }

// ordered tells whether chunks overtake each other on their way for want of
// order among requests or streams, not because the network mixed them up.
func (r Rung) ordered() bool { return !r.datagrams() }

func (r Rung) datagrams() bool { return r == WebTransport || r == Trunk }

// Auto as a configured medium leaves the choice to the ladder.
const Auto = "auto"

// RungNames are the names of all rungs, the best first, as documents list them.
func RungNames() []string {
	var names []string
	for r := len(rungs) - 1; r >= 0; r-- {
		names = append(names, rungs[r].name)
	}
	return names
}

// RungOf is the rung of a name.
func RungOf(name string) (Rung, bool) {
	for r := range rungs {
		if rungs[r].name == name {
			return Rung(r), true
		}
	}
	return 0, false
}

// Rungs are those that a call may use, the best first: what the operator wants
// ("" and Auto: all), as far as each of the lists allows it. An empty list
// allows everything, a name that is not known nothing. The last is always
// PutGet, which everybody can.
func Rungs(want string, lists ...[]string) []Rung {
	var out []Rung
	for r := Rung(len(rungs) - 1); r > PutGet; r-- {
		listed := want == "" || want == Auto || want == r.String()
		for _, l := range lists {
			listed = listed && (len(l) == 0 || slices.Contains(l, r.String()))
		}
		if listed {
			out = append(out, r)
		}
	}
	return append(out, PutGet)
}
