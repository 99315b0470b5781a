package sip

import "strings"

// The invalid messages of RFC 4475 section 3.1.2, and those of 3.2 and 3.3 that
// a transaction or an application has to judge.

func torturedOptions(uri, callID string, head ...string) string {
	return message4475("", append([]string{
		"OPTIONS " + uri, "Via: SIP/2.0/UDP HERE;branch=z9hG4bKkdjuw", "Max-Forwards: 70", "Call-ID: " + callID + "@torture", "CSeq: 3923239 OPTIONS",
	}, append(head, "l: 0")...)...)
}

func torturedInvite(uri, callID string, head ...string) string {
	return message4475(tortureSDP, append([]string{
		"INVITE " + uri, "Via: SIP/2.0/UDP HERE;branch=z9hG4bKkdjuw", "Max-Forwards: 70", "Call-ID: " + callID + "@torture", "CSeq: 8 INVITE",
		"Contact: <sip:caller@host5.example.net>", "Content-Type: application/sdp",
	}, head...)...)
}

func torturedRegister(callID string, head ...string) string {
	return message4475("", append([]string{
		"REGISTER sip:example.com SIP/2.0", "Via: SIP/2.0/UDP HERE;branch=z9hG4bKkdjuw", "Max-Forwards: 70", "Call-ID: " + callID + "@torture", "CSeq: 2 REGISTER",
	}, append(head, "l: 0")...)...)
}

const (
	fromCaller = "From: sip:caller@example.net;tag=93942939o2"
	toUser     = "To: sip:j.user@example.com"
	userURI    = "sip:user@example.com SIP/2.0"
	withLength = "Content-Length: LENGTH"
)

