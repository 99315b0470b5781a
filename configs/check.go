package configs

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"riptide/policy"
)

// check finds what is wrong between values that are right by themselves.
func (d *decoder) check(c *Config) {
	d.checkNode(c)
	d.checkSIP(&c.SIP)
	d.checkSIPTLS(c)
	d.checkRIPT(c)
	if c.Identity.CA != nil {
		d.checkPair("identity.ca", c.Identity.CA.Certificate, c.Identity.CA.Key)
	}
	d.checkTrunks(c)
	d.checkRoutes(c)
	d.checkTrace(&c.Trace)
	d.checkCluster(c)
	d.checkPorts(c)
}

func (d *decoder) checkNode(c *Config) {
	if !isName(c.Node) {
		d.problem("node", fmt.Sprintf("%q is not a name", clip(c.Node)), "use up to 63 letters, digits, - _ and ., beginning with a letter or digit")
	}
	if !filepath.IsAbs(c.State) {
		d.problem("state", fmt.Sprintf("%q is not an absolute path", clip(c.State)), "begin it with /, as in "+defaultState)
	}
	// The admin side has no login: whoever reaches it may read it.
	if !c.Admin.Addr().IsLoopback() {
		d.problem("admin", fmt.Sprintf("%v is not a loopback address", c.Admin), "write 127.0.0.1:9090; publish it elsewhere only through a proxy that asks who is there")
	}
}

func (d *decoder) checkRIPT(c *Config) {
	r := &c.RIPT
	serves := r.Listen.IsValid()
	if r.Authority != "" {
		host, port, err := splitHostPort(r.Authority, 443)
		if err != nil {
			d.problem("ript.authority", fmt.Sprintf("%q is not a host and port", clip(r.Authority)), "write them without https://, as in ript.example:443")
		} else {
			r.Authority = net.JoinHostPort(strings.ToLower(host), fmt.Sprint(port))
		}
	}
	if serves && r.Authority == "" && r.Listen.Addr().IsUnspecified() {
		d.problem("ript.listen", "listens on every address, but peers need one name for this box", "add ript.authority: the host:port that peers connect to")
	}
	switch {
	case serves:
		d.checkPair("ript.tls", r.TLS.Certificate, r.TLS.Key)
	case r.TLS.Certificate != "" || r.TLS.Key != "":
		d.problem("ript.tls", "a certificate, but no address to serve it on", "add ript.listen, as in 0.0.0.0:443")
	}
	if !serves && r.Authority != "" {
		d.problem("ript.authority", "a name for a server, but no address to listen on", "add ript.listen, as in 0.0.0.0:443")
	}
}

// lacks tells, once, that a key was not written.
func (d *decoder) lacks(key string) bool {
	if d.has(key) || d.told[key] {
		return false
	}
	d.told[key] = true
	return true
}

func (d *decoder) checkPair(key string, certificate, private File) {
	if certificate == "" {
		d.problem(key, "the certificate is missing", "add "+key+".certificate: a PEM file, leaf first")
	}
	if private == "" {
		d.problem(key, "the key is missing", "add "+key+".key: the PEM file of the certificate's private key")
	}
}

func (d *decoder) checkTrunks(c *Config) {
	clients := map[string]string{}
	sources := map[source]string{}
	for i := range c.Trunks {
		t := &c.Trunks[i]
		key := "trunks." + t.Name
		d.checkFacts(key+".facts", &t.Facts)
		d.checkCodecs(key+".codecs", t.Codecs)
		switch {
		case t.SIP != nil && t.RIPT != nil:
			d.problem(key, "both sip and ript", "make two trunks of it and join them with routes")
		case t.SIP == nil && t.RIPT == nil:
			d.problem(key, "neither sip nor ript", "add one: sip for a PBX or carrier, ript for a RIPT peer")
		case t.SIP != nil:
			d.checkSIPTrunk(key+".sip", t, sources)
		default:
			d.checkRIPTTrunk(key+".ript", c, t, clients)
		}
	}
}

