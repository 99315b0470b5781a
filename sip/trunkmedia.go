package sip

import (
	"fmt"
	"time"
)

// TrunkMedia says how media is exchanged with a trunk's peer.
type TrunkMedia struct {
	SRTP SRTP

	// KeysInClear lets keys of SRTP stand in session descriptions that anybody
	// on the way can read.
	KeysInClear bool

	DTMF DTMF

	// Timeout ends calls whose peer sends neither media nor reports for so long,
	// though it should. 0: never; a silent peer is only asked whether it is there
	// (ProbeAfter).
	Timeout time.Duration
}

// checked is m with its defaults.
func (m TrunkMedia) checked() (TrunkMedia, error) {
	var err error
	if m.SRTP, err = m.SRTP.check(); err != nil {
		return m, fmt.Errorf("media: %w", err)
	}
	if m.DTMF, err = m.DTMF.check(); err != nil {
		return m, fmt.Errorf("media: %w", err)
	}
	return m, nil
}
