package main

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"text/template"
	"time"

	"riptide/configs/setup"
)

//go:embed demo.yaml.tmpl
var demoConfigText string

var demoConfig = template.Must(template.New("demo").Parse(demoConfigText))

// demoNumbers is the block every demo number is in.
const demoNumbers = "+1202555xxxx"

// demoSide is the office or the telco: what the template says about its only
// node, or about one of several.
type demoSide struct {
	Name   string // "office", "telco"
	Node   string // of several; else as Name
	Peer   string // the other side's name
	Dir    string
	SIP    string // address to listen on
	RIPT   string // what the other side connects to: the RIPT server, or the balancer before it
	Listen string // address of the RIPT server
	Admin  string
	Ports  string // RTP

	Cluster []demoMember // the nodes that share a store; none: it keeps its own
	Witness bool         // this one takes no calls

	SIPTrunk     string // name of the trunk towards SIP
	SIPPeer      string // host:port that gets calls
	SIPTransport string
	Match        []string

	PeerRIPT string // "" = it gets no calls from here
	PeerDir  string
	Media    string
	Silence  string // after which a call is looked for elsewhere; "" = the default
	LogLevel string
	Numbers  string

	phone string // address of its built-in telephone; "" = that of SIP
}

// alone tells that a side is this node.
func (s demoSide) alone() bool { return s.Node == s.Name }

// config is the path of the node's configuration.
func (s demoSide) config() string {
	if s.alone() {
		return filepath.Join(s.Dir, setup.ConfigFile)
	}
	return filepath.Join(s.Dir, s.Node+".yaml")
}

// State is the node's directory of records.
func (s demoSide) State() string {
	if s.alone() {
		return filepath.Join(s.Dir, "state")
	}
	return filepath.Join(s.Dir, s.Node)
}

// makeKeys makes what the nodes of a side have before their configuration.
func (s demoSide) makeKeys() error {
	host, _, err := net.SplitHostPort(s.RIPT)
	if err != nil {
		return fmt.Errorf("address of %s: %w", s.Name, err)
	}
	if err := setup.Create(setup.Options{Dir: s.Dir, Node: s.Name, Hosts: []string{host}, Now: time.Now()}); err != nil {
		return fmt.Errorf("set up %s: %w", s.Name, err)
	}
	if len(s.Cluster) == 0 {
		return nil
	}
	hosts := make(map[string]string, len(s.Cluster))
	for _, m := range s.Cluster {
		hosts[m.Name] = hostOf(m.At)
	}
	if err := setup.CreateNodes(setup.Nodes{Dir: s.Dir, Hosts: hosts, Now: time.Now()}); err != nil {
		return fmt.Errorf("set up the nodes of %s: %w", s.Name, err)
	}
	return nil
}

// configure writes the node's configuration.
func (s demoSide) configure() error {
	var b bytes.Buffer
	if err := demoConfig.Execute(&b, s); err != nil {
		return fmt.Errorf("configure %s: %w", s.Node, err)
	}
	if err := os.WriteFile(s.config(), b.Bytes(), 0o600); err != nil {
		return fmt.Errorf("configure %s: %w", s.Node, err)
	}
	return nil
}

// freeAddr finds a port that is free now, for UDP and TCP both.
func freeAddr(host string) (string, error) {
	for range 50 {
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return "", fmt.Errorf("find a free port on %s: %w", host, err)
		}
		addr := l.Addr().String()
		u, err := net.ListenPacket("udp", addr)
		_ = l.Close()
		if err == nil {
			_ = u.Close()
			return addr, nil
		}
	}
	return "", fmt.Errorf("find a port on %s that is free for UDP and TCP", host)
}

// checkFree tells, before anything starts, which flag to change when an address
// cannot be had.
func checkFree(flag, addr string) error {
	l, err := net.Listen("tcp", addr)
	if err == nil {
		_ = l.Close()
		var u net.PacketConn
		if u, err = net.ListenPacket("udp", addr); err == nil {
			_ = u.Close()
			return nil
		}
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("cannot listen on %s: %w; choose another address with --%s, for example --%s 127.0.0.1:0", addr, err, flag, flag)
}
