package sealed

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"

	"riptide/bridge/store"
)

const (
	version   = 1
	headerLen = 1 + idLen
)

// place is where a value belongs, as it is bound to it. Neither part holds a
// NUL (store.Check).
func place(b store.Bucket, name string) string {
	return "riptide store 1\x00" + string(b) + "\x00" + name
}

// seal seals a value for its place.
func (r Ring) seal(b store.Bucket, name string, value []byte) ([]byte, error) {
	if len(r.keys) == 0 {
		return nil, errors.New("no key to seal with")
	}
	k := r.keys[0]
	aead, err := k.aead(b, name)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, store.SealOverhead+len(value))
	out = append(append(out, version), k.id[:]...)
	return aead.Seal(out, nil, value, out), nil
}

// open opens what seal sealed. Any bytes may come.
func (r Ring) open(b store.Bucket, name string, value []byte) ([]byte, error) {
	if len(value) < headerLen || value[0] != version {
		return nil, errors.New("is not sealed, or by a newer release")
	}
	id := [idLen]byte(value[1:headerLen])
	k, ok := r.find(id)
	if !ok {
		return nil, fmt.Errorf("was sealed with key %x, and the key file has %v (add the key with which it was written as a further line)", id, r)
	}
	aead, err := k.aead(b, name)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, value[headerLen:], value[:headerLen])
	if err != nil {
		return nil, errors.New("is damaged, or was written for another place")
	}
	return plain, nil
}

// told is the place of what nodes tell each other beside the store.
const told store.Bucket = "told"

// Tell seals what one node tells another.
func (r Ring) Tell(value []byte) ([]byte, error) { return r.seal(told, "", value) }

// Told opens it.
func (r Ring) Told(value []byte) ([]byte, error) { return r.open(told, "", value) }

// aead is the cipher of one place.
func (k key) aead(b store.Bucket, name string) (cipher.AEAD, error) {
	secret, err := hkdf.Expand(sha256.New, k.secret[:], place(b, name), secretLen)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
