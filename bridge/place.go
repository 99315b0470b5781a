package bridge

import "strings"

// Place is the location of a cause in ITU-T Q.850 section 2.2.3, seen from the
// end that is told: which part of the network gave the call up.
type Place string

// The places.
const (
	PlaceUser          Place = "user"
	PlacePrivateLocal  Place = "private-local"
	PlacePublicLocal   Place = "public-local"
	PlaceTransit       Place = "transit"
	PlacePublicRemote  Place = "public-remote"
	PlacePrivateRemote Place = "private-remote"
	PlaceInternational Place = "international"
	PlaceBeyond        Place = "beyond" // beyond an interworking point
)

// placeTable maps places to the parameter `location` of SIP's Reason (RFC 8606
// section 4).
var placeTable = []struct {
	place Place
	sip   string
}{
	{PlaceUser, "U"},
	{PlacePrivateLocal, "LPN"},
	{PlacePublicLocal, "LN"},
	{PlaceTransit, "TN"},
	{PlacePublicRemote, "RLN"},
	{PlacePrivateRemote, "RPN"},
	{PlaceInternational, "INTL"},
	{PlaceBeyond, "BI"},
}

// PlaceFromSIP reads the parameter `location` of a Reason; "" for those that
// Q.850 leaves to national use.
func PlaceFromSIP(s string) Place {
	for _, row := range placeTable {
		if strings.EqualFold(row.sip, s) {
			return row.place
		}
	}
	return ""
}

// SIP is the parameter `location` of a Reason, "" if the place is not known.
func (p Place) SIP() string {
	for _, row := range placeTable {
		if row.place == p {
			return row.sip
		}
	}
	return ""
}

// Known is the place, or "" if it is none of the registry.
func (p Place) Known() Place {
	if p.SIP() == "" {
		return ""
	}
	return p
}
