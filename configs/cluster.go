package configs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"riptide/bridge/store/sealed"
)

// Cluster is the nodes that share one store. It is the same on all of them, but
// for Listen.
type Cluster struct {
	Nodes  []ClusterNode  `yaml:"nodes" keyed:"Name"`
	Listen netip.AddrPort `yaml:"listen"` // the zero value = our own address in Nodes
	TLS    ClusterTLS     `yaml:"tls"`
	Key    File           `yaml:"key"`  // seals call records
	NATS   []string       `yaml:"nats"` // URLs of servers that keep the store instead of the nodes
	CutOff string         `yaml:"cut-off" oneof:"silence carry-on"`

	Ring Secret[*sealed.Ring] // loaded from Key by Load
}

// ClusterNode is one of the nodes.
type ClusterNode struct {
	Name    string
	Address HostPort `yaml:"address"` // where the others reach its store
	Witness string   `yaml:"witness" oneof:"true false"`
}

// ClusterTLS is how nodes know each other.
type ClusterTLS struct {
	Certificate File `yaml:"certificate"`
	Key         File `yaml:"key"`
	CA          File `yaml:"ca"`

	Pair  Secret[*tls.Certificate] // loaded by Load
	Roots Anchors
}

// maxClusterNodes: every one hears every other five times a second.
const maxClusterNodes = 9

// Node finds a node by its name.
func (c *Cluster) Node(name string) (ClusterNode, bool) {
	for _, n := range c.Nodes {
		if n.Name == name {
			return n, true
		}
	}
	return ClusterNode{}, false
}

// Witness tells that this box only stores and votes: it takes no calls.
func (c *Config) Witness() bool {
	if c.Cluster == nil {
		return false
	}
	n, _ := c.Cluster.Node(c.Node)
	return n.Witness == "true"
}

// Bind is where the other nodes are listened for.
func (c *Cluster) Bind(node string) string {
	if c.Listen.IsValid() {
		return c.Listen.String()
	}
	n, _ := c.Node(node)
	return n.Address.String()
}

func (c *Cluster) fill() {
	if c == nil {
		return
	}
	if c.CutOff == "" {
		c.CutOff = "silence"
	}
	for i := range c.Nodes {
		if c.Nodes[i].Witness == "" {
			c.Nodes[i].Witness = "false"
		}
	}
}

func (d *decoder) checkCluster(c *Config) {
	cl := c.Cluster
	if cl == nil {
		return
	}
	d.checkClusterNodes(c)
	if c.Witness() && len(c.Trunks) > 0 {
		d.problem("trunks", "this box is a witness, which takes no calls", "remove trunks and routes here, or cluster.nodes."+c.Node+".witness")
	}
	for i, s := range cl.NATS {
		if u, err := url.Parse(s); err != nil || u.Scheme != "tls" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" {
			d.problem(fmt.Sprintf("cluster.nats[%d]", i), fmt.Sprintf("%q is not the address of a NATS server", clip(s)), "write it as tls://nats-1.example:4222; who we are says our certificate")
		}
	}
	d.checkPair("cluster.tls", cl.TLS.Certificate, cl.TLS.Key)
	if cl.TLS.CA == "" {
		d.problem("cluster.tls", "the nodes' authority is missing", "add cluster.tls.ca: the PEM certificate of an authority that issues to the nodes alone")
	}
	if cl.Key == "" {
		d.problem("cluster", "the key that seals call records is missing", "add cluster.key: the same file on every node (openssl rand -base64 32 makes one)")
	}
}

func (d *decoder) checkClusterNodes(c *Config) {
	cl := c.Cluster
	taking := 0
	seen := map[string]string{}
	for _, n := range cl.Nodes {
		key := "cluster.nodes." + n.Name
		if n.Witness != "true" {
			taking++
		}
		switch at := n.Address.String(); {
		case n.Address.Host == "" || n.Address.Port == 0:
			d.problem(key, "the address and port are missing at which the others reach it", "add "+key+".address, as in 192.0.2.11:6222")
		case seen[at] != "":
			d.problem(key+".address", fmt.Sprintf("%s is node %s", at, seen[at]), "each node has its own")
		default:
			seen[at] = n.Name
		}
	}
	switch n := len(cl.Nodes); {
	case n == 2:
		d.problem("cluster.nodes", "of two nodes, neither is a majority: when one is gone, or out of reach, the other must stop too",
			"add a third that takes no calls, on any small box that is neither of them: witness-1: {address: 192.0.2.13:6222, witness: true}")
	case n < 2:
		d.problem("cluster.nodes", "one node is no cluster", "name all nodes, three at least; one of them may be a witness. For a single box remove the key cluster")
	case n > maxClusterNodes:
		d.problem("cluster.nodes", fmt.Sprintf("%d nodes, more than %d", n, maxClusterNodes), "make two clusters, each with an authority of its own")
	case taking == 0:
		d.problem("cluster.nodes", "nobody takes calls: all are witnesses", "remove witness from those that have trunks")
	}
	if _, ok := cl.Node(c.Node); !ok && len(cl.Nodes) > 0 {
		d.problem("cluster.nodes", fmt.Sprintf("this box is node %q, which is not one of them", clip(c.Node)), "set node to one of the names, or add it")
	}
}

func (d *decoder) loadCluster(c *Config) {
	cl := c.Cluster
	if cl == nil {
		return
	}
	if cl.TLS.CA != "" {
		cl.TLS.Roots = d.loadAnchors("cluster.tls.ca", []File{cl.TLS.CA})
	}
	if pair := d.loadPair("cluster.tls", cl.TLS.Certificate, cl.TLS.Key); pair != nil {
		d.checkNodeCertificate(c, pair.Leaf)
		cl.TLS.Pair = NewSecret(pair)
	}
	if cl.Key == "" {
		return
	}
	if text := d.read("cluster.key", cl.Key, true); text != nil {
		ring, err := sealed.ParseRing(text)
		if err != nil {
			d.problem("cluster.key", string(cl.Key)+" "+err.Error(), "")
			return
		}
		cl.Ring = NewSecret(&ring)
	}
}

// checkNodeCertificate: the other nodes ask for it in both directions.
func (d *decoder) checkNodeCertificate(c *Config, leaf *x509.Certificate) {
	cl := c.Cluster
	if cl.TLS.Roots.Pool != nil {
		for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: cl.TLS.Roots.Pool, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
				d.problem("cluster.tls.certificate", fmt.Sprintf("the other nodes would not accept it: %v", err), "have one issued by cluster.tls.ca, for TLS servers and clients")
				break
			}
		}
	}
	n, _ := cl.Node(c.Node)
	if host := n.Address.Host; host != "" && leaf.VerifyHostname(strings.Trim(host, "[]")) != nil {
		d.problem("cluster.tls.certificate", fmt.Sprintf("not valid for %s, at which the other nodes connect", net.JoinHostPort(host, fmt.Sprint(n.Address.Port))), "use a certificate with that subject alternative name")
	}
}
