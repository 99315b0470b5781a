package rtp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"riptide/sip/sdp"
)

const (
	// replayWindow is how far back a packet may be that was not seen before (RFC
	// 3711 section 3.3.2): as far as one can be placed.
	replayWindow = seqWindow

	// rekeyOverlap is how long packets under the key of before are still taken
	// after the peer has changed it: those that were on their way.
	rekeyOverlap = 2 * time.Second

	// maxTail is what SRTP adds to a packet at most: a tag of GCM; to one of
	// SRTCP an index too.
	maxTail = 16 + 4
)

// profiles are the suites as the library has them.
var profiles = map[string]srtp.ProtectionProfile{
	"AEAD_AES_256_GCM":        srtp.ProtectionProfileAeadAes256Gcm,
	"AEAD_AES_128_GCM":        srtp.ProtectionProfileAeadAes128Gcm,
	"AES_256_CM_HMAC_SHA1_80": srtp.ProtectionProfileAes256CmHmacSha1_80,
	"AES_256_CM_HMAC_SHA1_32": srtp.ProtectionProfileAes256CmHmacSha1_32,
	"AES_CM_128_HMAC_SHA1_80": srtp.ProtectionProfileAes128CmHmacSha1_80,
	"AES_CM_128_HMAC_SHA1_32": srtp.ProtectionProfileAes128CmHmacSha1_32,
}

// newContext is SRTP under a key.
func newContext(c sdp.Crypto) (*srtp.Context, error) {
	suite, ok := sdp.SuiteNamed(c.Suite)
	profile, known := profiles[suite.Name]
	if !ok || !known || len(c.Key) != suite.Key+suite.Salt {
		return nil, fmt.Errorf("SRTP under %q with a key of %d bytes: no such suite", c.Suite, len(c.Key))
	}
	return newProfile(profile, c.Key[:suite.Key], c.Key[suite.Key:], c.MKI)
}

func newProfile(profile srtp.ProtectionProfile, key, salt, mki []byte) (*srtp.Context, error) {
	return srtp.CreateContext(key, salt, profile,
		srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(replayWindow), srtp.MasterKeyIndicator(mki))
}

// opener takes the protection off what the peer sends. Its zero value takes
// what is not protected.
type opener struct {
	locked  bool // nothing is taken that is not protected
	key     sdp.Crypto
	ctx     *srtp.Context // nil while there is no key yet
	reports *srtp.Context // the same for reports, which is another one if they have a handshake of their own
	before  *srtp.Context // under the key until recently
	until   time.Time     // how long it is good

	resumed *Source // how far the peer had come under the key before this process; nil once it was heard
	unheard bool    // another process had the key, and had heard nothing when it wrote its record

	header rtp.Header // kept here so that a packet costs no allocation
	plain  []byte     // made when there is a key
}

var (
	errNoKey    = errors.New("no key yet")
	errReplayed = errors.New("a packet from before the record")
)

// seqHalf is how far apart two sequence numbers are at most without a roll-over.
const seqHalf = 1 << 15

// use takes over what was agreed on. The same key again leaves everything as it
// is, with its roll-over counter and what was seen (RFC 3711 section 3.3.1);
// another one begins anew.
func (o *opener) use(p sdp.Protection, now time.Time) error {
	switch p.Keying {
	case sdp.Clear:
		o.locked, o.key, o.ctx, o.reports, o.before = false, sdp.Crypto{}, nil, nil, nil
		o.resumed, o.unheard = nil, false
	case sdp.SDES:
		if o.ctx != nil && o.key.Equal(p.Theirs) {
			return nil
		}
		ctx, err := newContext(p.Theirs)
		if err != nil {
			return err
		}
		o.install(ctx, true, true, now)
		o.key = p.Theirs
	default:
		if p.Keying == sdp.Pending || !o.key.Equal(sdp.Crypto{}) {
			o.ctx, o.reports, o.before = nil, nil, nil
		}
		o.locked, o.key = true, sdp.Crypto{}
	}
	return nil
}

// install goes on under another key, for media, reports or both.
func (o *opener) install(ctx *srtp.Context, media, reports bool, now time.Time) {
	if o.locked = true; o.plain == nil {
		o.plain = make([]byte, maxPacket+1)
	}
	if media {
		if o.ctx != nil {
			o.resumed, o.unheard = nil, false // it was under another key
		}
		o.before, o.until, o.ctx = o.ctx, now.Add(rekeyOverlap), ctx
	}
	if reports {
		o.reports = ctx
	}
}

// rtp is the packet without its protection, valid until the next one.
func (o *opener) rtp(b []byte, now time.Time) ([]byte, error) {
	if !o.locked {
		return b, nil
	}
	if o.ctx == nil {
		return nil, errNoKey
	}
	if len(b) >= headerSize && (o.unheard || o.resumed != nil && o.resumed.SSRC == binary.BigEndian.Uint32(b[8:])) {
		return o.find(b)
	}
	// Not in place: a key that does not fit may leave nothing for the next try.
	plain, err := o.ctx.DecryptRTP(o.plain[:0], b, &o.header)
	if err != nil && o.overlap(now) {
		return o.before.DecryptRTP(o.plain[:0], b, &o.header)
	}
	return plain, err
}

