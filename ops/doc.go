// Package ops is what is going on: the admin server with health and metrics,
// and the log. main hands it what there is to show, as functions that return
// snapshots; nothing that carries calls knows of it.
//
// It must never hold up a call: what a call tells it is counted in memory, and
// everything else is asked for when somebody looks.
//
//	bridge, sip, h3, store --> snapshots --> own registry --> GET /metrics   (loopback only)
package ops
