package sip

import "fmt"

// TrunkMedia says how media is exchanged with a trunk's peer.
type TrunkMedia struct {
	SRTP SRTP

	// KeysInClear lets keys of SRTP stand in session descriptions that anybody
	// on the way can read.
	KeysInClear bool
}

// checked is m with its defaults.
func (m TrunkMedia) checked(over transport) (TrunkMedia, error) {
	var err error
	if m.SRTP, err = m.SRTP.check(); err != nil {
		return m, fmt.Errorf("media: %w", err)
	}
	if m.SRTP == SRTPRequired && !m.KeysInClear && !over.secure() {
		return m, fmt.Errorf("srtp is required, but its keys would go over %s, where they are not allowed to (use transport tls, or srtp-keys clear)", over)
	}
	return m, nil
}
