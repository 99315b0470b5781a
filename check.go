package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/urfave/cli/v2"

	"riptide/configs"
	"riptide/sip"
)

func checkCommand() *cli.Command {
	return &cli.Command{
		Name:  "check",
		Usage: "validate a configuration and report every mistake",
		Description: "Reads the configuration and the keys and certificates it names, as serve would,\n" +
			"and starts nothing. Each mistake is one line: file, line, what is wrong, what mends it.\n" +
			"Exit status 0: serve would start. 78: it would not.\n\n" +
			"With --trunk and --number it tries a number out: what each rule makes of it as the peer of\n" +
			"that trunk dials it, which route takes the call, how it is dialled there; or which rule\n" +
			"refuses it, with exit status 1.",
		Flags: []cli.Flag{
			configFlag(),
			&cli.StringFlag{Name: "trunk", Usage: "try a call that comes from trunk `NAME`"},
			&cli.StringFlag{Name: "number", Usage: "try a call to `NUMBER`, as that trunk's peer dials it"},
			&cli.StringFlag{Name: "caller", Usage: "try it with `NUMBER` as the caller; default: one that the trunk may show"},
		},
		Before: noArguments,
		Action: func(c *cli.Context) error {
			cfg, err := loadConfig(c)
			if err != nil {
				return err
			}
			d := dialled{trunk: c.String("trunk"), number: c.String("number"), caller: c.String("caller")}
			switch {
			case d == dialled{}:
				return printCheck(c.Context, c.App.Writer, c.String("config"), cfg)
			case d.trunk == "" || d.number == "":
				return errors.New("to try a number, give both --trunk and --number")
			}
			return tryNumber(c.App.Writer, cfg, d)
		},
	}
}

// printCheck says what a good configuration would do.
func printCheck(ctx context.Context, w io.Writer, path string, cfg *configs.Config) error {
	fmt.Fprintf(w, "%s is good.\n\n", path)
	fmt.Fprintf(w, "node %s, state in %s, admin on http://%s\n", cfg.Node, cfg.State, cfg.Admin)
	printCluster(w, cfg)
	if cfg.Witness() {
		return nil
	}
	for _, l := range cfg.SIP.Listen {
		fmt.Fprintf(w, "SIP on %s\n", l.Say())
	}
	fmt.Fprintf(w, "RTP on %s ports %s\n", list(cfg.SIP.Media.Address), cfg.SIP.Media.Ports)
	shown, err := presences(ctx, cfg)
	if err != nil {
		return fmt.Errorf("find out what SIP peers are shown: %w", err)
	}
	if cfg.RIPT.Listen.IsValid() {
		fmt.Fprintf(w, "RIPT on %s (HTTP/3 and HTTP/2) as https://%s\n", cfg.RIPT.Listen, cfg.RIPT.Authority)
	}
	for _, t := range cfg.Trunks {
		switch {
		case t.SIP != nil:
			fmt.Fprintf(w, "trunk %s: SIP to %s, requests accepted from %s\n", t.Name, sipPeer(t.SIP), sipSources(t.SIP))
			printPresence(w, shown[t.Name])
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
		fmt.Fprintf(w, "route: from %s to %s goes to %s\n", r.From, r.To, strings.Join(r.Trunk, ", then "))
	}
	return nil
}

// presences are what SIP trunks will be shown of this box, by name.
func presences(ctx context.Context, cfg *configs.Config) (map[string]sip.Presence, error) {
	c, err := sipConfig(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	list, err := sip.Present(ctx, c)
	if err != nil {
		return nil, err
	}
	shown := map[string]sip.Presence{}
	for _, p := range list {
		shown[p.Trunk] = p
	}
	return shown, nil
}

func printPresence(w io.Writer, p sip.Presence) {
	if p.Contact != "" {
		fmt.Fprintf(w, "trunk %s: is shown Contact %s, Via %s, SDP %s; spoken to from %s\n", p.Trunk, p.Contact, p.Via, p.Media, p.From)
	}
	for _, warning := range p.Warnings {
		fmt.Fprintf(w, "trunk %s: WARNING: %s\n", p.Trunk, warning)
	}
}

// list is values in one line.
func list[T fmt.Stringer](values []T) string { return strings.Join(texts(values), ", ") }

// sipPeer says where calls to a SIP trunk go.
func sipPeer(t *configs.SIPTrunk) string {
	if t.Peer.Host == "" {
		return "where its users register"
	}
	return fmt.Sprintf("%s over %s", t.Peer, t.Transport)
}

// sipSources says who may send on a SIP trunk.
func sipSources(t *configs.SIPTrunk) string {
	switch {
	case t.Anywhere():
		return "users with passwords, anywhere"
	case len(t.Match) == 0 && t.TLS != nil && t.TLS.Client == "required":
		return "whoever shows the peer's certificate"
	}
	return fmt.Sprint(t.Match)
}
