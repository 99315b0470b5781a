// Package cluster says which node may touch which call, where several share one
// store. It knows names of nodes and ids of calls, and nothing of what a call is.
//
//	          beats, 5 a second              claims
//	node A <------------------> node B    A: "call 7, epoch 3, was C's?"
//	   \                         /        B: "granted" | "C lives" | "is B's"
//	    \------> node C <-------/         a majority of grants: A has it
//
// Five rules, of which the last four are a pure function of what was heard and
// when (roll.go, give.go), so that a test can play every order of events to it:
//
//  1. A node holds its calls by a lease. Each node sends a beat every 200 ms,
//     which says whose beats it heard; a node has the lease while a majority of
//     the configured nodes has heard a beat that it sent in the last 2.2 s. It
//     measures that by its own clock alone. Without the lease it lets go of
//     nothing on record, but is silent: no media, no signalling.
//  2. To touch a call that another process had, a node asks all nodes for the
//     call at the next epoch, and needs the grants of a majority. A node grants
//     an epoch of a call once.
//  3. It grants only against an owner that is dead: it said goodbye, or its
//     cluster address refuses connections (no process), or its beats have been
//     missing for 3 s. From then on it confirms no beat of that owner's term any
//     more. Since two majorities have a node in common, the owner lost its lease
//     at least 0.8 s before anybody gets its calls.
//  4. A lease that was lost comes back as a new term. What the node holds from
//     before it claims again, like what others had, call by call: whoever gets
//     the grants has it.
//  5. A living owner may give a call: it lets go of it, and then gives another
//     node its word that it touches the call no more by what it was granted up to
//     this term of its own and this epoch of the call. A claim that carries this
//     word is granted as if the owner were dead, unless whoever votes knows of a
//     later grant. The owner itself claims a call that it gave at a later epoch
//     than that only, like anybody else. So a word may be lost, late, or given to
//     two: one of them gets the call, or the owner gets it back.
//
// A claim needs no write: it takes a few milliseconds also while the store
// elects a leader (6 to 7 s). The write follows, and a record with a lower epoch
// never wins over one with a higher.
//
// What it takes for granted: clocks that run at the same speed within a few per
// cent; a firewall between nodes that drops what it does not want, since one
// that answers with resets makes a living node look dead for the 2.2 s until it
// is silent.
//
// For the bridge:
//
//	m, err := cluster.Join(cluster.Config{...})
//	epoch, err := m.Claim(ctx, call, record.Node, record.Epoch+1) // also of our own, after a restart or a lost lease
//	note, err := m.Ask(ctx, call, record.Node)   // has a living owner give it; then Claim
//	err := m.Give(call, record.Epoch, node, note) // after the last touch
//	lease, changed := m.Lease()  // not Held: be silent; changed is closed at the next change
//	m.Goodbye()                  // after the last call was let go
//	m.Leave()
package cluster
