package configs

import (
	"strings"
	"testing"
)

// mistakes are texts and what is reported of each, in order.
var mistakes = []struct {
	name, text string
	want       []string
}{
	{"unknown keys", `nod: x
sip: {lissen: 127.0.0.1:5060, match: [10.0.0.0/8]}
zebra: 1
`, []string{
		`x.yaml:1:1: nod: unknown key; did you mean node?`,
		`x.yaml:2:7: sip.lissen: unknown key; did you mean listen?`,
		`x.yaml:2:31: sip.match: unknown key; it belongs at trunks.NAME.sip.match`,
		`x.yaml:3:1: zebra: unknown key; known here: admin, cluster, identity, limits, log, node, ript, routes, sip, state, trace, trunks`,
	}},
	{"one port for two", `admin: 127.0.0.1:5061
sip:
  listen: ["0.0.0.0:5060", "0.0.0.0:5060", "tcp:0.0.0.0:5060", "tls:127.0.0.1:5061", "udp:127.0.0.1:9090"]
  advertise: 192.0.2.1
  tls: {certificate: /none, key: /none}
`, []string{
		`x.yaml:1:8: admin: 127.0.0.1:5061 is the TCP port of sip.listen[3] already; give each a port of its own`,
		`x.yaml:3:44: sip.listen[2]: 0.0.0.0:5060 is the TCP port of sip.listen[0] already; give each a port of its own`,
	}},
	{"facts", `trunks:
  pbx:
    sip: {peer: 192.0.2.1, callers: "*", number: "+1202555xxxx"}
    facts: {accept: [all, line], send: callername, carry: [Contact, "a b", X-Mine]}
    transfer: yes
`, []string{
		`x.yaml:3:50: trunks.pbx.sip.number: "+1202555xxxx" is not one number; write one with its plus, as in +12025550100`,
		`x.yaml:4:22: trunks.pbx.facts.accept[0]: all beside others; write it alone, or leave it out`,
		`x.yaml:4:40: trunks.pbx.facts.send[0]: "callername": not one of the values; write all or none or routing or carrier or trunkGroup or category or line or diversions or priority or location or languages or callerName or privacy or charging or connected (did you mean callerName?)`,
		`x.yaml:4:60: trunks.pbx.facts.carry[0]: "Contact" is no header field that can be carried; name one that routing, dialogs and identity do not own; what is a fact has its own name under accept and send`,
		`x.yaml:4:69: trunks.pbx.facts.carry[1]: "a b" is no header field that can be carried; name one that routing, dialogs and identity do not own; what is a fact has its own name under accept and send`,
		`x.yaml:5:15: trunks.pbx.transfer: "yes": not one of the values; write refuse or allow`,
	}},
	{"codecs", `trunks:
  pbx:
    sip: {peer: 192.0.2.1, callers: "*"}
    codecs: [opus, pcmu, PCMX, CN, PCMU, G729]
  telco:
    sip: {peer: 192.0.2.2, callers: "*"}
    codecs: [H264, vp8]
`, []string{
		`x.yaml:4:26: trunks.pbx.codecs[2]: "PCMX": not a codec that we have; write one of [PCMU PCMA G722 opus H264 VP8] (did you mean pcmu?)`,
		`x.yaml:4:32: trunks.pbx.codecs[3]: "CN": digits and comfort noise go with every call; leave it out`,
		`x.yaml:4:36: trunks.pbx.codecs[4]: PCMU is there twice; the first one counts: remove this`,
		`x.yaml:4:42: trunks.pbx.codecs[5]: "G729": not a codec that we have; write one of [PCMU PCMA G722 opus H264 VP8] (did you mean g722?)`,
		`x.yaml:7:13: trunks.telco.codecs: no codec of speech, so there could be no call; add PCMU, or leave the key out to allow everything`,
	}},
	{"a tab", "\ufeffnode: a\n# all well\n\t# a comment\nsip:\n  listen: 127.0.0.1:5060\n\tmedia: {}\n", []string{
		`x.yaml:6:1: not YAML: indented with a tab; indent with spaces`,
	}},
	{"every mistake, not the first", `node: "a b"
admin: 9090
log: {level: inf, format: xml}
sip:
  listen: localhost:5060
  media: {ports: 1000-2000, address: here}
limits: {calls: many}
`, []string{
		`x.yaml:1:7: node: "a b" is not a name; use up to 63 letters, digits, - _ and ., beginning with a letter or digit`,
		`x.yaml:2:8: admin: "9090": not an IP address and port; write both, as in 127.0.0.1:5060 or [::1]:5060; 0.0.0.0 stands for every address`,
		`x.yaml:3:14: log.level: "inf": not one of the values; write debug or info or warn or error (did you mean info?)`,
		`x.yaml:3:27: log.format: "xml": not one of the values; write text or json`,
		`x.yaml:5:11: sip.listen[0]: "localhost:5060": not an IP address and port; write both, as in 127.0.0.1:5060 or [::1]:5060, and before them the transport if it is not UDP and TCP, as in tls:0.0.0.0:5061; 0.0.0.0 stands for every address`,
		`x.yaml:6:18: sip.media.ports: "1000-2000": ports below 1024 are other services'; begin at 1024 or above, as in 16384-32767`,
		`x.yaml:6:38: sip.media.address[0]: "here": not an IP address; write it as 203.0.113.5 or 2001:db8::1`,
		`x.yaml:7:17: limits.calls: "many": out of range; write a whole number from 1 to 100000`,
	}},
	{"written twice", `node: a
sip:
  listen: 127.0.0.1:5060
  listen: 127.0.0.1:5061
node: b
`, []string{
		`x.yaml:4:3: sip.listen: written twice, first in line 3; keep one of them`,
		`x.yaml:5:1: node: written twice, first in line 1; keep one of them`,
	}},
	{"wrong kinds", `node: [a]
sip: yes
trunks: [pbx]
routes: {from: a}
log: {level: {a: b}}
limits: {calls: }
`, []string{
		`x.yaml:1:7: node: want one value here, not a list or a mapping; write one, or leave the key out for its default`,
		"x.yaml:2:6: sip: want keys and values here; indent them below, one `key: value` per line",
		"x.yaml:3:9: trunks: want keys and values here; indent them below, one `key: value` per line",
		`x.yaml:4:9: routes[0]: trunk is missing; add trunk: the name of a trunk`,
		`x.yaml:4:9: routes[0]: to is missing; add to: a number pattern, as in "+*"`,
		`x.yaml:4:16: routes[0].from: no trunk is called "a"; add it under trunks`,
		`x.yaml:5:14: log.level: want one value here, not a list or a mapping; write one, or leave the key out for its default`,
		`x.yaml:6:16: limits.calls: has no value; write one, or leave the key out for its default`,
	}},
	{"not YAML", `sip:
	listen: 1
`, []string{
		`x.yaml:2:1: not YAML: indented with a tab; indent with spaces`,
	}},
	{"a star without quotes", `trunks: {a: {sip: {peer: 192.0.2.1, callers: [*]}}}
`, []string{
		`x.yaml:1:48: not YAML: unexpected scalar value type; indent with spaces, put a space behind each colon, and quote values that begin with * & ! { [ or contain ": "`,
	}},
	{"aliases", `node: &n office
state: *n
`, []string{
		`x.yaml:1:7: node: anchors, aliases and tags are not used here; write the value out, and quote what begins with * & or !`,
		`x.yaml:2:8: state: anchors, aliases and tags are not used here; write the value out, and quote what begins with * & or !`,
	}},
	{"a tag", `node: !!str office
`, []string{
		`x.yaml:1:7: node: anchors, aliases and tags are not used here; write the value out, and quote what begins with * & or !`,
	}},
	{"two documents", `node: a
---
node: b
`, []string{
		`x.yaml:3:1: a second document; remove the line --- and what follows`,
	}},
	{"addresses", `admin: 192.0.2.1:9090
sip: {listen: 0.0.0.0:5060}
ript: {listen: "0.0.0.0:443", tls: {certificate: a, key: b}}
`, []string{
		`x.yaml:1:8: admin: 192.0.2.1:9090 is not a loopback address; write 127.0.0.1:9090; publish it elsewhere only through a proxy that asks who is there`,
		`x.yaml:2:15: sip.listen[0]: listens on every address, but peers must be told one; add sip.advertise: the address at which peers reach this box`,
		`x.yaml:3:16: ript.listen: listens on every address, but peers need one name for this box; add ript.authority: the host:port that peers connect to`,
	}},
	{"advertise and media", `sip: {advertise: 0.0.0.0, media: {address: 224.0.0.1, ports: 20000-20000}}
`, []string{
		`x.yaml:1:18: sip.advertise[0]: 0.0.0.0 is no address a peer can send to; write the address at which peers reach this box`,
		`x.yaml:1:44: sip.media.address[0]: a multicast address; write one of this box's own addresses`,
		`x.yaml:1:62: sip.media.ports: "20000-20000": the range holds no even port followed by an odd one, as RTP and RTCP need; widen it, as in 16384-32767`,
	}},
	{"port ranges", `sip: {media: {ports: 20001-20002}}
`, []string{
		`x.yaml:1:22: sip.media.ports: "20001-20002": the range holds no even port followed by an odd one, as RTP and RTCP need; widen it, as in 16384-32767`,
	}},
	{"TLS halves", `ript: {listen: 127.0.0.1:443, tls: {certificate: a}}
identity: {ca: {key: b}}
`, []string{
		`x.yaml:1:36: ript.tls: the key is missing; add ript.tls.key: the PEM file of the certificate's private key`,
		`x.yaml:2:16: identity.ca: the certificate is missing; add identity.ca.certificate: a PEM file, leaf first`,
	}},
	{"TLS without a server", `ript: {authority: "a.example", tls: {certificate: a, key: b}}
`, []string{
		`x.yaml:1:19: ript.authority: a name for a server, but no address to listen on; add ript.listen, as in 0.0.0.0:443`,
		`x.yaml:1:37: ript.tls: a certificate, but no address to serve it on; add ript.listen, as in 0.0.0.0:443`,
	}},
	{"authority", `ript: {listen: 127.0.0.1:443, authority: "https://a.example", tls: {certificate: a, key: b}}
`, []string{
		`x.yaml:1:42: ript.authority: "https://a.example" is not a host and port; write them without https://, as in ript.example:443`,
	}},
	{"trunk of no kind", `trunks: {a: {}, b: {sip: {peer: 192.0.2.1}, ript: {}}}
`, []string{
		`x.yaml:1:10: trunks.a: neither sip nor ript; add one: sip for a PBX or carrier, ript for a RIPT peer`,
		`x.yaml:1:17: trunks.b: both sip and ript; make two trunks of it and join them with routes`,
	}},
	{"trunk names", `trunks: {"a b": {}, "": {}}
`, []string{
		`x.yaml:1:10: trunks.a b: not a name; use up to 63 letters, digits, - _ and ., beginning with a letter or digit`,
		`x.yaml:1:21: trunks.: not a name; use up to 63 letters, digits, - _ and ., beginning with a letter or digit`,
	}},
	{"SIP trunk", `trunks:
  a: {sip: {}}
  b: {sip: {peer: pbx.example, transport: sctp}}
  c: {sip: {peer: "1.2.3.4.5:5060", match: 10.0.0.1}}
  d: {sip: {peer: 192.0.2.1:0, match: 10.0.0.0/8}}
  e: {sip: {peer: 192.0.2.1:70000, match: 10.1.2.3/8}}
  f: {sip: {peer: 192.0.2.9:5060, ring-timeout: 180, identity: never, callers: [2025550123, "+1202x55"]}}
`, []string{
		`x.yaml:2:12: trunks.a.sip: peer is missing; add peer: the host:port of the PBX or carrier`,
		`x.yaml:3:19: trunks.b.sip.peer: a host name does not say where the peer's requests come from; add match: the addresses it sends from, as in [192.0.2.0/24]`,
		`x.yaml:3:43: trunks.b.sip.transport: "sctp": not one of the values; write auto or udp or tcp or tls or ws or wss`,
		`x.yaml:4:19: trunks.c.sip.peer: "1.2.3.4.5:5060": neither an IP address nor a host name; write it as 203.0.113.5:5060 or pbx.example:5060`,
		`x.yaml:4:44: trunks.c.sip.match[0]: "10.0.0.1": not a range of addresses; write it with the length of its prefix: 192.0.2.0/24 for a network, 192.0.2.7/32 for one address`,
		`x.yaml:5:19: trunks.d.sip.peer: "192.0.2.1:0": "0" is not a port; write a number from 1 to 65535`,
		`x.yaml:6:19: trunks.e.sip.peer: "192.0.2.1:70000": "70000" is not a port; write a number from 1 to 65535`,
		`x.yaml:7:49: trunks.f.sip.ring-timeout: "180": not a duration; write it with its unit, as in 180s or 3m`,
		`x.yaml:7:64: trunks.f.sip.identity: "never": not one of the values; write optional or required`,
		`x.yaml:7:81: trunks.f.sip.callers[0]: "2025550123": not a number pattern; write +12025550123, +1202555xxxx, +1202*, *@pbx.example or *`,
		`x.yaml:7:93: trunks.f.sip.callers[1]: "+1202x55": not a number pattern; write +12025550123, +1202555xxxx, +1202*, *@pbx.example or *`,
	}},
	{"users from anywhere", `trunks:
  a: {sip: {accept: {users: a.users, register: allow, from: anywhere}}}
  b: {sip: {accept: {users: b.users, register: allow, from: anywhere}}}
  c: {sip: {listen: 127.0.0.1:5070, accept: {users: c.users, register: allow, from: anywhere}}}
`, []string{
		`x.yaml:3:61: trunks.b.sip.accept.from: trunk a takes users from anywhere already, so calls could be for either; make one trunk of both, or give each a listen of its own`,
	}},
	{"session timers", `trunks:
  g: {sip: {peer: 192.0.2.10, timer: always, timer-interval: 1m}}
`, []string{
		`x.yaml:2:38: trunks.g.sip.timer: "always": not one of the values; write never or accept or require`,
		`x.yaml:2:62: trunks.g.sip.timer-interval: 1m0s is not between 90s and 24h; write 30m, which most peers go along with, or 90s at the least`,
	}},
	{"SIP over TLS", `sip: {listen: ["tls:0.0.0.0:5061", "127.0.0.1:5060"], advertise: [192.0.2.1, 192.0.2.2]}
trunks:
  a: {sip: {peer: 192.0.2.1, transport: tls, listen: 192.0.2.1:5060, tls: {certificate: a.crt, name: "a b"}}}
  b: {sip: {peer: 192.0.2.2, tls: {roots: ca.pem}}}
  c: {sip: {peer: carrier.example, transport: tls, tls: {client: required}}}
  d: {sip: {peer: 192.0.2.4, listen: "wss:192.0.2.9:443", advertise: "sip.example:5060"}}
`, []string{
		`x.yaml:1:16: sip.listen[0]: there is no certificate to show there; add sip.tls: the certificate and key of this box`,
		`x.yaml:1:78: sip.advertise[1]: a second address of the same family; keep one IPv4 and one IPv6 address at most; a trunk that needs another has its own key advertise`,
		`x.yaml:3:54: trunks.a.sip.listen: the peer is spoken to over tls only, and that is not what is listened for there; write it as tls:192.0.2.1:5060`,
		`x.yaml:3:75: trunks.a.sip.tls: the key is missing; add trunks.a.sip.tls.key: the PEM file of the certificate's private key`,
		`x.yaml:3:102: trunks.a.sip.tls.name: "a b": not a name that a certificate could have; write it as sip.carrier.example`,
		`x.yaml:4:35: trunks.b.sip.tls: the peer is spoken to over udp, where nobody shows a certificate; add transport: tls`,
		`x.yaml:6:38: trunks.d.sip.listen: there is no certificate to show there; add sip.tls or trunks.d.sip.tls: certificate and key`,
		`x.yaml:6:70: trunks.d.sip.advertise: "sip.example:5060": neither an IP address nor a host name; write it as 203.0.113.5 or sip.example.net, without a port`,
	}},
	{"RIPT trunk", `trunks:
  a: {ript: {}}
  b: {ript: {connect: http://b.example, numbers: "+1202*"}}
  c: {ript: {connect: "https://u:p@c.example", client: "a b"}}
  d: {ript: {connect: https://d.example/path, numbers: "+1202555xxxx"}}
  e: {ript: {connect: "https://e.example:0", numbers: "+1202555xxxx", media: webrtc}}
  f: {ript: {numbers: "+1202555xxxx", accept: {}}}
  g: {ript: {inbound: yes, accept: {client: f, key: g.pub, callers: "*", hosts: [192.0.2.1, a..b]}}}
  h: {calls: 0, ript: {connect: "https://h.example", numbers: "+12025550123", inbound: true}}
  i: {ript: {inbound: true, accept: {client: i, key: i.pub, callers: "*"}}}
`, []string{
		`x.yaml:2:13: trunks.a.ript: neither connect nor accept; add connect: https://host:port of a provider, or accept for a customer that connects to us`,
		`x.yaml:3:23: trunks.b.ript.connect: "http://b.example": RIPT is spoken over https only; write https://host:port`,
		`x.yaml:3:23: trunks.b.ript.connect: the peer wants to know who connects, but there is no ript.key; add ript.key: the PEM file of an EC P-256 private key, and give its public half to the peer`,
		`x.yaml:3:50: trunks.b.ript.numbers[0]: "+1202*": a certificate lists numbers and blocks, not prefixes; write +12025550123 or +1202555xxxx`,
		`x.yaml:4:13: trunks.c.ript: numbers is missing, so no call could be signed; add numbers: the caller numbers to ask a certificate for, as in ["+1202555xxxx"]`,
		`x.yaml:4:23: trunks.c.ript.connect: "https://u:p@c.example": holds a user name; write https://host:port; ript.key says who we are`,
		`x.yaml:4:56: trunks.c.ript.client: "a b" is not a client id; write the one that the peer gave this box: printable ASCII, no spaces`,
		`x.yaml:5:23: trunks.d.ript.connect: "https://d.example/path": holds more than host and port; write https://host:port; paths are learnt from the peer`,
		`x.yaml:6:23: trunks.e.ript.connect: "https://e.example:0": "0" is not a port; write https://host:port`,
		`x.yaml:6:78: trunks.e.ript.media: "webrtc": not one of the values; write auto or webtransport or trunk or striped or put-get`,
		`x.yaml:7:47: trunks.f.ript.accept: key is missing; add key: the peer's public key, a PEM or JWKS file; without it anyone could call`,
		`x.yaml:7:47: trunks.f.ript.accept: callers is missing, so every call would be refused; add callers: the numbers the peer may call from, as in ["+1202555xxxx"]`,
		`x.yaml:7:47: trunks.f.ript.accept: calls are to be taken, but there is no ript.listen; add ript.listen, as in 0.0.0.0:443, and ript.tls`,
		`x.yaml:7:47: trunks.f.ript.accept: the peer enrols a certificate for its callers here, but there is no identity.ca; add identity.ca: the certificate and key that sign such certificates`,
		`x.yaml:8:23: trunks.g.ript.inbound: "yes": not one of the values; write true or false`,
		`x.yaml:8:36: trunks.g.ript.accept: client "f" is trunk f already; give each peer a client id of its own`,
		`x.yaml:8:82: trunks.g.ript.accept.hosts[0]: "192.0.2.1" is not a host name; write ript.office.example, or *.office.example for all below`,
		`x.yaml:8:93: trunks.g.ript.accept.hosts[1]: "a..b" is not a host name; write ript.office.example, or *.office.example for all below`,
		`x.yaml:9:14: trunks.h.calls: "0": out of range; write a whole number from 1 to 100000`,
		`x.yaml:10:23: trunks.i.ript.inbound: there is no peer to be told where to call us; add connect: https://host:port, or remove inbound`,
	}},
	{"routes", `trunks:
  pbx: {sip: {peer: 192.0.2.1}}
  telco: {ript: {accept: {key: t, callers: "*"}}}
  out: {ript: {connect: https://out.example, numbers: "+12025550123"}}
ript: {key: k, listen: 127.0.0.1:443, tls: {certificate: a, key: b}}
identity: {ca: {certificate: a, key: b}}
routes:
  - {from: pbx, to: "+*", trunk: telco}
  - {from: pbxx, to: "+*", trunk: outt}
  - {from: out, to: "12", trunk: nowhere}
  - {}
  - {from: telco, to: "+1*", trunk: pbx}
  - {from: telco, to: "+1*", trunk: out}
`, []string{
		`x.yaml:2:14: trunks.pbx.sip: callers is missing, so every call from here would be refused; add callers: the numbers this peer may call from, as in ["+1202555xxxx"], or ["*"] for any`,
		`x.yaml:9:12: routes[1].from: no trunk is called "pbxx"; did you mean pbx?`,
		`x.yaml:9:35: routes[1].trunk: no trunk is called "outt"; did you mean out?`,
		`x.yaml:10:12: routes[2].from: no call can come from trunk out; add ript.listen and a ript.authority with a DNS name, so that the peer can be told where to call us, or trunks.out.ript.accept`,
		`x.yaml:10:21: routes[2].to: "12": not a number pattern; write +12025550123, +1202555xxxx, +1202*, *@pbx.example or *`,
		`x.yaml:10:34: routes[2].trunk: no trunk is called "nowhere"; trunks: pbx, telco, out`,
		`x.yaml:11:5: routes[3]: from is missing; add from: the name of a trunk`,
		`x.yaml:11:5: routes[3]: trunk is missing; add trunk: the name of a trunk`,
		`x.yaml:11:5: routes[3]: to is missing; add to: a number pattern, as in "+*"`,
		`x.yaml:13:5: routes[5]: the same calls as routes[4]; remove one of the two`,
	}},
	{"route without trunks", `routes: [{from: a, to: "*", trunk: b}]
`, []string{
		`x.yaml:1:17: routes[0].from: no trunk is called "a"; add it under trunks`,
		`x.yaml:1:36: routes[0].trunk: no trunk is called "b"; add it under trunks`,
	}},
	{"state", `state: var/lib
`, []string{
		`x.yaml:1:8: state: "var/lib" is not an absolute path; begin it with /, as in /var/lib/riptide`,
	}},
	{"empty file names", `ript: {key: "", tls: {certificate: "credential:"}}
`, []string{
		`x.yaml:1:13: ript.key: "": not a file name; name a file; relative names are relative to the configuration's directory`,
		`x.yaml:1:36: ript.tls.certificate: "credential:": not the name of a credential; write credential:NAME as in LoadCredential=NAME:/path of the unit`,
	}},
	{"limits", `limits: {calls: 0}
`, []string{
		`x.yaml:1:17: limits.calls: "0": out of range; write a whole number from 1 to 100000`,
	}},
	{"not a mapping", `- a
- b
`, []string{
		"x.yaml:1:1: want keys and values here; indent them below, one `key: value` per line",
	}},
	{"a bare word", `hello
`, []string{
		"x.yaml:1:1: want keys and values here; indent them below, one `key: value` per line",
	}},
	{"control characters", `"\x1b[31mnode": a
node: "a\x07"
`, []string{
		`x.yaml:1:1: �[31mnode: unknown key; known here: admin, cluster, identity, limits, log, node, ript, routes, sip, state, trace, trunks`,
		`x.yaml:2:7: node: "a\a" is not a name; use up to 63 letters, digits, - _ and ., beginning with a letter or digit`,
	}},
	{"a key pasted in", `ript:
  key: |
    -----BEGIN PRIVATE KEY-----
    c2VzYW1l
    -----END PRIVATE KEY-----
`, []string{
		`x.yaml:2:8: ript.key: "[redacted]": not a file name; name a file; relative names are relative to the configuration's directory`,
	}},
}

func TestMistakes(t *testing.T) {
	for _, tc := range mistakes {
		t.Run(tc.name, func(t *testing.T) {
			_, problems := Parse("x.yaml", []byte(tc.text))
			got := Problems(problems).Error()
			if want := strings.Join(tc.want, "\n"); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}
