package configs

import "time"

// SIPRegister says that we tell a SIP peer where its calls to us go.
type SIPRegister struct {
	User    string        `yaml:"user"`   // of our address there; default: that of Login
	Domain  string        `yaml:"domain"` // default: the peer's host
	Expires time.Duration `yaml:"expires"`
	Bulk    string        `yaml:"bulk" oneof:"true false"` // RFC 6140
}

func (r *SIPRegister) fill() {
	if r == nil {
		return
	}
	if r.Expires == 0 {
		r.Expires = time.Hour
	}
	if r.Bulk == "" {
		r.Bulk = "false"
	}
}

func (d *decoder) checkSIPRegister(key string, s *SIPTrunk) {
	r := s.Register
	if r == nil {
		return
	}
	if s.Login == nil && !d.has(key+".login") && r.User == "" && !d.has(key+".register.user") {
		d.problem(key+".register", "who is to be registered is not said", "add login: the name and password that the peer knows us by")
	}
	if s.Peer.Host == "" && !d.has(key+".peer") {
		d.problem(key+".register", "there is no peer to register at", "add peer: the provider's host name")
	}
	if r.Expires < time.Minute || r.Expires > 24*time.Hour {
		d.problem(key+".register.expires", "not between 1m and 24h", "write 1h, or what the provider wants")
	}
	if !isPrintable(r.User) || r.Domain != "" && !isHost(r.Domain) {
		d.problem(key+".register", "user or domain cannot be part of an address", "write them as the provider has them, as in user: 12345 and domain: sip.carrier.example")
	}
}
