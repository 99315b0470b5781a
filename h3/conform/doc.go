// Package conform judges RIPT implementations from outside: it plays the client
// against a server (Probe), or the server against a client (Listener), and says
// of every requirement of the protocol whether the other side keeps it.
//
//	Probe    --HTTP/3, as a client, right and wrong-->  server under test
//	Listener <--HTTP/3, as a server, right and wrong--  client under test
//	both     --> Report: one line per requirement
//
// It is an independent judge: it has its own HTTP client and server, its own
// reader of event streams and its own writer of chunks, and imports nothing of
// package h3. From h3/chunk and h3/advert it takes parsers only; what it sends,
// valid or not, it writes itself.
//
// Requirements are numbered as in docs/spec/conformance.md: 1 to 120 are those of
// the core draft, A1 to A63 the points that the drafts left open, as they are
// settled in docs/spec/baseline.md.
package conform
