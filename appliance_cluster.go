package main

import (
	"context"

	"riptide/bridge"
	"riptide/configs"
)

// shared adds what a bridge knows of the other nodes, if there are any.
func (a *appliance) shared(cfg *configs.Config, c bridge.Config) bridge.Config {
	if a.members == nil {
		return c
	}
	c.Members, c.CarryOn = a.members, cfg.Cluster.CutOff == "carry-on"
	for _, n := range cfg.Cluster.Nodes {
		if n.Witness != "true" {
			c.Takers = append(c.Takers, n.Name)
		}
	}
	return c
}

// claim is whom an edge asks about a leg that it does not know, nil without a
// cluster: then nobody else can have had it.
func (a *appliance) claim() func(ctx context.Context, leg string) (bool, error) {
	if a.members == nil {
		return nil
	}
	return a.bridge.Claim
}

// forward is by whom the SIP side sends what came here for calls of other nodes.
func (a *appliance) forward() func(callID, node string, data []byte) bool {
	if a.members == nil {
		return nil
	}
	return a.bridge.Forward
}

// goodbye tells the other nodes that no call is served here any more. What could
// not be left in time is silent from then on.
func (a *appliance) goodbye() {
	if a.members == nil {
		return
	}
	if err := a.members.Goodbye(); err != nil {
		a.logger.Warn("the other nodes find out only by themselves that this one stops", "error", err)
	}
}
