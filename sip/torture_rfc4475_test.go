package sip

import "strings"

// The valid messages of RFC 4475 section 3.1.1, written after its descriptions.
// HERE stands for where the test listens.

// tortureSDP is the session most of the messages describe.
var tortureSDP = lines(
	"v=0", "o=mhandley 29739 7272939 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0",
	"m=audio 49217 RTP/AVP 0 12", "m=video 3227 RTP/AVP 31", "a=rtpmap:31 LPC", "")

func lines(all ...string) string { return strings.Join(all, "\r\n") }

// message4475 is a head and a body; LENGTH in the head is the body's.
func message4475(body string, head ...string) string {
	head = append(head, "", body)
	return strings.Replace(lines(head...), "LENGTH", portText(uint16(len(body))), 1)
}

var validMessages = []tortured{
	{
		name: "wsinv", section: "3.1.1.1", want: 481,
		why: "well-formed, however it is folded and spaced; its To has a tag of a dialog that is not there (RFC 3261 section 12.2.2)",
		text: message4475(tortureSDP,
			"INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0",
			"TO :", " sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n",
			`from   : "J Rosenberg \\\""       <sip:jdrosen@example.com>`, "  ;", "  tag = 98asjd8",
			"MaX-fOrWaRdS: 0068", "Call-ID: wsinv@torture", "Content-Length   : LENGTH",
			"cseq: 0009", "  INVITE",
			"Via  : SIP  /   2.0", " /UDP", "    HERE;branch=390skdjuw", "s :",
			"NewFangledHeader:   newfangled value", " continued newfangled value",
			"UnknownHeaderWithUnusualValue: ;;,,;;,;", "Content-Type: application/sdp",
			"Route:", " <sip:services.example.com;lr;unknownwith=value;unknown-no-value>",
			"v:  SIP  / 2.0  / TCP     spindle.example.com   ;", "  branch  =   z9hG4bK9ikj8  ,",
			" SIP  /    2.0   / UDP  192.168.255.111   ; branch=", " z9hG4bK30239",
			`m:"Quoted string \"\"" <sip:jdrosen@example.com> ; newparam =`, "      newvalue ;", "  secondparam ; q = 0.33"),
	},
	{
		name: "wsinv, as a new call", section: "3.1.1.1", want: 404, call: true,
		why: "the same without the tag: what is well-formed reaches the bridge",
		text: message4475(tortureSDP,
			"INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0",
			"TO :", " sip:vivekg@chair-dnrc.example.com", `from   : "J Rosenberg \\\""       <sip:jdrosen@example.com>`, "  ;", "  tag = 98asjd8",
			"MaX-fOrWaRdS: 0068", "Call-ID: wsinv2@torture", "Content-Length   : LENGTH", "cseq: 0009", "  INVITE",
			"Via  : SIP  /   2.0", " /UDP", "    HERE;branch=390skdjuw", "s :", "Content-Type: application/sdp",
			`m:"Quoted string \"\"" <sip:jdrosen@example.com> ; newparam =`, "      newvalue ;", "  secondparam ; q = 0.33"),
	},
	{
		name: "intmeth", section: "3.1.1.2", want: 501, header: "Allow",
		why: "a method that nobody knows: endpoints answer 501 with Allow",
		text: message4475("",
			"!interesting-Method0123456789_*+`.%indeed'~ sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com SIP/2.0",
			"Via: SIP/2.0/TCP HERE;branch=z9hG4bK-.!%66*_+`'~",
			"To: \"BEL:\\\a NUL:\\\x00 DEL:\\\x7f\" <sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@example.com>",
			"From: token1~` token2'+_ token3*%!.- <sip:mundane@example.com>;fromParam''~+*_!.-%=\"работающий\";tag=_token~1'+`*%!-.",
			"Call-ID: intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{",
			"CSeq: 139122385 !interesting-Method0123456789_*+`.%indeed'~", "Max-Forwards: 255",
			"extensionHeader-!.%*+_`'~:\xef\xbb\xbf大停電", "Content-Length: 0"),
	},
	{
		name: "esc01", section: "3.1.1.3", want: 404,
		why: "escapes are part of the user's name: this is no sips URI, and nobody of ours",
		text: message4475(tortureSDP,
			"INVITE sip:sips%3Auser%40example.com@example.net SIP/2.0",
			"To: sip:%75se%72@example.com", "From: <sip:I%20have%20spaces@example.net>;tag=938", "Max-Forwards: 87",
			"i: esc01@torture", "CSeq: 234234 INVITE", "Via: SIP/2.0/UDP HERE;branch=z9hG4bKkdjuw", "C: application/sdp",
			"Contact:", "  <sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31>", "Content-Length: LENGTH"),
	},
	{
		name: "escnull", section: "3.1.1.4", want: 405, header: "Allow",
		why: "escaped null characters are fine; nobody registers here",
		text: message4475("",
			"REGISTER sip:example.com SIP/2.0", "To: sip:null-%00-null@example.com", "From: sip:null-%00-null@example.com;tag=839923423",
			"Max-Forwards: 70", "Call-ID: escnull@torture", "CSeq: 14398234 REGISTER", "Via: SIP/2.0/UDP HERE;branch=z9hG4bKkdjuw",
			"Contact: <sip:%00@host5.example.com>", "Contact: <sip:%00%00@host5.example.com>", "L:0"),
	},
	{
		name: "esc02", section: "3.1.1.5", want: 501, header: "Allow",
		why: "a percent sign in a method escapes nothing: this is not REGISTER",
		text: message4475("",
			"RE%47IST%45R sip:registrar.example.com SIP/2.0", `To: "%Z%45" <sip:resource@example.com>`,
			`From: "%Z%45" <sip:resource@example.com>;tag=f232jadfj23`, "Call-ID: esc02@torture",
			"Via: SIP/2.0/TCP HERE;branch=z9hG4bK209%fzsnel234", "CSeq: 29344 RE%47IST%45R", "Max-Forwards: 70",
			"Contact: <sip:alias1@host1.example.com>", "C%6Fntact: <sip:alias2@host2.example.com>", "Contact: <sip:alias3@host3.example.com>", "l: 0"),
	},
	{
		name: "lwsdisp", section: "3.1.1.6", want: 200,
		why: "no space between display name and <",
		text: message4475("",
			"OPTIONS sip:user@example.com SIP/2.0", "To: sip:user@example.com", "From: caller<sip:caller@example.com>;tag=323",
			"Max-Forwards: 70", "Call-ID: lwsdisp@torture", "CSeq: 60 OPTIONS", "Via: SIP/2.0/UDP HERE;branch=z9hG4bKkdjuw", "l: 0"),
	},
	{
		name: "longreq", section: "3.1.1.7", want: 404, call: true,
		why: "long values everywhere, and 34 Via fields",
		text: message4475(tortureSDP, append(append([]string{
			"INVITE sip:user@example.com SIP/2.0",
			`To: "I have a user name of ` + strings.Repeat("extreme", 10) + ` proportion"<sip:user@example.com:6000;unknownparam1=very` + strings.Repeat("long", 20) +
				"value;longparam" + strings.Repeat("name", 25) + "=shortvalue;very" + strings.Repeat("long", 25) + "ParameterNameWithNoValue>",
			"F: sip:" + strings.Repeat("amazinglylongcallername", 5) + "@example.net;tag=1" + strings.Repeat("2982", 50) + "424;unknownheaderparam" +
				strings.Repeat("name", 20) + "=unknowheaderparam" + strings.Repeat("value", 15) + ";unknownValueless" + strings.Repeat("paramname", 10),
			"Call-ID: longreq.one" + strings.Repeat("really", 20) + "longcallid", "CSeq: 3882340 INVITE",
			"Unknown-" + strings.Repeat("Long", 20) + "-Name: unknown-" + strings.Repeat("long", 20) + "-value; unknown-" + strings.Repeat("long", 20) +
				"-parameter-name = unknown-" + strings.Repeat("long", 20) + "-parameter-value",
			"Via: SIP/2.0/TCP HERE",
		}, manyVias(33)...), "Via: SIP/2.0/TCP sip.example.com;received=192.0.2.5;branch=very"+strings.Repeat("long", 50)+"branchvalue",
			"Max-Forwards: 70", "Contact: <sip:"+strings.Repeat("amazinglylongcallername", 5)+"@host5.example.net>", "Content-Type: application/sdp", "l: LENGTH")...),
	},
	{
		name: "dblreq", section: "3.1.1.8", want: 405, tcp: 404,
		why: "what follows a datagram's first message is ignored (RFC 3261 section 18.3); on a stream it is the next request",
		text: message4475("",
			"REGISTER sip:example.com SIP/2.0", "To: sip:j.user@example.com", "From: sip:j.user@example.com;tag=43251j3j324", "Max-Forwards: 8",
			"I: dblreq@torture", "Contact: sip:j.user@host.example.com", "CSeq: 8 REGISTER", "Via: SIP/2.0/UDP HERE;branch=z9hG4bKkdjuw23492", "Content-Length: 0") +
			"\r\n\r\n" + message4475(tortureSDP,
			"INVITE sip:joe@example.com SIP/2.0", "t: sip:joe@example.com", "From: sip:caller@example.net;tag=141334", "Max-Forwards: 8",
			"Call-ID: dblreq2@torture", "CSeq: 8 INVITE", "Via: SIP/2.0/UDP HERE;branch=z9hG4bKkdjuw380234",
			"Content-Type: application/sdp", "Content-Length: LENGTH"),
	},
	{
		name: "semiuri", section: "3.1.1.9", want: 200,
		why: "a semicolon in a user part begins no URI parameter",
		text: message4475("",
			"OPTIONS sip:user;par=u%40example.net@example.com SIP/2.0", "To: sip:j_user@example.com", "From: sip:caller@example.org;tag=33242",
			"Max-Forwards: 3", "Call-ID: semiuri@torture", "CSeq: 8 OPTIONS", "Accept: application/sdp, application/pkcs7-mime,",
			"        multipart/mixed, multipart/signed,", "        message/sip, message/sipfrag", "Via: SIP/2.0/UDP HERE;branch=z9hG4bKkdjuw", "l: 0"),
	},
	{
		name: "transports", section: "3.1.1.10", want: 200,
		why: "transports nobody knows, in Via fields of others",
		text: message4475("",
			"OPTIONS sip:user@example.com SIP/2.0", "To: sip:user@example.com", "From: <sip:caller@example.com>;tag=323", "Max-Forwards: 70",
			"Call-ID:  transports@torture", "Accept: application/sdp", "CSeq: 60 OPTIONS", "Via: SIP/2.0/UDP HERE;branch=z9hG4bKkdjuw",
			"Via: SIP/2.0/SCTP t2.example.com;branch=z9hG4bKklasjdhf", "Via: SIP/2.0/TLS t3.example.com;branch=z9hG4bK2980unddj",
			"Via: SIP/2.0/UNKNOWN t4.example.com;branch=z9hG4bKasd0f3en", "Via: SIP/2.0/TCP t5.example.com;branch=z9hG4bK0a9idfnee", "l: 0"),
	},
	{
		name: "mpart01", section: "3.1.1.11", want: 405, header: "Allow",
		why: "a body with null bytes in several parts; messages are not carried",
		text: message4475("--7a9cbec02ceef655\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: binary\r\n\r\nHello\r\n"+
			"--7a9cbec02ceef655\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n0\x82\x01R\x06\t*\x86H\x86\xf7\r\x00\x00\xff\n\r\n--7a9cbec02ceef655--\r\n",
			"MESSAGE sip:kumiko@example.org SIP/2.0", "Via: SIP/2.0/UDP HERE;branch=z9hG4bK-d87543-4dade06d0bdb11ee-1--d87543-;rport", "Max-Forwards: 70",
			"Route: <sip:127.0.0.1:5080>", "Contact: <sip:fluffy@127.0.0.1:5070>", "To: <sip:kumiko@example.org>", "From: <sip:fluffy@example.com>;tag=2fb0dcc9",
			"Call-ID: mpart01@torture", "CSeq: 1 MESSAGE", "Content-Transfer-Encoding: binary", "Content-Type: multipart/mixed;boundary=7a9cbec02ceef655",
			"Date: Sat, 15 Oct 2005 04:44:56 GMT", "User-Agent: SIPimp.org/0.2.5 (curses)", "Content-Length: LENGTH"),
	},
	{
		name: "unreason", section: "3.1.1.12", want: 0,
		why: "a response to nothing we asked, whatever its phrase, is nobody's",
		text: message4475(tortureSDP,
			"SIP/2.0 200 = 2**3 * 5**2 но сто девяносто девять - простое", "Via: SIP/2.0/UDP HERE;branch=z9hG4bK1324923", "Call-ID: unreason@torture",
			"CSeq: 35 INVITE", "From: sip:user@example.com;tag=11141343", "To: sip:user@example.edu;tag=2229", "Content-Length: LENGTH",
			"Content-Type: application/sdp", "Contact: <sip:user@host198.example.com>"),
	},
	{
		name: "noreason", section: "3.1.1.13", want: 0,
		why: "a response with an empty phrase, to nothing we asked",
		text: message4475("",
			"SIP/2.0 100 ", "Via: SIP/2.0/UDP HERE;branch=z9hG4bK2398ndaoe", "Call-ID: noreason@torture", "CSeq: 35 INVITE",
			"From: <sip:user@example.com>;tag=39ansfi3", "To: <sip:user@example.edu>;tag=902jndnke3", "Content-Length: 0", "Contact: <sip:user@host105.example.com>"),
	},
}

// manyVias are Via fields of hops before ours, in every spelling.
func manyVias(n int) []string {
	spellings := []string{"v", "V", "Via", "ViA", "VIa", "VIA", "via", "viA", "vIa", "vIA", "V ", "v ", "V  ", "v  ", "Via ", "Via  "}
	out := make([]string, n)
	for i := range out {
		out[i] = spellings[i%len(spellings)] + ": SIP/2.0/TCP sip" + portText(uint16(n-i)) + ".example.com"
	}
	return out
}
