package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"riptide/h3/media"
)

func demoCommand() *cli.Command {
	return &cli.Command{
		Name:  "demo",
		Usage: "start two bridges, office and telco, and call through them",
		Description: "Both run on this machine with fresh keys, certificates, tokens and trunks in a temporary\n" +
			"directory, and are joined over HTTP/3 on loopback. Any number in " + demoNumbers + " may call any other.\n" +
			"Without --call it runs until it is interrupted.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "sip", Value: "127.0.0.1:5060", Usage: "`ADDR` on which the office listens for SIP (port 0: any free one)"},
			&cli.StringFlag{Name: "telco-sip", Value: "127.0.0.1:5070", Usage: "`ADDR` on which the telco listens for SIP"},
			&cli.StringFlag{Name: "to", Usage: "`ADDR` of a SIP peer behind the telco that gets the calls (default: a built-in answerer that plays a tone and echoes)"},
			&cli.StringFlag{Name: "from", Usage: "`ADDR` of a SIP peer behind the office that gets calls made the other way (default: as above)"},
			&cli.BoolFlag{Name: "call", Usage: "place one call in each direction, judge what was heard, and exit"},
			&cli.BoolFlag{Name: "failover", Usage: "place calls, do them harm (--fault), print for how long each end heard nothing, and exit"},
			&cli.IntFlag{Name: "calls", Value: 1, Usage: "how many `CALLS` --failover places"},
			&cli.StringFlag{Name: "fault", Value: "kill-server", Usage: "what --failover does: " + faultWords()},
			&cli.IntFlag{Name: "nodes", DefaultText: "2 if a balancer is found", Usage: "how many `NODES` of the telco take calls in --failover: 1, or 2 that share a store, with a witness, behind a balancer; two of the office too where the fault hits that"},
			&cli.StringFlag{Name: "balancer", Usage: "the balancer before two nodes: " + balancerWords() + " (default: the first that is found)"},
			&cli.StringFlag{Name: "timers", Value: "drafts", Usage: "after what time without an acknowledgement a call is looked for elsewhere in --failover: `drafts` (1s) or ours (300ms), by trunks.NAME.ript.silence"},
			&cli.DurationFlag{Name: "listen", Value: failoverAfter, Usage: "for how `LONG` every end has to hear without a pause in --failover, after the fault"},
			&cli.BoolFlag{Name: "json", Usage: "write the outcome of --failover as JSON"},
			&cli.BoolFlag{Name: "tcp", Usage: "reach --to and --from over TCP"},
			&cli.StringFlag{Name: "media", Value: "auto", Usage: "how media cross HTTP/3: `auto` (the best that works), trunk, webtransport, striped or put-get"},
			&cli.StringFlag{Name: "dir", Usage: "make keys, configurations and logs in `DIR` and leave them there (default: a temporary directory, removed)"},
			&cli.BoolFlag{Name: "verbose", Usage: "let the nodes log everything"},
		},
		Before: noArguments,
		Action: runDemo,
	}
}

// demo is one run: two nodes, and the telephones at either end.
type demo struct {
	out           io.Writer
	dir           string
	office, telco demoSide
	nodes         []*demoNode // each that was started, as it is now
	front         *demoFront  // the balancer before the telco; nil = none
	pbx, carrier  *telephone  // nil where a flag names a real peer
}

func runDemo(c *cli.Context) (err error) {
	f, err := failoverFlags(c)
	if err != nil {
		return err
	}
	d, err := newDemo(c, f)
	if err != nil {
		return err
	}
	if c.String("dir") == "" {
		defer func() { _ = os.RemoveAll(d.dir) }()
	}
	defer d.stop()
	if c.Bool("failover") {
		return d.failover(c.Context, f)
	}
	if err := d.start(c.Context); err != nil {
		return err
	}
	d.explain()
	if c.Bool("call") {
		return d.callBothWays(c.Context)
	}
	return d.wait(c.Context)
}

