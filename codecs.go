package main

import (
	"slices"

	"riptide/bridge"
	"riptide/configs"
)

// codecsOf is a trunk's policy; empty means everything.
func codecsOf(t configs.Trunk) []bridge.Codec {
	var out []bridge.Codec
	for _, name := range t.Codecs {
		if c, ok := bridge.CodecNamed(string(name)); ok {
			out = append(out, c)
		}
	}
	return out
}

// reachable are the codecs in which calls from a trunk can be continued: what any
// trunk that they are routed to takes, and what we can convert to it. Empty means
// everything. A RIPT caller is told what to send before its callee is asked, so
// this has to be known beforehand.
func reachable(cfg *configs.Config, t configs.Trunk) []bridge.Codec {
	var out []bridge.Codec
	add := func(codecs []bridge.Codec) {
		for _, c := range codecs {
			if !slices.Contains(out, c) {
				out = append(out, c)
			}
		}
	}
	for _, r := range cfg.Routes {
		for _, name := range r.Trunk {
			to, ok := cfg.Trunk(name)
			if !ok || r.From != "" && r.From != t.Name {
				continue
			}
			codecs := codecsOf(to)
			if len(codecs) == 0 {
				return nil
			}
			add(codecs)
			if slices.ContainsFunc(codecs, bridge.Codec.Converts) {
				add(bridge.Convertible())
			}
		}
	}
	return out
}
