package bridge

import "testing"

// The values of RFC 8606 section 4, and those it leaves to national use.
func TestPlaces(t *testing.T) {
	for sip, want := range map[string]Place{
		"U": PlaceUser, "LPN": PlacePrivateLocal, "LN": PlacePublicLocal, "TN": PlaceTransit,
		"RLN": PlacePublicRemote, "RPN": PlacePrivateRemote, "INTL": PlaceInternational, "BI": PlaceBeyond,
	} {
		if got := PlaceFromSIP(sip); got != want || got.SIP() != sip || got.Known() != want {
			t.Errorf("%s: %q, back %q", sip, got, got.SIP())
		}
	}
	if PlaceFromSIP("intl") != PlaceInternational {
		t.Error("RFC 3261 section 7.3.1: parameter values that are tokens are case-insensitive")
	}
	for _, sip := range []string{"", "LOC-6", "X"} {
		if got := PlaceFromSIP(sip); got != "" {
			t.Errorf("%q became %q", sip, got)
		}
	}
	if Place("mars").Known() != "" {
		t.Error("a place that is none")
	}
}