// newDemo looks at the flags and finds addresses for everything.
func newDemo(c *cli.Context, f failover) (*demo, error) {
	d := &demo{out: c.App.Writer}
	var err error
	if d.dir, err = demoDir(c.String("dir")); err != nil {
		return nil, err
	}
	level := "info"
	if c.Bool("verbose") {
		level = "debug"
	}
	if m := c.String("media"); m != media.Auto && !slices.Contains(media.RungNames(), m) {
		return nil, fmt.Errorf("--media %q: want %s or one of %s", m, media.Auto, strings.Join(media.RungNames(), ", "))
	}
	d.office = demoSide{Name: "office", Peer: "telco", SIPTrunk: "pbx", SIPPeer: c.String("from"), Ports: "16384-24575"}
	d.telco = demoSide{Name: "telco", Peer: "office", SIPTrunk: "carrier", SIPPeer: c.String("to"), Ports: "24576-32767"}
	for _, s := range []struct {
		side *demoSide
		flag string
	}{{&d.office, "sip"}, {&d.telco, "telco-sip"}} {
		s.side.Dir, s.side.Node = filepath.Join(d.dir, s.side.Name), s.side.Name
		s.side.Numbers, s.side.Media, s.side.LogLevel = demoNumbers, c.String("media"), level
		s.side.SIPTransport = "udp"
		if s.side.SIPPeer != "" && c.Bool("tcp") {
			s.side.SIPTransport = "tcp"
		}
		if err := s.side.addresses(s.flag, c.String(s.flag)); err != nil {
			return nil, err
		}
	}
	if err := d.checkLoops(); err != nil {
		return nil, err
	}
	if c.Bool("failover") {
		if err := d.layOut(f); err != nil {
			return nil, err
		}
	}
	d.office.PeerRIPT, d.office.PeerDir = d.telco.RIPT, d.telco.Dir
	d.telco.PeerRIPT, d.telco.PeerDir = d.office.RIPT, d.office.Dir
	if d.front != nil {
		d.telco.PeerRIPT = "" // nobody calls the office, which has no balancer
	}
	return d, nil
}

func demoDir(dir string) (string, error) {
	if dir == "" {
		dir, err := os.MkdirTemp("", "riptide-demo-")
		if err != nil {
			return "", fmt.Errorf("make a temporary directory: %w", err)
		}
		return dir, nil
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("resolve --dir: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make --dir: %w", err)
	}
	return dir, nil
}

// addresses settles where a side listens. Nothing is bound yet: the child does
// that; a port that somebody else has is found here, where the flag is known.
func (s *demoSide) addresses(flag, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	if err != nil || ip == nil {
		return fmt.Errorf("--%s %q: want an IP address and a port, such as 127.0.0.1:5060", flag, addr)
	}
	if ip.IsUnspecified() {
		return fmt.Errorf("--%s %q: a wildcard says not where telephones reach us; name one address of this machine, such as 192.0.2.10:5060", flag, addr)
	}
	if port == "0" {
		if addr, err = freeAddr(host); err != nil {
			return err
		}
	}
	if err := checkFree(flag, addr); err != nil {
		return err
	}
	s.SIP = addr
	if s.RIPT, err = freeAddr(host); err != nil {
		return err
	}
	s.Listen = s.RIPT
	if s.Admin, err = freeAddr("127.0.0.1"); err != nil {
		return err
	}
	s.Match = []string{"127.0.0.0/8", "::1/128"}
	peer, _, _ := net.SplitHostPort(s.SIPPeer)
	for _, from := range []string{host, peer} {
		ip, err := netip.ParseAddr(from)
		if prefix := netip.PrefixFrom(ip, ip.BitLen()).String(); err == nil && !ip.IsLoopback() && !slices.Contains(s.Match, prefix) {
			s.Match = append(s.Match, prefix)
		}
	}
	return nil
}

