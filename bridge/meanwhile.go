package bridge

// whyOver is the cause with which a call ends whose legs could not be continued. A
// party that hung up while nobody served the call has ended it; whatever else keeps a
// leg away is a loss.
func whyOver(failed error) Cause {
	if c, ok := find(failed, CauseNormal.Code); ok {
		return c
	}
	return CauseSignallingLost.With("%v", failed).EndedBy(ByBridge)
}

// find is the first cause of a kind in a tree of errors.
func find(err error, code Code) (Cause, bool) {
	if c, ok := err.(Cause); ok {
		return c, c.Code == code
	}
	var within []error
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		within = []error{e.Unwrap()}
	case interface{ Unwrap() []error }:
		within = e.Unwrap()
	}
	for _, err := range within {
		if c, ok := find(err, code); ok {
			return c, true
		}
	}
	return Cause{}, false
}
