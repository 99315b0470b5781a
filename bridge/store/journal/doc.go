// Package journal is the store of one node: a log in the state directory, an
// index of it in memory. What several calls write at the same time goes to the
// disk together, with one sync for all of it, and each is told only then.
//
// It knows buckets, keys and bytes, not calls. One process at a time holds a
// state directory. Values stay on the disk; a key takes about 200 bytes of memory.
//
//	Create, Put, Update, Delete --> index, batch --> one write, one sync --> nil to all of the batch
//	Get --> index --> segment
//	Watch <-- what became durable
//
// The log is a row of segments. When the oldest holds little that still counts,
// that is written again at the end, and the segment removed. A crash may leave
// half a batch at the end of the last one; nobody was told of it, and it is
// cut off at the next start. A disk may damage a record anywhere: that is left
// out, told of, and what is behind it read on.
package journal
