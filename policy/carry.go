package policy

import (
	"slices"
	"strings"
)

// owned are the SIP header fields that belong to transactions, dialogs, security
// and bodies, which are the bridge's own on either side, and those that it reads.
var owned = strings.Fields(`
	accept accept-contact accept-encoding accept-language alert-info allow allow-events authentication-info authorization
	call-id call-info contact content-disposition content-encoding content-id content-language content-length content-type cseq
	date diversion error-info event expires feature-caps flow-timer from geolocation geolocation-error geolocation-routing
	history-info identity identity-info in-reply-to info-package join max-forwards mime-version min-expires min-se
	p-asserted-identity p-charging-vector p-preferred-identity path permission-missing privacy proxy-authenticate
	proxy-authorization proxy-require rack reason record-route recv-info refer-sub refer-to referred-by reject-contact replaces
	request-disposition require resource-priority retry-after route rseq security-client security-server security-verify
	server service-route session-expires session-id sip-etag sip-if-match subscription-state supported target-dialog timestamp
	to trigger-consent unsupported user-agent via warning www-authenticate`)

// CanCarry tells whether a SIP header field may be listed to be carried across
// the bridge as it came. Those that routing, dialogs and identity own may not.
func CanCarry(name string) bool {
	if name == "" || strings.ContainsFunc(name, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune("-.!%*_+`'~", c)
	}) {
		return false
	}
	return len(name) > 1 && !slices.Contains(owned, strings.ToLower(name)) // one letter is the short form of an owned one
}
