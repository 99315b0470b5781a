// Package stir answers who is calling: it signs and verifies PASSporTs
// (RFC 8225, RFC 8224, RFC 8588), reads and writes the telephone number lists
// of STIR certificates (RFC 8226), and issues such certificates.
//
// It is pure: clocks are passed in as time.Time, fetching a certificate is an
// injected function, and it never imports bridge. It must never learn where a
// call comes from or goes to, only who it is said to be from and to.
//
//	NewCSR --> CA.Issue --> chain + key --> NewSigner
//	Call + attestation + now --> Signer.Sign --> PASSporT
//	PASSporT + Call + now --> Verifier.Verify --> Verdict
//	              x5u --> Source.Chain --> Trust.Validate --> Credential
//
// Trust comes from the roots that the operator lists, never from the system's.
// Authority over a number comes from the certificate's TNAuthList, and each
// certificate stays within its issuer's (RFC 9060).
package stir
