package main

import (
	"fmt"
	"io"
	"strings"

	"riptide/configs"
)

// printCluster says what a node does with the others of its cluster.
func printCluster(w io.Writer, cfg *configs.Config) {
	c := cfg.Cluster
	if c == nil {
		return
	}
	role := "takes calls"
	if cfg.Witness() {
		role = "is a witness: it stores and votes, and takes no calls"
	}
	fmt.Fprintf(w, "cluster: this node %s\n", role)
	if len(c.NATS) > 0 {
		fmt.Fprintf(w, "cluster: the store is kept by %s, which must have JetStream and three servers\n", strings.Join(c.NATS, ", "))
	}
	fmt.Fprintf(w, "cluster: listens on %s for the other nodes\n", c.Bind(cfg.Node))
	for _, n := range c.Nodes {
		if n.Name == cfg.Node {
			continue
		}
		kind := ""
		if n.Witness == "true" {
			kind = ", a witness"
		}
		fmt.Fprintf(w, "cluster: node %s at %s%s\n", n.Name, n.Address, kind)
	}
	majority := len(c.Nodes)/2 + 1
	fmt.Fprintf(w, "cluster: works as long as %d of %d nodes hear each other\n", majority, len(c.Nodes))
	alone := "lets go of its calls, which others may have"
	if c.CutOff == "carry-on" {
		alone = "goes on with its calls, even if others have them too"
	}
	fmt.Fprintf(w, "cluster: a node that hears fewer %s (cluster.cut-off)\n", alone)
}
