package bridge

// State is where a call is in its life.
type State string

// The states, in order. A call never goes back.
const (
	StateNew        State = "new"        // accepted from leg A, not yet dialled
	StateProceeding State = "proceeding" // leg B was asked
	StateAlerting   State = "alerting"   // leg B rings
	StateAnswered   State = "answered"
	StateEnded      State = "ended"
)
