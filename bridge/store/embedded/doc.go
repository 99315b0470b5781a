// Package embedded is the store that nodes share (a node by itself has package
// store/journal): a NATS JetStream, inside the process as one of several servers
// over mutual TLS, or somebody else's. One stream per bucket keeps one value per
// key on three of them, and every write is on the disks of a majority before it is
// acknowledged, so that it survives the death of a node and the loss of power.
//
// It knows buckets, keys and bytes, not calls. One process at a time holds a
// state directory.
//
//	Create, Put, Update, Delete --> in-process connection --> JetStream --> fsync on two of three --> nil
//	Watch <-- ordered consumer <--------------------------------+
package embedded