// checkLoops refuses addresses under which a node would meet the other one, or
// send a call back to itself.
func (d *demo) checkLoops() error {
	if d.office.SIP == d.telco.SIP {
		return fmt.Errorf("--sip and --telco-sip are both %s; choose another address for one of them, for example --telco-sip 127.0.0.1:0", d.office.SIP)
	}
	for flag, peer := range map[string]string{"to": d.telco.SIPPeer, "from": d.office.SIPPeer} {
		if peer == "" {
			continue
		}
		at := peer
		if _, _, err := net.SplitHostPort(peer); err != nil {
			at = net.JoinHostPort(strings.Trim(peer, "[]"), "5060")
		}
		for _, s := range []demoSide{d.office, d.telco} {
			if at == s.SIP {
				return fmt.Errorf("--%s %s is where the %s itself listens: a call would go round in circles; name your SIP peer, with its port", flag, peer, s.Name)
			}
		}
	}
	return nil
}

func (d *demo) start(ctx context.Context) error {
	for _, s := range []demoSide{d.office, d.telco} {
		if err := s.makeKeys(); err != nil {
			return err
		}
	}
	var err error
	if d.carrier, err = d.telephoneFor(&d.telco, toneCarrier); err != nil {
		return err
	}
	if d.pbx, err = d.telephoneFor(&d.office, tonePBX); err != nil {
		return err
	}
	office, telco := d.office.boxes(), d.telco.boxes()
	for _, s := range slices.Concat(office, telco) {
		if err := s.configure(); err != nil {
			return err
		}
	}
	if err := d.startNodes(ctx, telco); err != nil {
		return err
	}
	if d.front != nil {
		if err := d.front.start(ctx); err != nil {
			return err
		}
	}
	if err := d.startNodes(ctx, office); err != nil {
		return err
	}
	for _, n := range d.nodes {
		if err := n.waitTrunks(ctx); err != nil {
			return err
		}
	}
	return nil
}

// stop ends everything, the nodes first: they hang up what still runs.
func (d *demo) stop() {
	var nodes sync.WaitGroup
	for _, n := range d.nodes {
		nodes.Go(n.stop)
	}
	nodes.Wait()
	if d.front != nil {
		d.front.stop()
	}
	for _, t := range []*telephone{d.pbx, d.carrier} {
		if t != nil {
			t.stop()
		}
	}
}

// explain says how to call through.
func (d *demo) explain() {
	user := "+12025550123"
	fmt.Fprintf(d.out, `Two bridges are up, joined over HTTP/3 with fresh keys and certificates:

  SIP %-21s office  https://%s
  SIP %-21s telco   https://%s

Call from the office side, and the telco sends it to %s:
  sip:%s@%s
Call from the telco side, and the office sends it to %s:
  sip:%s@%s

Show a caller number in %s (From or P-Asserted-Identity), dial any other.
Logs: %s, %s
`,
		d.office.SIP, d.office.RIPT, d.telco.SIP, d.telco.RIPT,
		peerName(d.carrier, d.telco), user, d.office.SIP,
		peerName(d.pbx, d.office), user, d.telco.SIP, demoNumbers,
		d.node("office").log, d.node("telco").log)
}

func peerName(t *telephone, s demoSide) string {
	if t != nil {
		return fmt.Sprintf("the built-in answerer (%.0f Hz, then an echo)", t.hz)
	}
	return s.SIPPeer
}

// wait runs until the user has had enough, or a node is gone.
func (d *demo) wait(ctx context.Context) error {
	fmt.Fprintln(d.out, "\nRunning. Ctrl-C ends it.")
	office, telco := d.node("office"), d.node("telco")
	select {
	case <-ctx.Done():
		fmt.Fprintln(d.out, "Ending calls and stopping.")
		return nil
	case <-office.exited:
		return fmt.Errorf("the office ended by itself: %v\n%s", office.err, office.lastLog())
	case <-telco.exited:
		return fmt.Errorf("the telco ended by itself: %v\n%s", telco.err, telco.lastLog())
	}
}
