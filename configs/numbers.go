package configs

import (
	"fmt"
	"strings"
)

// Numbers says how a SIP peer writes numbers.
type Numbers struct {
	Country       string    `yaml:"country"`       // country code, without plus
	International string    `yaml:"international"` // prefix before a country code
	National      string    `yaml:"national"`      // prefix before a national number
	Bare          string    `yaml:"bare" oneof:"private e164"`
	Domain        string    `yaml:"domain"` // of private numbers; default: the peer's host
	Write         string    `yaml:"write" oneof:"plus bare national"`
	Rewrite       []Rewrite `yaml:"rewrite"` // of what the peer dials; the first that fits
}

// Rewrite replaces the beginning of what a peer dials.
type Rewrite struct {
	From string `yaml:"from"`
	To   string `yaml:"to"`
}

func (n *Numbers) fill() {
	if n.Bare == "" {
		n.Bare = "private"
	}
	if n.Write == "" {
		n.Write = "plus"
	}
}

func (d *decoder) checkSIPNumbers(key string, n Numbers) {
	for name, v := range map[string]string{"country": n.Country, "international": n.International, "national": n.National} {
		if strings.Trim(v, "0123456789") != "" {
			d.problem(key+"."+name, fmt.Sprintf("%q are not digits", clip(v)), "write the digits alone, as in 44, 00 or 0")
		}
	}
	if n.Country == "" && !d.has(key+".country") {
		if n.National != "" || n.Write == "national" {
			d.problem(key, "national numbers without the country they are of", "add country: the country code, as in 44")
		}
	}
	if n.Domain != "" && !isHost(n.Domain) {
		d.problem(key+".domain", fmt.Sprintf("%q is no domain", clip(n.Domain)), "write a host name, as in pbx.example")
	}
	for i, r := range n.Rewrite {
		at := fmt.Sprintf("%s.rewrite[%d]", key, i)
		switch {
		case r.From == "" && !d.has(at+".from"):
			d.problem(at, "from is missing", "add from: the digits that a number begins with, as in 9")
		case strings.Trim(r.From, "+*#0123456789") != "":
			d.problem(at+".from", fmt.Sprintf("%q are not digits", clip(r.From)), "write the digits that a number begins with, as in 9")
		case strings.Trim(r.To, "+0123456789") != "":
			d.problem(at+".to", fmt.Sprintf("%q are not digits", clip(r.To)), "write the digits to put there instead, as in +44; nothing to take them off")
		}
	}
}