// checkFacts: "all" and "none" stand alone, and header fields that the bridge
// owns are not carried.
func (d *decoder) checkFacts(key string, f *Facts) {
	alone := func(name string, list []string) {
		for i, word := range list {
			if (word == "all" || word == "none") && len(list) > 1 {
				d.problem(fmt.Sprintf("%s.%s[%d]", key, name, i), word+" beside others", "write it alone, or leave it out")
			}
		}
	}
	alone("accept", f.Accept)
	alone("send", f.Send)
	for i, name := range f.Carry {
		if name != "" && !policy.CanCarry(name) {
			d.problem(fmt.Sprintf("%s.carry[%d]", key, i), fmt.Sprintf("%q is no header field that can be carried", clip(name)), "name one that routing, dialogs and identity do not own; what is a fact has its own name under accept and send")
		}
	}
}

// checkCodecs finds lists with which no call could be made, or that do not say
// what they seem to.
func (d *decoder) checkCodecs(key string, codecs []Codec) {
	speech, wrong := false, false
	for i, c := range codecs {
		if slices.Contains(codecs[:i], c) && c != "" {
			d.problem(fmt.Sprintf("%s[%d]", key, i), fmt.Sprintf("%s is there twice", c), "the first one counts: remove this")
		}
		speech, wrong = speech || c != "" && !c.Video(), wrong || c == ""
	}
	if len(codecs) > 0 && !speech && !wrong {
		d.problem(key, "no codec of speech, so there could be no call", "add PCMU, or leave the key out to allow everything")
	}
}

// source is where calls of a trunk come from, and where they arrive.
type source struct {
	from netip.Prefix
	at   Listen
}

func (d *decoder) checkSIPTrunk(key string, t *Trunk, sources map[source]string) {
	s := t.SIP
	d.checkLogin(key+".login", s.Login)
	if _, size, ok := s.Number.Block(); s.Number != "" && (!ok || size != 1) {
		d.problem(key+".number", fmt.Sprintf("%q is not one number", s.Number), "write one with its plus, as in +12025550100")
	}
	if s.TimerEvery < leastTimerInterval || s.TimerEvery > mostTimerInterval {
		d.problem(key+".timer-interval", fmt.Sprintf("%v is not between 90s and 24h", s.TimerEvery), "write 30m, which most peers go along with, or 90s at the least")
	}
	d.checkSIPAccept(key+".accept", s.Accept)
	d.checkSIPRegister(key, s)
	d.checkSIPNumbers(key+".numbers", s.Numbers)
	if s.Peer.Host == "" && !s.registers() {
		if !d.has(key + ".peer") {
			d.problem(key, "peer is missing", "add peer: the host:port of the PBX or carrier")
		}
		return
	}
	if len(s.Match) == 0 && !s.Anywhere() && !s.byCertificate() && !d.has(key+".match") {
		if s.Peer.Host == "" {
			d.problem(key, "nobody could register: there is no address to do it from", "add match: the addresses that registrations may come from, or accept.from: anywhere")
		} else {
			d.problem(key+".peer", "a host name does not say where the peer's requests come from", "add match: the addresses it sends from, as in [192.0.2.0/24]")
		}
	}
	if s.Anywhere() {
		at := source{netip.Prefix{}, s.Listen}
		if other, taken := sources[at]; taken {
			d.problem(key+".accept.from", fmt.Sprintf("trunk %s takes users from anywhere already, so calls could be for either", other), "make one trunk of both, or give each a listen of its own")
		}
		sources[at] = t.Name
	}
	for i, prefix := range s.Match {
		if !prefix.IsValid() {
			continue
		}
		at := source{prefix.Masked(), s.Listen}
		if other, taken := sources[at]; taken {
			d.problem(fmt.Sprintf("%s.match[%d]", key, i), fmt.Sprintf("%v is trunk %s already, so its calls could be of either", prefix, other), "give each trunk addresses of its own, or a listen of its own")
			continue
		}
		sources[at] = t.Name
	}
}

