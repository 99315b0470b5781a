package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"text/template"
	"time"

	"github.com/urfave/cli/v2"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
	"riptide/configs/setup"
	"riptide/h3"
	"riptide/h3/conform"
	"riptide/policy"
	"riptide/sip"
)

//go:embed conform.yaml.tmpl
var conformConfigText string

var conformConfig = template.Must(template.New("conform").Parse(conformConfigText))

// The telephones behind the node that is judged have this number and one digit.
const conformBase = policy.Number("+1202555019")

// conformNode is a node that is judged, with everything of its own, and the
// telephones behind it.
type conformNode struct {
	Name, Dir        string
	SIP, Admin, Port string
	Telephones       string
	Numbers          string
	JudgeKey         string // file with the public key of the judge of servers
	JudgeURL         string // of the judge of clients; "" = it is a server that is judged

	node  *demoNode
	board *bridgetest.Switchboard
	agent *sip.Agent
	over  chan error
	stopT context.CancelFunc
}

// conformSelf judges a fresh node of this program as a server, and another as a
// client.
func conformSelf(c *cli.Context) error {
	dir, err := os.MkdirTemp("", "riptide-conform-")
	if err != nil {
		return unjudged(fmt.Errorf("make a temporary directory: %w", err))
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var reports []*conform.Report
	var sum conform.Report
	for _, judge := range []func(*cli.Context, string) (*conform.Report, error){selfServer, selfClient} {
		r, err := judge(c, dir)
		if err != nil {
			return unjudged(err)
		}
		reports = append(reports, r)
		sum.Passed, sum.Failed, sum.Skipped = sum.Passed+r.Passed, sum.Failed+r.Failed, sum.Skipped+r.Skipped
		if !c.Bool("json") {
			fmt.Fprintf(c.App.Writer, "== the %s\n", r.Side)
			if err := r.WriteText(c.App.Writer); err != nil {
				return err
			}
		}
	}
	if c.Bool("json") {
		enc := json.NewEncoder(c.App.Writer)
		enc.SetIndent("", "  ")
		if err := enc.Encode(reports); err != nil {
			return fmt.Errorf("write the reports: %w", err)
		}
	} else {
		fmt.Fprintf(c.App.Writer, "== both\n%s\n", sum.Totals())
	}
	if sum.Failed > 0 {
		return cli.Exit("", 1)
	}
	return nil
}

// selfServer judges a telco.
func selfServer(c *cli.Context, dir string) (*conform.Report, error) {
	judge := filepath.Join(dir, "judge")
	if err := setup.Create(setup.Options{Dir: judge, Node: "judge", Hosts: []string{"localhost"}, Now: time.Now()}); err != nil {
		return nil, err
	}
	n := &conformNode{Name: "telco", Dir: filepath.Join(dir, "telco"), JudgeKey: filepath.Join(judge, setup.ClientPub)}
	if err := n.start(c.Context, nil); err != nil {
		return nil, err
	}
	defer n.stop()
	roots, err := readRoots(filepath.Join(n.Dir, setup.CACert))
	if err != nil {
		return nil, err
	}
	key, err := readKey(filepath.Join(judge, setup.ClientKey))
	if err != nil {
		return nil, err
	}
	at := func(digit string) string { return string(conformBase) + digit }
	report, err := judgeServer(c.Context, conform.Options{
		Server: "https://localhost:" + n.Port, Roots: roots, ClientID: "judge", Key: key, From: numberOffice,
		To: at(bridgetest.Speaks), Declined: at(bridgetest.Declines), Busy: at(bridgetest.Busy), NoAnswer: at(bridgetest.NeverThere),
		Ringing: at(bridgetest.KeepsRings), Early: at(bridgetest.SpeaksEarly), Digits: at(bridgetest.PressesKeys), Video: at(bridgetest.HasPictures),
		Unreachable: "+12025569999", Private: "4711@private.test", Only: only(c), Progress: progress(c),
	})
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, n.node.lastLog())
	}
	return report, nil
}

// selfClient judges an office.
func selfClient(c *cli.Context, dir string) (*conform.Report, error) {
	quietQUIC()
	l, err := conform.NewListener(conform.ListenOptions{Addr: "localhost:0", Time: c.Duration("time"), Only: only(c), Progress: progress(c)})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	n := &conformNode{Name: "office", Dir: filepath.Join(dir, "office"), JudgeURL: l.URL(), JudgeKey: filepath.Join(dir, "judge", setup.ClientPub)}
	if err := n.start(c.Context, l); err != nil {
		return nil, err
	}
	defer n.stop()
	if err := n.node.waitTrunks(c.Context); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(c.Context)
	var calling sync.WaitGroup
	calling.Go(func() { n.callAll(ctx, l.CallsWanted()) })
	report, err := l.Run(c.Context)
	cancel()
	calling.Wait()
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, n.node.lastLog())
	}
	return report, nil
}

