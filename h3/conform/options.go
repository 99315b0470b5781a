package conform

import (
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"riptide/policy"
)

// Options say what a Probe knows of the server it judges. A target that is not
// given leaves out the checks that need one, with a reason.
type Options struct {
	Server string         // host, host:port or https URL
	Roots  *x509.CertPool // of its TLS certificate; nil = the system's

	ClientID string            // the client it knows us as …
	Key      *ecdsa.PrivateKey // … and the key that proves it,
	Token    string            // or a token for the TG, where there is no login

	TG string // the TG to use; "" = the first in the list

	// Identity is what signs PASSporTs: a key and its chain's URL. Without one, a
	// certificate is enrolled at the server for From.
	Identity *Signer

	From        string // the caller; "" = from originNumbers of the TG
	To          string // answers and sends media; "" = from destinations of the TG
	Declined    string // declines
	Busy        string // is busy
	NoAnswer    string // rings until the far side gives up
	Ringing     string // rings for longer than a minute
	Early       string // sends media before it answers
	Video       string // answers with video
	Unreachable string // 404: inside destinations, but nobody is there
	Forbidden   string // 403: outside destinations; "" = a number that is not covered
	Private     string // a number@domain inside destinations
	Digits      string // answers and sends digits as telephone-events

	Only     []string      // numbers of requirements; nil = all
	Timeout  time.Duration // for what should happen at once; default 5 s
	Progress func(string)  // told what is being done; may be nil
}

const defaultTimeout = 5 * time.Second

// check finds mistakes that would make every check fail.
func (o *Options) check() (*url.URL, error) {
	raw := o.Server
	if !strings.Contains(raw, "://") {
		raw = "https://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("%q is not a host or an https URL: want https://HOST or https://HOST:PORT", o.Server)
	}
	if u.Path != "" && u.Path != "/" {
		return nil, fmt.Errorf("%q has a path: name the authority only, the rest is found by its well-known resources", o.Server)
	}
	switch {
	case o.Token == "" && o.ClientID == "":
		return nil, errors.New("the server must know us: give --client and --key, or --token")
	case o.Token == "" && o.Key == nil:
		return nil, fmt.Errorf("no key of client %q: give --key", o.ClientID)
	}
	if err := checkIDs(o.Only); err != nil {
		return nil, err
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	for name, n := range map[string]string{
		"from": o.From, "to": o.To, "declined": o.Declined, "busy": o.Busy, "no-answer": o.NoAnswer, "ringing": o.Ringing, "early": o.Early,
		"video": o.Video, "unreachable": o.Unreachable, "private": o.Private, "digits": o.Digits,
	} {
		if n == "" {
			continue
		}
		if _, err := policy.ParseNumber(n); err != nil {
			return nil, fmt.Errorf("--%s %q: want an E.164 number with its plus, or number@domain", name, n)
		}
	}
	return &url.URL{Scheme: "https", Host: u.Host}, nil
}

func checkIDs(ids []string) error {
	for _, id := range ids {
		if _, ok := Lookup(id); !ok {
			return fmt.Errorf("there is no requirement %q (see riptide conform --list)", id)
		}
	}
	return nil
}