func (d *decoder) checkRIPTTrunk(key string, c *Config, t *Trunk, clients map[string]string) {
	r := t.RIPT
	if r.Connect == "" && r.Accept == nil {
		d.problem(key, "neither connect nor accept", "add connect: https://host:port of a provider, or accept for a customer that connects to us")
	}
	if d.has(key + ".connect") {
		d.checkConnect(key, r)
	}
	if r.Silence < leastSilence || r.Silence > mostSilence {
		d.problem(key+".silence", fmt.Sprintf("%v is not between 200ms and 2s", r.Silence), "leave it out for 1s, or write 300ms where short gaps matter more than a call that is looked for in vain")
	}
	d.checkNumbers(key, r)
	d.checkInbound(key, c, r)
	if !isClientID(r.Client) {
		d.problem(key+".client", fmt.Sprintf("%q is not a client id", clip(r.Client)), "write the one that the peer gave this box: printable ASCII, no spaces")
	}
	if r.Accept == nil {
		return
	}
	d.checkAccept(key+".accept", r.Accept)
	for i, host := range r.Accept.Hosts {
		if !isHostPattern(host) {
			d.problem(fmt.Sprintf("%s.accept.hosts[%d]", key, i), fmt.Sprintf("%q is not a host name", clip(host)), "write ript.office.example, or *.office.example for all below")
		}
	}
	if other, taken := clients[r.Accept.Client]; taken {
		d.problem(key+".accept", fmt.Sprintf("client %q is trunk %s already", r.Accept.Client, other), "give each peer a client id of its own")
	}
	clients[r.Accept.Client] = t.Name
}

func (d *decoder) checkConnect(key string, r *RIPTTrunk) {
	if authority, err := parseConnect(r.Connect); err != nil {
		what, mend := explain(err)
		d.problem(key+".connect", fmt.Sprintf("%q: %s", clip(r.Connect), what), mend)
	} else {
		r.Connect = authority
	}
	if d.lacks("ript.key") {
		d.problem(key+".connect", "the peer wants to know who connects, but there is no ript.key", "add ript.key: the PEM file of an EC P-256 private key, and give its public half to the peer")
	}
	if len(r.Numbers) == 0 && !d.has(key+".numbers") {
		d.problem(key, "numbers is missing, so no call could be signed", `add numbers: the caller numbers to ask a certificate for, as in ["+1202555xxxx"]`)
	}
}

func (d *decoder) checkNumbers(key string, r *RIPTTrunk) {
	for i, p := range r.Numbers {
		if _, _, ok := p.Block(); !ok && p != "" {
			d.problem(fmt.Sprintf("%s.numbers[%d]", key, i), fmt.Sprintf("%q: a certificate lists numbers and blocks, not prefixes", p), "write +12025550123 or +1202555xxxx")
		}
	}
}

// checkInbound holds what was asked for to what it needs; what was not is only
// done where it can be.
func (d *decoder) checkInbound(key string, c *Config, r *RIPTTrunk) {
	if r.Inbound != "true" || !d.has(key+".inbound") {
		return
	}
	switch {
	case r.Connect == "" && !d.has(key+".connect"):
		d.problem(key+".inbound", "there is no peer to be told where to call us", "add connect: https://host:port, or remove inbound")
	case d.lacks("ript.listen"):
		d.problem(key+".inbound", "the peer is to call us, but there is no ript.listen", "add ript.listen, as in 0.0.0.0:443, and ript.tls")
	case c.RIPT.Listen.IsValid() && !isDNSName(c.RIPT.Authority):
		d.problem(key+".inbound", "the peer wants a name to call us at, and ript.authority is an address", "add ript.authority with a DNS name, as in ript.example:443")
	}
}

// parseConnect normalises the address of a RIPT peer to https://host[:port].
// Plaintext has no spelling here.
func parseConnect(s string) (string, error) {
	const mend = "write https://host:port"
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "", mistake("not a URL", mend)
	case u.Scheme != "https":
		return "", mistake("RIPT is spoken over https only", mend)
	case u.User != nil:
		return "", mistake("holds a user name", mend+"; ript.key says who we are")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return "", mistake("holds more than host and port", mend+"; paths are learnt from the peer")
	}
	host, port, err := splitHostPort(u.Host, 443)
	if err != nil {
		what, _ := explain(err)
		return "", mistake(what, mend)
	}
	if u.Port() == "" {
		return "https://" + strings.ToLower(u.Host), nil
	}
	return "https://" + net.JoinHostPort(strings.ToLower(host), fmt.Sprint(port)), nil
}

