// Package stir answers who is calling: it signs and verifies PASSporTs
// (RFC 8225, RFC 8224, RFC 8588), reads and writes the telephone number lists
// of STIR certificates (RFC 8226), and issues such certificates.
//
// It is pure: clocks are passed in as time.Time, fetching a certificate is an
// injected function, and it never imports bridge.
//
//	claims + key  --> Sign   --> PASSporT
//	PASSporT + call + chain + now --> Verify --> Verdict
package stir
