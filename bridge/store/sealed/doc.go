// Package sealed keeps the values of secret buckets unreadable to whoever has
// only the store: its files, a backup of them, or an external NATS. Call
// records hold the numbers and names of people who talk, and the keys of their
// media; stored responses the numbers.
//
// It knows keys and bytes, not what is in them.
//
//	bridge --> sealed.Store --> embedded or external store
//	               |
//	           Ring (the file store.key)
//
// A value is sealed with AES-256-GCM under a key of its own, which is derived
// (HKDF-Expand, RFC 5869) from the ring's first key and from the place of the
// value. So a value that somebody moves to another place does not open there,
// and no key comes near the number of random nonces that GCM bears (NIST SP
// 800-38D section 8.3), however many calls a box carries in its life.
//
//	version (1) | key id (4) | nonce (12) | ciphertext | tag (16)
package sealed
