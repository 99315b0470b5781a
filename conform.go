package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"riptide/h3/conform"
	"riptide/policy/stir"
)

// exitUnjudged is the exit status of conform when nothing could be judged.
const exitUnjudged = 2

func conformCommand() *cli.Command {
	return &cli.Command{
		Name:      "conform",
		Usage:     "judge how a RIPT server, or a client, keeps the protocol",
		ArgsUsage: "https://HOST[:PORT]",
		Description: "Plays client against any RIPT server, or with --listen server against a client, and says\n" +
			"of each requirement of docs/spec/conformance.md whether the other side keeps it: one line each,\n" +
			"the totals last. What needs a number that is not given is skipped, and says which one.\n" +
			"Exit status 0: nothing failed. 1: something did. 2: nothing could be judged.",
		Flags:  append(append(conformFlags(), probeFlags()...), listenFlags()...),
		Action: runConform,
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			return unjudged(fmt.Errorf("%w (see riptide conform --help)", err))
		},
	}
}

func conformFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "json", Usage: "write the report as one JSON document"},
		&cli.StringSliceFlag{Name: "only", Usage: "judge requirement `NUMBER` only; may be repeated, or a list with commas"},
		&cli.BoolFlag{Name: "list", Usage: "list the requirements, judge nothing"},
		&cli.BoolFlag{Name: "quiet", Usage: "do not tell what is being done"},
		&cli.BoolFlag{Name: "self", Usage: "judge this program: a fresh server of ours, and then a fresh client"},
	}
}

// probeFlags are those of the judge of servers.
func probeFlags() []cli.Flag {
	number := func(name, usage string) cli.Flag {
		return &cli.StringFlag{Name: name, Category: "numbers at the server", Usage: "`NUMBER` " + usage}
	}
	server := func(f *cli.StringFlag) cli.Flag { f.Category = "judging a server"; return f }
	return []cli.Flag{
		server(&cli.StringFlag{Name: "client", Usage: "OAuth client `ID` by which the server knows us"}),
		server(&cli.StringFlag{Name: "key", Usage: "`FILE` with the private key of that client (P-256, PEM)"}),
		server(&cli.StringFlag{Name: "token", Usage: "`FILE` with an access token for the TG, where there is no login"}),
		server(&cli.StringFlag{Name: "roots", Usage: "`FILE` with the CA of the server's TLS certificate (default: the system's)"}),
		server(&cli.StringFlag{Name: "tg", Usage: "`URI` of the TG to use (default: the first that is listed)"}),
		server(&cli.StringFlag{Name: "identity-key", Usage: "`FILE` with the key that signs callers (default: a certificate is enrolled)"}),
		server(&cli.StringFlag{Name: "x5u", Usage: "`URL` of the certificate chain of --identity-key"}),
		&cli.DurationFlag{Name: "timeout", Category: "judging a server", Value: 5 * time.Second, Usage: "`TIME` for what should happen at once"},
		number("from", "of the caller (default: from the TG's originNumbers)"),
		number("to", "that answers and speaks (default: from the TG's destinations)"),
		number("declined", "that declines"),
		number("busy", "that is busy"),
		number("no-answer", "that rings until the far side gives up"),
		number("ringing", "that rings for longer than a minute"),
		number("early", "that speaks before it answers"),
		number("video", "that answers with video"),
		number("digits", "that answers and sends digits"),
		number("unreachable", "inside the destinations that nobody has"),
		number("forbidden", "outside the destinations (default: one that is not covered)"),
		number("private", "number@domain inside the destinations"),
	}
}

// listenFlags are those of the judge of clients.
func listenFlags() []cli.Flag {
	client := func(f *cli.StringFlag) cli.Flag { f.Category = "judging a client"; return f }
	return []cli.Flag{
		client(&cli.StringFlag{Name: "listen", Usage: "play server on `ADDR` (UDP and TCP; port 0: any free one)"}),
		client(&cli.StringFlag{Name: "authority", Usage: "`HOST:PORT` under which the client reaches us (default: that of --listen)"}),
		client(&cli.StringFlag{Name: "cert", Usage: "`FILE` with our TLS certificate (default: one is made and printed)"}),
		client(&cli.StringFlag{Name: "cert-key", Usage: "`FILE` with its key"}),
		&cli.IntFlag{Name: "calls", Category: "judging a client", Usage: "end after `N` calls (default: when every requirement had its call)"},
		&cli.DurationFlag{Name: "time", Category: "judging a client", Value: 10 * time.Minute, Usage: "end after `TIME` in any case"},
	}
}

func runConform(c *cli.Context) error {
	var modes []string
	for _, m := range []struct {
		name string
		on   bool
	}{{"a server to judge", c.Args().Present()}, {"--listen", c.String("listen") != ""}, {"--self", c.Bool("self")}, {"--list", c.Bool("list")}} {
		if m.on {
			modes = append(modes, m.name)
		}
	}
	for _, arg := range c.Args().Slice() {
		if strings.HasPrefix(arg, "-") {
			return unjudged(fmt.Errorf("%s stands behind %s: write flags first, the server last", arg, c.Args().First()))
		}
	}
	for _, id := range only(c) {
		if _, ok := conform.Lookup(id); !ok {
			return unjudged(fmt.Errorf("--only: there is no requirement %q (see riptide conform --list)", id))
		}
	}
	switch {
	case len(modes) == 0:
		return unjudged(errors.New("name what to judge: https://HOST of a server, or --listen ADDR for a client, or --self"))
	case len(modes) > 1 || c.Args().Len() > 1:
		return unjudged(fmt.Errorf("one thing at a time: %s", strings.Join(append(modes, c.Args().Tail()...), ", ")))
	case c.Bool("list"):
		return listRequirements(c.App.Writer)
	case c.Bool("self"):
		return conformSelf(c)
	case c.String("listen") != "":
		return conformClient(c)
	}
	return conformServer(c)
}

