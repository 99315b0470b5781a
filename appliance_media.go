package main

import (
	"riptide/configs"
	"riptide/sip"
)

// trunkMedia is what a trunk's configuration says of its media.
func trunkMedia(t *configs.SIPTrunk) sip.TrunkMedia {
	return sip.TrunkMedia{SRTP: sip.SRTP(t.SRTP), KeysInClear: t.SRTPKeys == "clear", DTMF: sip.DTMF(t.DTMF), Timeout: t.MediaTimeout}
}
