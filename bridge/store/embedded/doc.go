// Package embedded is the store that nodes share (a node by itself has package
// store/journal, which is faster): a NATS JetStream inside the process. One that
// is not part of a cluster has no port; nobody but the process reaches it. One
// stream per bucket keeps one value per key in the state directory, and every write is
// synced to the disk before it is acknowledged, so that it survives the death
// of the process and the loss of power.
//
// It knows buckets, keys and bytes, not calls. One process at a time holds a
// state directory.
//
//	Create, Put, Update, Delete --> in-process connection --> JetStream --> fsync --> nil
//	Watch <-- ordered consumer <--------------------------------+
package embedded
