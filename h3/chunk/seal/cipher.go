package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
)

// What is wrong with a chunk that does not open.
var (
	ErrKey    = errors.New("sealed with a key we do not have")
	ErrForged = errors.New("sealed with another key, or tampered with")
	ErrReplay = errors.New("sealed chunk seen before, or too old to tell")
)

// Cipher seals and opens with one derived key. It is not safe for use by several
// goroutines at once.
type Cipher struct {
	traits
	salt  [nonceLen]byte
	gcm   cipher.AEAD  // of the GCM suites
	block cipher.Block // of the others
	mac   hash.Hash

	// Kept here because what is passed to an interface escapes.
	nonce   [nonceLen]byte
	head    [24]byte
	counter [aes.BlockSize]byte
	stream  [aes.BlockSize]byte
	sum     [64]byte
	turned  []byte
}

// NewCipher derives the key and the salt of a key id from its base key. label is
// what stands behind the cipher suite in both labels of RFC 9605 section 4.4.2.
func NewCipher(suite Suite, kid uint64, base, label []byte) (*Cipher, error) {
	t, ok := suites[suite]
	if !ok {
		return nil, fmt.Errorf("cipher suite %d: want 1 to 5", uint16(suite))
	}
	secret, err := hkdf.Extract(t.hash, base, nil)
	if err != nil {
		return nil, fmt.Errorf("derive key %d: %w", kid, err)
	}
	expand := func(what string, n int) ([]byte, error) {
		info := append([]byte("SFrame 1.0 Secret "), what...)
		info = binary.BigEndian.AppendUint64(append(info, ' '), kid)
		info = append(binary.BigEndian.AppendUint16(info, uint16(suite)), label...)
		out, err := hkdf.Expand(t.hash, secret, string(info), n)
		if err != nil {
			return nil, fmt.Errorf("derive %s of key %d: %w", what, kid, err)
		}
		return out, nil
	}
	key, err := expand("key", t.aes+t.hmac)
	if err != nil {
		return nil, err
	}
	salt, err := expand("salt", nonceLen)
	if err != nil {
		return nil, err
	}
	c, err := newCipher(t, key)
	if err != nil {
		return nil, fmt.Errorf("key %d: %w", kid, err)
	}
	c.salt = [nonceLen]byte(salt)
	return c, nil
}

// newCipher makes a cipher of a key that has been derived; its salt is zero.
func newCipher(t traits, key []byte) (*Cipher, error) {
	block, err := aes.NewCipher(key[:t.aes])
	if err != nil {
		return nil, err
	}
	c := &Cipher{traits: t}
	if t.hmac > 0 {
		c.block, c.mac = block, hmac.New(t.hash, key[t.aes:])
		return c, nil
	}
	c.gcm, err = cipher.NewGCM(block)
	return c, err
}

// number makes the nonce of a counter.
func (c *Cipher) number(ctr uint64) {
	c.nonce = c.salt
	low := c.nonce[nonceLen-8:]
	binary.BigEndian.PutUint64(low, binary.BigEndian.Uint64(low)^ctr)
}

// Seal adds the auth tag and the ciphertext of plain to dst, which must not
// overlap it.
func (c *Cipher) Seal(dst []byte, ctr uint64, aad, plain []byte) []byte {
	c.number(ctr)
	var room [16]byte
	start := len(dst)
	dst = append(dst, room[:c.tagLen]...)
	body := len(dst)
	if c.gcm == nil {
		dst = append(dst, plain...)
		c.crypt(dst[body:])
		copy(dst[start:body], c.tag(aad, dst[body:]))
		return dst
	}
	dst = c.gcm.Seal(dst, c.nonce[:], plain, aad)
	end := len(dst) - c.tagLen
	copy(dst[start:body], dst[end:])
	return dst[:end]
}

// Open adds the plaintext of sealed to dst, which must not overlap it. The error
// is ErrForged.
func (c *Cipher) Open(dst []byte, ctr uint64, aad, sealed []byte) ([]byte, error) {
	if len(sealed) < c.tagLen {
		return dst, ErrForged
	}
	c.number(ctr)
	tag, body := sealed[:c.tagLen], sealed[c.tagLen:]
	if c.gcm == nil {
		if subtle.ConstantTimeCompare(tag, c.tag(aad, body)) != 1 {
			return dst, ErrForged
		}
		start := len(dst)
		dst = append(dst, body...)
		c.crypt(dst[start:])
		return dst, nil
	}
	c.turned = append(append(c.turned[:0], body...), tag...)
	out, err := c.gcm.Open(dst, c.nonce[:], c.turned, aad)
	if err != nil {
		return dst, ErrForged
	}
	return out, nil
}

// crypt is AES in counter mode from block 0 of the nonce on, in place (RFC 9605
// section 4.5.1). That of the standard library would allocate a stream for every
// chunk.
func (c *Cipher) crypt(b []byte) {
	copy(c.counter[:], c.nonce[:])
	for n := uint32(0); len(b) > 0; n++ {
		binary.BigEndian.PutUint32(c.counter[nonceLen:], n)
		c.block.Encrypt(c.stream[:], c.counter[:])
		b = b[subtle.XORBytes(b, b, c.stream[:]):]
	}
}

// tag is the truncated HMAC of RFC 9605 section 4.5.1.
func (c *Cipher) tag(aad, ct []byte) []byte {
	binary.BigEndian.PutUint64(c.head[0:], uint64(len(aad)))
	binary.BigEndian.PutUint64(c.head[8:], uint64(len(ct)))
	binary.BigEndian.PutUint64(c.head[16:], uint64(c.tagLen))
	c.mac.Reset()
	for _, b := range [...][]byte{c.head[:], c.nonce[:], aad, ct} {
		_, _ = c.mac.Write(b) // a hash never fails (hash.Hash)
	}
	return c.mac.Sum(c.sum[:0])[:c.tagLen]
}