func (d *decoder) checkAccept(key string, a *Accept) {
	if !isName(a.Client) {
		d.problem(key+".client", fmt.Sprintf("%q is not a name", clip(a.Client)), "choose the peer's client id: letters, digits, - _ and .")
	}
	if a.Key == "" && !d.has(key+".key") {
		d.problem(key, "key is missing", "add key: the peer's public key, a PEM or JWKS file; without it anyone could call")
	}
	if len(a.Callers) == 0 && !d.has(key+".callers") {
		d.problem(key, "callers is missing, so every call would be refused", `add callers: the numbers the peer may call from, as in ["+1202555xxxx"]`)
	}
	if d.lacks("ript.listen") {
		d.problem(key, "calls are to be taken, but there is no ript.listen", "add ript.listen, as in 0.0.0.0:443, and ript.tls")
	}
	if d.lacks("identity.ca") {
		d.problem(key, "the peer enrols a certificate for its callers here, but there is no identity.ca", "add identity.ca: the certificate and key that sign such certificates")
	}
}

func (d *decoder) checkRoutes(c *Config) {
	var names []string
	for _, t := range c.Trunks {
		names = append(names, t.Name)
	}
	type match struct {
		from string
		to   policy.Pattern
	}
	seen := map[match]int{}
	for i, r := range c.Routes {
		key := fmt.Sprintf("routes[%d]", i)
		from, fromOK := d.routeTrunk(c, key, "from", r.From, names)
		if len(r.Trunk) == 0 {
			d.routeTrunk(c, key, "trunk", "", names)
		}
		for n, name := range r.Trunk {
			field := "trunk"
			if len(r.Trunk) > 1 {
				field = fmt.Sprintf("trunk[%d]", n)
			}
			d.routeTrunk(c, key, field, name, names)
			if slices.Contains(r.Trunk[:n], name) && name != "" {
				d.problem(key+"."+field, fmt.Sprintf("%s is there already", clip(name)), "name each trunk once")
			}
		}
		if r.To == "" && !d.has(key+".to") {
			d.problem(key, "to is missing", `add to: a number pattern, as in "+*"`)
		}
		if fromOK {
			d.checkSource(key, from)
		}
		if first, dup := seen[match{r.From, r.To}]; dup && r.To != "" {
			d.problem(key, fmt.Sprintf("the same calls as routes[%d]", first), "remove one of the two")
			continue
		}
		seen[match{r.From, r.To}] = i
	}
}

func (d *decoder) routeTrunk(c *Config, key, field, name string, names []string) (Trunk, bool) {
	if name == "" {
		if !d.has(key + "." + field) {
			d.problem(key, field+" is missing", "add "+field+": the name of a trunk")
		}
		return Trunk{}, false
	}
	t, ok := c.Trunk(name)
	if !ok {
		mend := "trunks: " + strings.Join(names, ", ")
		if meant := nearest(name, names); meant != "" {
			mend = "did you mean " + meant + "?"
		}
		if len(names) == 0 {
			mend = "add it under trunks"
		}
		d.problem(key+"."+field, fmt.Sprintf("no trunk is called %q", clip(name)), mend)
	}
	return t, ok
}

// checkSource tells whether calls can come in on a trunk at all.
func (d *decoder) checkSource(route string, t Trunk) {
	key := "trunks." + t.Name
	switch {
	case t.SIP != nil && len(t.SIP.Callers) == 0 && !d.has(key+".sip.callers"):
		d.problem(key+".sip", "callers is missing, so every call from here would be refused", `add callers: the numbers this peer may call from, as in ["+1202555xxxx"], or ["*"] for any`)
	case t.RIPT != nil && t.RIPT.Accept == nil && t.RIPT.Inbound != "true":
		d.problem(route+".from", fmt.Sprintf("no call can come from trunk %s", t.Name), "add ript.listen and a ript.authority with a DNS name, so that the peer can be told where to call us, or "+key+".ript.accept")
	}
}

// isHostPattern tells a DNS name, which may begin with "*." for all below.
func isHostPattern(s string) bool {
	labels := strings.Split(strings.TrimPrefix(s, "*."), ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, func(r rune) bool {
			return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
		}) {
			return false
		}
	}
	_, err := netip.ParseAddr(s)
	return len(s) <= 253 && err != nil
}