// start makes keys, telephones and a configuration, and runs the node.
func (n *conformNode) start(ctx context.Context, l *conform.Listener) error {
	err := setup.Create(setup.Options{Dir: n.Dir, Node: n.Name, Hosts: []string{"localhost"}, Now: time.Now()})
	if err != nil {
		return fmt.Errorf("set up %s: %w", n.Name, err)
	}
	n.Numbers = demoNumbers
	for _, addr := range []*string{&n.SIP, &n.Admin, &n.Port} {
		if *addr, err = freeAddr("127.0.0.1"); err != nil {
			return err
		}
	}
	if _, n.Port, err = net.SplitHostPort(n.Port); err != nil {
		return err
	}
	if l != nil {
		for file, pem := range map[string][]byte{"judge-tls.crt": l.CertificatePEM(), "judge-ca.crt": l.IdentityPEM()} {
			if err := os.WriteFile(filepath.Join(n.Dir, file), pem, 0o600); err != nil {
				return fmt.Errorf("configure %s: %w", n.Name, err)
			}
		}
	}
	if err := n.startTelephones(); err != nil {
		return err
	}
	var text bytes.Buffer
	if err := conformConfig.Execute(&text, n); err != nil {
		return fmt.Errorf("configure %s: %w", n.Name, err)
	}
	if err := os.WriteFile(filepath.Join(n.Dir, setup.ConfigFile), text.Bytes(), 0o600); err != nil {
		return fmt.Errorf("configure %s: %w", n.Name, err)
	}
	if n.node, err = startNode(ctx, demoSide{Name: n.Name, Node: n.Name, Dir: n.Dir, Admin: n.Admin}); err != nil {
		n.stop()
		return err
	}
	return nil
}

// startTelephones makes one for each way in which a call can go.
func (n *conformNode) startTelephones() error {
	roots, err := readRoots(filepath.Join(n.Dir, setup.StirCACert))
	if err != nil {
		return err
	}
	tls, err := readRoots(filepath.Join(n.Dir, setup.CACert))
	if err != nil {
		return err
	}
	n.board = bridgetest.Everybody(conformBase)
	n.board.Numbers["4711@private.test"] = &bridgetest.Answerer{Hz: toneCarrier}
	verifier := newIdentityVerifier(roots, tls, h3.Published{}, []string{"localhost"})
	if n.agent, err = telephoneAgent("127.0.0.1", []sip.Trunk{{Name: n.Name, Peer: n.SIP, AllowUnverified: true}}, n.board, verifier); err != nil {
		return fmt.Errorf("telephones behind %s: %w", n.Name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.stopT, n.over = cancel, make(chan error, 1)
	go func() { n.over <- n.agent.Serve(ctx) }()
	n.Telephones = n.agent.Addr().String()
	return nil
}

// stop ends the node, and then the telephones.
func (n *conformNode) stop() {
	if n.node != nil {
		n.node.stop()
	}
	n.board.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = n.agent.Shutdown(ctx) // a call that does not end in time ends with us
	n.stopT()
	if err := <-n.over; err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(os.Stderr, "riptide: telephones behind %s: %v\n", n.Name, err)
	}
}

// callAll places as many calls as the judge wants, a few at once and the last one
// alone; then more, one after another, until the judge has had enough.
func (n *conformNode) callAll(ctx context.Context, calls int) {
	const atOnce = 4
	var wg sync.WaitGroup
	room := make(chan struct{}, atOnce)
	for range calls - 1 {
		room <- struct{}{}
		wg.Go(func() {
			n.call(ctx)
			<-room
		})
	}
	wg.Wait()
	for ctx.Err() == nil {
		n.call(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second): // one that failed at once is no reason to hurry
		}
	}
}

// call talks until the judge ends the call, or for a while. What becomes of it is
// the judge's to say.
func (n *conformNode) call(ctx context.Context) {
	_, _ = bridgetest.Caller{Dialer: n.agent, Hz: tonePBX, TalkFor: 45 * time.Second, Digits: "5#"}.Call(ctx, bridge.Intent{
		Call: "conform", Trunk: n.Name, From: number(numberOffice), To: conformBase + "1", Hops: bridge.DefaultHops,
		Media: bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMU, bridge.PCMA, bridge.Opus}, Digits: true, ComfortNoise: true},
	})
}
