// Package setup makes what a new riptide box needs before its first start: a
// private CA and the TLS certificate it signs, the key with which the box asks
// its peers for tokens, a CA for caller identity certificates, and a
// configuration file that names them all.
//
// It writes files and knows no network. `riptide init` and `riptide demo` are
// its users; nothing it makes replaces a file that is already there.
//
//	Options --> Create --> ca.crt tls.crt tls.key client.key client.pub stir-ca.crt stir-ca.key
//
//	Nodes --> CreateNodes --> nodes-ca.crt cluster.key, and NAME.crt NAME.key of each box that shares a store
//
// A peer needs three of them, none of them secret: ca.crt, client.pub and
// stir-ca.crt.
package setup