var invalidMessages = []tortured{
	{name: "badinv01", section: "3.1.2.1", want: 400, why: "separators with nothing between them in Via and Contact",
		text: strings.Replace(torturedInvite(userURI, "badinv01", toUser, fromCaller, `Contact: "Joe" <sip:joe@example.org>;;;;`, withLength), ";branch=z9hG4bKkdjuw", ";;,;,,", 1)},
	{name: "clerr", section: "3.1.2.2", want: 400, tcp: silent, why: "Content-Length beyond the datagram's end; on a stream the rest may come yet",
		text: torturedInvite(userURI, "clerr", toUser, fromCaller, "Content-Length: 9999")},
	{name: "ncl", section: "3.1.2.3", want: 400, closes: true, why: "negative Content-Length; a stream cannot be followed behind it",
		text: torturedInvite(userURI, "ncl", toUser, fromCaller, "Content-Length: -999")},
	{name: "scalar02", section: "3.1.2.4", want: 400, why: "CSeq beyond 31 bits",
		text: message4475("", "REGISTER sip:example.com SIP/2.0", "Via: SIP/2.0/TCP HERE;branch=z9hG4bK342sdfoi3", "To: <sip:user@example.com>",
			"From: <sip:user@example.com>;tag=239232jh3", "CSeq: 36893488147419103232 REGISTER", "Call-ID: scalar02@torture", "Max-Forwards: 300",
			"Expires: 1"+strings.Repeat("0", 100), "Contact: <sip:user@host129.example.com>", "  ;expires=280297596632815", "Content-Length: 0")},
	{name: "scalarlg", section: "3.1.2.5", want: 0, why: "a response with numbers beyond measure is discarded",
		text: message4475("", "SIP/2.0 503 Service Unavailable", "Via: SIP/2.0/TCP HERE;branch=z9hG4bKzzxdiwo34sw;received=192.0.2.129", "To: <sip:user@example.com>",
			"From: <sip:other@example.net>;tag=2easdjfejw", "CSeq: 9292394834772304023312 OPTIONS", "Call-ID: scalarlg@torture",
			"Retry-After: 949302838503028349304023988", `Warning: 1812 overture "In Progress"`, "Content-Length: 0")},
	{name: "quotbal", section: "3.1.2.6", want: 400, why: "a quoted display name that never ends",
		text: torturedInvite(userURI, "quotbal", `To: "Mr. J. User <sip:j.user@example.com>`, fromCaller, withLength)},
	{name: "ltgtruri", section: "3.1.2.7", want: 400, why: "angle brackets around the Request-URI",
		text: torturedInvite("<sip:user@example.com> SIP/2.0", "ltgtruri", toUser, fromCaller, withLength)},
	{name: "lwsruri", section: "3.1.2.8", want: 400, why: "white space within the Request-URI",
		text: torturedInvite("sip:user@example.com; lr SIP/2.0", "lwsruri", toUser, fromCaller, withLength)},
	{name: "lwsstart", section: "3.1.2.9", want: 400, why: "more than one space between the parts of the start line",
		text: torturedInvite(" sip:user@example.com  SIP/2.0", "lwsstart", toUser, fromCaller, withLength)},
	{name: "trws", section: "3.1.2.10", want: 400, why: "spaces at the end of the start line",
		text: torturedOptions("sip:remote-target@example.com SIP/2.0  ", "trws", toUser, fromCaller)},
	{name: "escruri", section: "3.1.2.11", want: 400, why: "header fields in a Request-URI",
		text: torturedInvite("sip:user@example.com?Route=%3Csip:example.com%3E SIP/2.0", "escruri", toUser, fromCaller, withLength)},
	{name: "baddate", section: "3.1.2.12", want: 404, call: true, why: "a Date that is not in GMT is no concern of ours: who does not use it may ignore it",
		text: torturedInvite(userURI, "baddate", toUser, fromCaller, "Date: Fri, 01 Jan 2010 16:00:00 EST", withLength)},
	{name: "regbadct", section: "3.1.2.13", want: 405, why: "a Contact with header fields and no angle brackets; nobody registers here",
		text: torturedRegister("regbadct", toUser, fromCaller, "Contact: sip:user@example.com?Route=%3Csip:sip.example.com%3E")},
	{name: "badaspec", section: "3.1.2.14", want: 400, why: "spaces within an address",
		text: torturedOptions("sip:user@example.org SIP/2.0", "badaspec", `From: "Bell, Alexander" <sip:a.g.bell@example.com>;tag=433423`, `To: "Watson, Thomas" < sip:t.watson@example.org >`)},
	{name: "baddn", section: "3.1.2.15", want: 200, why: "a comma in a display name without its quotes, which are inferred, and written where the name goes on",
		text: torturedOptions("sip:t.watson@example.org SIP/2.0", "baddn", "From:    Bell, Alexander <sip:a.g.bell@example.com>;tag=43", "To:      Watson, Thomas <sip:t.watson@example.org>")},
	{name: "badvers", section: "3.1.2.16", want: 505, why: "a version of SIP that is not there yet",
		text: strings.Replace(torturedOptions("sip:t.watson@example.org SIP/7.0", "badvers", "From: A. Bell <sip:a.g.bell@example.com>;tag=qweoiqpe", "To: T. Watson <sip:t.watson@example.org>"), "Via: SIP/2.0", "Via: SIP/7.0", 1)},
	{name: "mismatch01", section: "3.1.2.17", want: 400, why: "CSeq names another method",
		text: strings.Replace(torturedOptions(userURI, "mismatch01", toUser, fromCaller), "CSeq: 3923239 OPTIONS", "CSeq: 8 INVITE", 1)},
	{name: "mismatch02", section: "3.1.2.18", want: 501, header: "Allow", why: "an unknown method, and CSeq names another: 501 tells more than 400",
		text: strings.Replace(torturedInvite(userURI, "mismatch02", toUser, fromCaller, withLength), "INVITE sip", "NEWMETHOD sip", 1)},
	{name: "bigcode", section: "3.1.2.19", want: 0, why: "a response with a status out of range is discarded",
		text: message4475("", "SIP/2.0 4294967301 better not break the receiver", "Via: SIP/2.0/UDP HERE;branch=z9hG4bK2398ndaoe", "Call-ID: bigcode@torture",
			"CSeq: 353494 INVITE", "From: <sip:user@example.com>;tag=39ansfi3", "To: <sip:user@example.edu>;tag=902jndnke3", "Content-Length: 0", "Contact: <sip:user@host105.example.com>")},

	{name: "badbranch", section: "3.2.1", want: 200, why: "the magic cookie and nothing behind it names no transaction (see TestTortureBadBranch)",
		text: strings.Replace(torturedOptions(userURI, "badbranch", toUser, fromCaller), "z9hG4bKkdjuw", "z9hG4bK", 1)},

	{name: "insuf", section: "3.3.1", want: 400, why: "no Call-ID, From, To",
		text: message4475(tortureSDP, "INVITE "+userURI, "CSeq: 193942 INVITE", "Via: SIP/2.0/UDP HERE;branch=z9hG4bKkdj.insuf", "Content-Type: application/sdp", "l: LENGTH")},
	{name: "unkscm", section: "3.3.2", want: 416, why: "a Request-URI of no known scheme",
		text: torturedOptions("nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0", "unkscm", toUser, fromCaller)},
	{name: "novelsc", section: "3.3.3", want: 416, why: "a Request-URI of a scheme that has nothing to do with SIP",
		text: torturedOptions("soap.beep://192.0.2.103:3002 SIP/2.0", "novelsc", toUser, fromCaller)},
	{name: "unksm2", section: "3.3.4", want: 405, why: "schemes nobody knows in To, From and Contact; nobody registers here",
		text: torturedRegister("unksm2", "To: isbn:2983792873", "From: <http://www.example.com>;tag=3234233", "Contact: <name:John_Smith>")},
	{name: "bext01", section: "3.3.5", want: 420, header: "Unsupported", why: "a Require that nobody understands; Proxy-Require is for proxies",
		text: torturedOptions(userURI, "bext01", toUser, fromCaller, "Require: nothingSupportsThis, nothingSupportsThisEither", "Proxy-Require: noProxiesSupportThis, norDoAnyProxiesSupportThis")},
	{name: "invut", section: "3.3.6", want: 415, header: "Accept", why: "a body of a type that is not known",
		text: strings.Replace(torturedInvite(userURI, "invut", toUser, fromCaller, withLength), "application/sdp", "application/unknownformat", 1)},
	{name: "regaut01", section: "3.3.7", want: 405, why: "credentials of a scheme that nobody knows; nobody registers here",
		text: torturedRegister("regaut01", toUser, fromCaller, "Authorization: NoOneKnowsThisScheme opaque-data=here")},
	{name: "multi01", section: "3.3.8", want: 400, why: "two of each: Call-ID, CSeq, From, To, Max-Forwards",
		text: message4475(tortureSDP, "INVITE "+userURI, "Contact: <sip:caller@host25.example.net>", "Via: SIP/2.0/UDP HERE;branch=z9hG4bKkdjuw", "Max-Forwards: 70",
			"CSeq: 5 INVITE", "Call-ID: multi01@torture", "CSeq: 59 INVITE", "Call-ID: multi01@elsewhere", "From: sip:caller@example.com;tag=3413415",
			"To: sip:user@example.com", "To: sip:other@example.net", "From: sip:caller@example.net;tag=2923420123", "Content-Type: application/sdp", "l: LENGTH",
			"Contact: <sip:caller@host36.example.net>", "Max-Forwards: 5")},
	{name: "mcl01", section: "3.3.9", want: 400, closes: true, why: "two Content-Lengths that differ",
		text: lines("OPTIONS "+userURI, "Via: SIP/2.0/UDP HERE;branch=z9hG4bK293423", "To: sip:user@example.com", "From: sip:other@example.net;tag=3923942",
			"Call-ID: mcl01@torture", "CSeq: 15932 OPTIONS", "Content-Length: 13", "Max-Forwards: 60", "Content-Length: 5", "Content-Type: text/plain", "",
			"There's no way to know how many octets are supposed to be here.", "")},
	{name: "bcast", section: "3.3.10", want: 0, why: "a response with a second Via, which names everybody, is not for us alone",
		text: message4475(tortureSDP, "SIP/2.0 200 OK", "Via: SIP/2.0/UDP HERE;branch=z9hG4bK1324923", "Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK1saber23",
			"Call-ID: bcast@torture", "CSeq: 35 INVITE", "From: sip:user@example.com;tag=11141343", "To: sip:user@example.edu;tag=2229", "Content-Length: LENGTH",
			"Content-Type: application/sdp", "Contact: <sip:user@host28.example.com>")},
	{name: "zeromf", section: "3.3.11", want: 200, why: "an endpoint serves a request whose hops are used up; only who hands it on must not",
		text: strings.Replace(torturedOptions(userURI, "zeromf", toUser, fromCaller), "Max-Forwards: 70", "Max-Forwards: 0", 1)},
	{name: "zeromf, as a call", section: "3.3.11", want: 483, why: "a call would be handed on",
		text: strings.Replace(torturedInvite(userURI, "zeromf2", toUser, fromCaller, withLength), "Max-Forwards: 70", "Max-Forwards: 0", 1)},
	{name: "cparam01", section: "3.3.12", want: 405, why: "an unknown parameter of a Contact; nobody registers here",
		text: torturedRegister("cparam01", toUser, fromCaller, "Contact: sip:+19725552222@gw1.example.net;unknownparam")},
	{name: "cparam02", section: "3.3.13", want: 405, why: "an unknown parameter of a Contact's URI; nobody registers here",
		text: torturedRegister("cparam02", toUser, fromCaller, "Contact: <sip:+19725552222@gw1.example.net;unknownparam>")},
	{name: "regescrt", section: "3.3.14", want: 405, why: "a Contact with a Route in it; nobody registers here",
		text: torturedRegister("regescrt", toUser, fromCaller, "M: <sip:user@example.com?Route=%3Csip:sip.example.com%3E>")},
	{name: "sdp01", section: "3.3.15", want: 406, why: "the caller takes no session description",
		text: torturedInvite(userURI, "sdp01", toUser, fromCaller, "Accept: text/nobodyKnowsThis", withLength)},

	{name: "inv2543", section: "3.4.1", want: 404, call: true, tcp: 400, closes: true,
		why: "an INVITE of RFC 2543: no tag, branch, Max-Forwards or Contact (RFC 3261 section 12.1.1); a stream needs its Content-Length",
		text: lines("INVITE sip:UserB@example.com SIP/2.0", "Via: SIP/2.0/UDP HERE", "From: <sip:+13035551111@ift.client.example.net;user=phone>",
			"Record-Route: <sip:UserB@example.com;maddr=ss1.example.com>", "To: sip:+16505552222@ss1.example.net;user=phone", "Call-ID: inv2543@torture",
			"CSeq: 56 INVITE", "Content-Type: application/sdp", "",
			"v=0", "o=mhandley 29739 7272939 IN IP4 192.0.2.5", "s=-", "c=IN IP4 192.0.2.5", "t=0 0", "m=audio 49217 RTP/AVP 0", "")},
}
