package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"riptide/configs"
)

func checkCommand() *cli.Command {
	return &cli.Command{
		Name:  "check",
		Usage: "validate a configuration and report every mistake",
		Description: "Reads the configuration and the keys and certificates it names, as serve would,\n" +
			"and starts nothing. Each mistake is one line: file, line, what is wrong, what mends it.\n" +
			"Exit status 0: serve would start. 78: it would not.",
		Flags:  []cli.Flag{configFlag()},
		Before: noArguments,
		Action: func(c *cli.Context) error {
			path := c.String("config")
			cfg, err := configs.Load(path)
			if err != nil {
				return cli.Exit(err.Error(), exitConfig)
			}
			return printCheck(c.App.Writer, path, cfg)
		},
	}
}

// printCheck says what a good configuration would do.
func printCheck(w io.Writer, path string, cfg *configs.Config) error {
	fmt.Fprintf(w, "%s is good.\n\n", path)
	fmt.Fprintf(w, "node %s, state in %s, admin on http://%s\n", cfg.Node, cfg.State, cfg.Admin)
	for _, l := range cfg.SIP.Listen {
		fmt.Fprintf(w, "SIP on %s\n", l.Say())
	}
	fmt.Fprintf(w, "SIP peers are shown %s; RTP on %s ports %s\n", list(cfg.SIP.Advertise), list(cfg.SIP.Media.Address), cfg.SIP.Media.Ports)
	if cfg.RIPT.Listen.IsValid() {
		fmt.Fprintf(w, "RIPT on %s (HTTP/3 and HTTP/2) as https://%s\n", cfg.RIPT.Listen, cfg.RIPT.Authority)
	}
	for _, t := range cfg.Trunks {
		switch {
		case t.SIP != nil:
			fmt.Fprintf(w, "trunk %s: SIP to %s over %s, requests accepted from %v\n", t.Name, t.SIP.Peer, t.SIP.Transport, t.SIP.Match)
		case t.RIPT != nil:
			switch {
			case t.RIPT.Connect != "":
				fmt.Fprintf(w, "trunk %s: RIPT calls to %s as client %q\n", t.Name, t.RIPT.Connect, t.RIPT.Client)
			default:
				fmt.Fprintf(w, "trunk %s: RIPT calls to the trunk group that client %q registers here\n", t.Name, t.RIPT.Accept.Client)
			}
			if t.RIPT.Inbound == "true" {
				fmt.Fprintf(w, "trunk %s: %s is told to call us at https://%s\n", t.Name, t.RIPT.Connect, cfg.RIPT.Authority)
			}
			if t.RIPT.Accept != nil {
				fmt.Fprintf(w, "trunk %s: RIPT calls from client %q\n", t.Name, t.RIPT.Accept.Client)
			}
		}
	}
	for _, r := range cfg.Routes {
		fmt.Fprintf(w, "route: from %s to %s goes to %s\n", r.From, r.To, r.Trunk)
	}
	return nil
}

// list is values in one line.
func list[T fmt.Stringer](values []T) string { return strings.Join(texts(values), ", ") }
