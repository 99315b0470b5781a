package seal

import (
	"encoding/hex"
	"time"
)

// Session is one end of one call, with the keys of a Ring.
type Session struct {
	ring   *Ring
	call   [16]byte
	caller bool
}

// Call makes the session of a call. id is its trace-id, 32 hexadecimal digits; a
// call without one, or with another kind of id, is all zeros. caller says that
// this is the caller's end.
func (r *Ring) Call(id string, caller bool) *Session {
	s := &Session{ring: r, caller: caller}
	if b, err := hex.DecodeString(id); err == nil && len(b) == len(s.call) {
		s.call = [16]byte(b)
	}
	return s
}

// direction is that of what this end seals, or of what it opens.
func (s *Session) direction(seals bool) Direction {
	if s.caller == seals {
		return CallerToCallee
	}
	return CalleeToCaller
}

func (s *Session) cipher(k *key, d Direction, kind Kind) (*Cipher, error) {
	label := append([]byte("ript-1"), byte(d), byte(kind))
	return NewCipher(k.suite, k.id, k.secret, append(label, s.call[:]...))
}

// Sealer seals what this end sends of a kind.
func (s *Session) Sealer(kind Kind) *Sealer {
	return &Sealer{session: s, kind: kind}
}

// Opener opens what this end receives of a kind.
func (s *Session) Opener(kind Kind) *Opener {
	return &Opener{session: s, kind: kind}
}

// Sealer seals one stream. It is not safe for use by several goroutines at once.
type Sealer struct {
	session *Session
	kind    Kind
	key     *key
	cipher  *Cipher
	checked time.Time
	window  window

	begun         bool
	origin, first uint64 // the stream's number origin is number first on the wire
}

// recheck is how often a Sealer looks whether its key has run out.
const recheck = time.Second

// Next is the number under which packet n of the stream goes out, and the id of
// the key that seals it. It is not ok if there is no key for it, or if the
// number was used before: it never is twice. n grows by one with every packet
// and may have gaps; a late packet keeps its place.
func (s *Sealer) Next(n uint64, now time.Time) (seq, keyID uint64, ok bool) {
	if s.cipher == nil || now.Sub(s.checked) >= recheck {
		s.checked = now
		if !s.choose(now) {
			return 0, 0, false
		}
	}
	if !s.begun || n >= s.origin+span {
		s.begun, s.origin, s.first = true, n, s.session.ring.begin(now)
	}
	if n < s.origin {
		return 0, 0, false
	}
	seq = s.first + n - s.origin
	if !s.window.fresh(seq) {
		return 0, 0, false
	}
	s.window.enter(seq)
	return seq, s.key.id, true
}

// choose takes the key that is to be used now.
func (s *Sealer) choose(now time.Time) bool {
	d := s.session.direction(true)
	k := s.session.ring.sealing(d, s.kind, now)
	if k == nil {
		s.cipher = nil
		return false
	}
	if k == s.key && s.cipher != nil {
		return true
	}
	c, err := s.session.cipher(k, d, s.kind)
	s.key, s.cipher = k, c
	return err == nil
}

// Seal adds auth tag and ciphertext of a package to dst. seq is that of the last
// call of Next.
func (s *Sealer) Seal(dst []byte, seq uint64, aad, pkg []byte) []byte {
	return s.cipher.Seal(dst, seq, aad, pkg)
}

// Opener opens one stream. It is not safe for use by several goroutines at once.
type Opener struct {
	session *Session
	kind    Kind
	keys    []*opening // of those in the ring that were used
}

type opening struct {
	key    *key
	cipher *Cipher
	window window
}

// Open adds the package of a sealed chunk to dst. The error is ErrKey, ErrForged
// or ErrReplay.
func (o *Opener) Open(dst []byte, keyID, seq uint64, aad, sealed []byte, now time.Time) ([]byte, error) {
	k := o.session.ring.opening(keyID, o.session.direction(false), o.kind, now)
	if k == nil {
		return dst, ErrKey
	}
	use, err := o.use(k)
	if err != nil {
		return dst, err
	}
	out, err := use.cipher.Open(dst, seq, aad, sealed)
	if err != nil {
		return dst, err
	}
	if !use.window.fresh(seq) {
		return dst, ErrReplay
	}
	use.window.enter(seq)
	return out, nil
}

// use finds the cipher of a key, or makes it. It stays: without its window, old
// chunks could be played again.
func (o *Opener) use(k *key) (*opening, error) {
	for _, use := range o.keys {
		if use.key == k {
			return use, nil
		}
	}
	c, err := o.session.cipher(k, o.session.direction(false), o.kind)
	if err != nil {
		return nil, err
	}
	use := &opening{key: k, cipher: c}
	o.keys = append(o.keys, use)
	return use, nil
}