// unjudged says why there is no verdict.
func unjudged(err error) error { return cli.Exit("riptide conform: "+err.Error(), exitUnjudged) }

func listRequirements(w io.Writer) error {
	for _, r := range conform.Requirements() {
		if _, err := fmt.Fprintf(w, "%-5s %-6s %-6s %s\n", r.ID, r.Level, r.Side, r.Text); err != nil {
			return fmt.Errorf("write the list: %w", err)
		}
	}
	return nil
}

// progress tells on standard error what is being done, unless that is unwanted.
func progress(c *cli.Context) func(string) {
	if c.Bool("quiet") {
		return nil
	}
	return func(s string) { fmt.Fprintln(c.App.ErrWriter, "…", s) }
}

// only splits what --only lists.
func only(c *cli.Context) []string {
	var out []string
	for _, s := range c.StringSlice("only") {
		out = append(out, strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })...)
	}
	return out
}

// conformServer judges the server that the arguments name.
func conformServer(c *cli.Context) error {
	o := conform.Options{
		Server: c.Args().First(), ClientID: c.String("client"), TG: c.String("tg"), Timeout: c.Duration("timeout"),
		From: c.String("from"), To: c.String("to"), Declined: c.String("declined"), Busy: c.String("busy"),
		NoAnswer: c.String("no-answer"), Ringing: c.String("ringing"), Early: c.String("early"), Video: c.String("video"),
		Digits: c.String("digits"), Unreachable: c.String("unreachable"), Forbidden: c.String("forbidden"), Private: c.String("private"),
		Only: only(c), Progress: progress(c),
	}
	if err := readProbeFiles(c, &o); err != nil {
		return unjudged(err)
	}
	report, err := judgeServer(c.Context, o)
	if err != nil {
		return unjudged(err)
	}
	return conclude(c, report)
}

func readProbeFiles(c *cli.Context, o *conform.Options) (err error) {
	if o.Roots, err = readRoots(c.String("roots")); err != nil {
		return fmt.Errorf("--roots: %w", err)
	}
	if f := c.String("key"); f != "" {
		if o.Key, err = readKey(f); err != nil {
			return fmt.Errorf("--key: %w", err)
		}
	}
	if f := c.String("token"); f != "" {
		b, err := os.ReadFile(f)
		if err != nil {
			return fmt.Errorf("--token: %w", err)
		}
		o.Token = strings.TrimSpace(string(b))
	}
	f, url := c.String("identity-key"), c.String("x5u")
	if (f == "") != (url == "") {
		return errors.New("--identity-key and --x5u go together: the key, and where the chain of its certificate is published")
	}
	if f != "" {
		key, err := readKey(f)
		if err != nil {
			return fmt.Errorf("--identity-key: %w", err)
		}
		o.Identity = &conform.Signer{Key: key, X5U: url}
	}
	return nil
}

func readRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	b, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", file)
	}
	return pool, nil
}

func readKey(file string) (*ecdsa.PrivateKey, error) {
	b, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return nil, err
	}
	key, err := stir.ParseKey(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: want a private key on P-256", file)
	}
	return private, nil
}

func judgeServer(ctx context.Context, o conform.Options) (*conform.Report, error) {
	p, err := conform.NewProbe(o)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	return p.Run(ctx)
}

// conformClient plays server for the client that comes.
func conformClient(c *cli.Context) error {
	o := conform.ListenOptions{
		Addr: c.String("listen"), Authority: c.String("authority"), Calls: c.Int("calls"), Time: c.Duration("time"),
		ClientID: c.String("client"), Only: only(c), Progress: progress(c),
	}
	if c.String("cert") != "" {
		cert, err := tls.LoadX509KeyPair(c.String("cert"), c.String("cert-key"))
		if err != nil {
			return unjudged(fmt.Errorf("--cert and --cert-key: %w", err))
		}
		o.Certificate = &cert
	}
	quietQUIC()
	l, err := conform.NewListener(o)
	if err != nil {
		return unjudged(err)
	}
	defer l.Close()
	tellClient(c.App.ErrWriter, l)
	report, err := l.Run(c.Context)
	if err != nil {
		return unjudged(err)
	}
	return conclude(c, report)
}

// quietQUIC keeps the library from remarking, between the lines of a report, that
// the judge reads its packets itself.
func quietQUIC() { _ = os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true") }

// tellClient says what has to stand in the client's configuration.
func tellClient(w io.Writer, l *conform.Listener) {
	fmt.Fprintf(w, "Let the client connect to %s and place %d calls, any number to any other.\n", l.URL(), l.CallsWanted())
	if pem := l.CertificatePEM(); pem != nil {
		fmt.Fprintf(w, "It must trust this certificate (trunks.NAME.ript.roots):\n%s", pem)
	}
	fmt.Fprintf(w, "and this CA of callers, if calls come back to it (identity.roots):\n%s", l.IdentityPEM())
}

// conclude writes the report and turns it into an exit status.
func conclude(c *cli.Context, r *conform.Report) error {
	write := r.WriteText
	if c.Bool("json") {
		write = r.WriteJSON
	}
	if err := write(c.App.Writer); err != nil {
		return err
	}
	if r.Failed > 0 {
		return cli.Exit("", 1)
	}
	return nil
}
