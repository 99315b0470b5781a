package sip

import "fmt"

// TrunkMedia says how media is exchanged with a trunk's peer.
type TrunkMedia struct {
	SRTP SRTP

	// KeysInClear lets keys of SRTP stand in session descriptions that anybody
	// on the way can read.
	KeysInClear bool

	DTMF DTMF
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