// find opens the first packet of a source that another process has heard before:
// the tag tells which roll-over counter is the right one. What came before the
// record is not heard a second time.
func (o *opener) find(b []byte) ([]byte, error) {
	from := Source{SSRC: binary.BigEndian.Uint32(b[8:])}
	if !o.unheard {
		from = *o.resumed
	}
	seq, last := uint64(binary.BigEndian.Uint16(b[2:])), from.Index
	near := last>>16 + 1 // so that none of the candidates is negative
	switch diff := int32(seq) - int32(uint16(last)); {
	case diff > seqHalf:
		near--
	case diff < -seqHalf:
		near++
	}
	err := errReplayed
	for _, cycle := range [...]uint64{near, near + 1, near - 1} {
		if cycle == 0 || !o.unheard && (cycle-1)<<16|seq <= last {
			continue
		}
		o.ctx.SetROC(from.SSRC, uint32(cycle-1))
		var plain []byte
		if plain, err = o.ctx.DecryptRTP(o.plain[:0], b, &o.header); err == nil {
			o.resumed, o.unheard = nil, false
			return plain, nil
		}
	}
	return nil, err
}

// rtcp is the same for reports.
func (o *opener) rtcp(b []byte, now time.Time) ([]byte, error) {
	if !o.locked {
		return b, nil
	}
	if o.reports == nil {
		return nil, errNoKey
	}
	plain, err := o.reports.DecryptRTCP(nil, b, nil)
	if err != nil && o.overlap(now) {
		return o.before.DecryptRTCP(nil, b, nil)
	}
	return plain, err
}

func (o *opener) overlap(now time.Time) bool {
	if o.before != nil && now.After(o.until) {
		o.before = nil
	}
	return o.before != nil
}

// sealer protects what we send. Its zero value protects nothing.
type sealer struct {
	locked  bool // nothing leaves unprotected
	key     sdp.Crypto
	ctx     *srtp.Context // nil while there is no key yet
	reports *srtp.Context // the same for reports
	name    string        // of the suite, for people
	resumed *sealed       // where the first key goes on; nil = at the beginning
	header  rtp.Header
}

// sealed is how far packets of ours had come under a key.
type sealed struct{ ssrc, cycles, reports uint32 }

// resumes makes the first key go on where another process has left it.
func (s *sealer) resumes(ssrc, cycles, reports uint32) { s.resumed = &sealed{ssrc, cycles, reports} }

// begin sets where a key goes on.
func (s *sealer) begin(media, reports *srtp.Context) {
	r := s.resumed
	if r == nil {
		return
	}
	if media != nil {
		media.SetROC(r.ssrc, r.cycles)
	}
	if reports != nil {
		reports.SetIndex(r.ssrc, r.reports)
	}
}

// cycles is the roll-over counter of the highest packet that left, or of the next
// one if none has yet.
func (s *sealer) cycles(ssrc uint32) uint32 {
	switch {
	case s.ctx != nil:
		roc, _ := s.ctx.ROC(ssrc)
		return roc
	case s.resumed != nil:
		return s.resumed.cycles
	}
	return 0
}

// reported is the index of the last reports that left.
func (s *sealer) reported(ssrc uint32) uint32 {
	if s.reports == nil {
		if s.resumed != nil {
			return s.resumed.reports
		}
		return 0
	}
	index, _ := s.reports.Index(ssrc)
	return index
}

// use takes over what was agreed on. Under the same key the roll-over counter
// goes on, as the peer's does.
func (s *sealer) use(p sdp.Protection) error {
	switch p.Keying {
	case sdp.Clear:
		*s = sealer{}
	case sdp.SDES:
		if s.ctx != nil && s.key.Equal(p.Ours) {
			return nil
		}
		ctx, err := newContext(p.Ours)
		if err != nil {
			return err
		}
		if s.ctx == nil {
			s.begin(ctx, ctx)
		}
		*s = sealer{locked: true, key: p.Ours, ctx: ctx, reports: ctx, name: p.Ours.Suite}
	default:
		if p.Keying == sdp.Pending || !s.key.Equal(sdp.Crypto{}) {
			*s = sealer{}
		}
		s.locked = true
	}
	return nil
}

// install goes on under another key, for media, reports or both.
func (s *sealer) install(ctx *srtp.Context, name string, media, reports bool) {
	s.locked = true
	if media {
		if s.ctx == nil {
			s.begin(ctx, nil)
		}
		s.ctx, s.name = ctx, name
	}
	if reports {
		if s.reports == nil {
			s.begin(nil, ctx)
		}
		s.reports = ctx
	}
}

// ready tells whether anything may leave.
func (s *sealer) ready() bool { return !s.locked || s.ctx != nil }

// rtp protects a packet in place; b needs room for maxTail more bytes.
func (s *sealer) rtp(b []byte) ([]byte, error) {
	if !s.locked {
		return b, nil
	}
	if s.ctx == nil {
		return nil, errNoKey
	}
	return s.ctx.EncryptRTP(b, b, &s.header)
}

// rtcp protects reports.
func (s *sealer) rtcp(b []byte) ([]byte, error) {
	if !s.locked {
		return b, nil
	}
	if s.reports == nil {
		return nil, errNoKey
	}
	return s.reports.EncryptRTCP(nil, b, nil)
}
