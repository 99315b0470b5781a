package sdp

// Direction says who sends media, as seen by the side that wrote it. The zero
// value is the default of SDP.
type Direction uint8

// The directions. Bit 0 set = does not receive, bit 1 set = does not send, so
// that two restrictions combine by OR.
const (
	SendRecv Direction = 0
	SendOnly Direction = noReceive
	RecvOnly Direction = noSend
	Inactive Direction = noReceive | noSend

	noReceive = 1
	noSend    = 2
)

var directionNames = [...]string{SendRecv: "sendrecv", SendOnly: "sendonly", RecvOnly: "recvonly", Inactive: "inactive"}

func (d Direction) String() string { return directionNames[d&Inactive] }

// Sends tells whether the side that wrote d sends media.
func (d Direction) Sends() bool { return d&noSend == 0 }

// Receives tells whether the side that wrote d wants to receive media.
func (d Direction) Receives() bool { return d&noReceive == 0 }

// Reverse is d as seen by the other side: what the answer to it may say at most
// (RFC 3264 section 6.1).
func (d Direction) Reverse() Direction { return (d&noReceive)<<1 | (d&noSend)>>1 }

// And is what remains when both restrictions hold.
func (d Direction) And(other Direction) Direction { return (d | other) & Inactive }

func directionNamed(name string) (Direction, bool) {
	for d, n := range directionNames {
		if n == name {
			return Direction(d), true
		}
	}
	return SendRecv, false
}
