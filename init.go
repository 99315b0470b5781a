package main

import (
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"riptide/configs"
	"riptide/configs/setup"
	"riptide/policy"
)

func initCommand() *cli.Command {
	return &cli.Command{
		Name:      "init",
		Usage:     "make the keys, certificates and first configuration of a box",
		ArgsUsage: "DIR",
		Description: "Writes a private CA, a TLS certificate, the key for token requests, a CA for caller\n" +
			"identity certificates and a commented riptide.yaml into DIR. Nothing is overwritten.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "node", Usage: "`NAME` of the box in certificates, logs and records", Value: configs.Default().Node},
			&cli.StringFlag{Name: "authority", Usage: "`HOST:PORT` at which peers reach our RIPT server", Required: true},
			&cli.StringFlag{Name: "sip", Usage: "`ADDR` on which to listen for SIP", Value: "127.0.0.1:5060"},
			&cli.StringSliceFlag{Name: "number", Usage: "`PATTERN` of our own numbers, such as +1202555xxxx; may be repeated"},
		},
		Action: func(c *cli.Context) error {
			if c.Args().Len() != 1 {
				return fmt.Errorf("init wants exactly one directory, such as: riptide init --authority sip.example.net:8443 /etc/riptide")
			}
			dir, err := filepath.Abs(c.Args().First())
			if err != nil {
				return fmt.Errorf("resolve directory %q: %w", c.Args().First(), err)
			}
			if err := initBox(c, dir); err != nil {
				return err
			}
			printInit(c, dir)
			return nil
		},
	}
}

func initBox(c *cli.Context, dir string) error {
	host, port, err := net.SplitHostPort(c.String("authority"))
	if err != nil {
		return fmt.Errorf("--authority %q is not host:port: %w", c.String("authority"), err)
	}
	var numbers []policy.Pattern
	for _, s := range c.StringSlice("number") {
		p, err := policy.ParsePattern(s)
		if err != nil {
			return fmt.Errorf("--number: %w", err)
		}
		numbers = append(numbers, p)
	}
	text, err := setup.Starter{
		Node: c.String("node"), SIP: c.String("sip"), Authority: c.String("authority"),
		Listen: net.JoinHostPort("::", port), Numbers: numbers,
	}.Text()
	if err != nil {
		return err
	}
	// What check would say about it is said before there is a file.
	if _, problems := configs.Parse(setup.ConfigFile, text); len(problems) > 0 {
		return fmt.Errorf("these flags make no good configuration: %w", configs.Problems(problems))
	}
	err = setup.Create(setup.Options{Dir: dir, Node: c.String("node"), Hosts: []string{host}, Numbers: numbers, Now: time.Now()})
	if err != nil {
		return fmt.Errorf("set up %s: %w", dir, err)
	}
	return setup.WriteConfig(dir, text)
}

func printInit(c *cli.Context, dir string) {
	config := filepath.Join(dir, setup.ConfigFile)
	fmt.Fprintf(c.App.Writer, `Made keys, certificates and %s.

Give your peer these three files; none of them is secret:
  %s  the CA of your TLS certificate
  %s  the key that your token requests are signed with
  %s  the CA of the caller identity certificates you issue
Get the same three from the peer, name them in %s under trunks, then:
  riptide check -c %s
  riptide serve -c %s
`, config, filepath.Join(dir, setup.CACert), filepath.Join(dir, setup.ClientPub), filepath.Join(dir, setup.StirCACert),
		config, config, config)
}
