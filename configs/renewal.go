package configs

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// renewEvery is how often the files of a certificate are looked at.
const renewEvery = time.Second

// Renewed gives the certificate of two files as they are now: the one that was
// loaded until they change, and then what they hold, so that a certificate can
// be renewed without a restart. Files that are wrong, or of which only one has
// been replaced so far, change nothing; complain, if not nil, is told once.
// Credentials of systemd stay as they were when the service began.
func Renewed(certificate, key File, loaded *tls.Certificate, complain func(error)) func() (*tls.Certificate, error) {
	r := &renewal{certificate: certificate, key: key, pair: loaded, complain: complain}
	return r.begin()
}

// Renewed is the same for the RIPT server's certificate. One that peers could not
// connect to by the server's name is not taken.
func (r *RIPT) Renewed(complain func(error)) func() (*tls.Certificate, error) {
	n := &renewal{certificate: r.TLS.Certificate, key: r.TLS.Key, pair: r.TLS.Pair.Reveal(), complain: complain, server: r}
	return n.begin()
}

func (r *renewal) begin() func() (*tls.Certificate, error) {
	if r.complain == nil {
		r.complain = func(error) {}
	}
	r.stamp, _ = r.look() // what cannot be looked at is what was loaded
	return func() (*tls.Certificate, error) { return r.current(time.Now()), nil }
}

type renewal struct {
	certificate, key File
	complain         func(error)
	server           *RIPT // whose name the certificate must be valid for; nil = any will do

	mu     sync.Mutex
	pair   *tls.Certificate
	stamp  string // of the files that pair, or the last complaint, is from
	looked time.Time
}

func (r *renewal) current(now time.Time) *tls.Certificate {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.looked) < renewEvery {
		return r.pair
	}
	r.looked = now
	stamp, err := r.look()
	if err != nil || stamp == r.stamp {
		return r.pair // gone for a moment: a renewal may be under way
	}
	r.stamp = stamp
	d := &decoder{at: map[string]place{}, told: map[string]bool{}}
	pair := d.loadPair("certificate", r.certificate, r.key)
	if pair != nil && r.server != nil {
		d.checkServerName(r.server, pair.Leaf)
	}
	if len(d.problems) > 0 {
		var errs []error
		for _, p := range d.problems {
			errs = append(errs, errors.New(p.What))
		}
		r.complain(fmt.Errorf("renewed certificate %s is not taken: %w", r.certificate, errors.Join(errs...)))
		return r.pair
	}
	r.pair = pair
	return pair
}

// look says in short which files are there.
func (r *renewal) look() (string, error) {
	var stamp strings.Builder
	for _, name := range []File{r.certificate, r.key} {
		path, err := locateCredential(name)
		if err != nil {
			return "", err
		}
		info, err := os.Stat(handedOver(path))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&stamp, "%d %d %d;", info.ModTime().UnixNano(), info.Size(), info.Mode())
	}
	return stamp.String(), nil
}
