package configs

import (
	"crypto/elliptic"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// clusterOf is a configuration with a cluster of these nodes.
func clusterOf(node, nodes string) string {
	return "node: " + node + "\ncluster:\n  nodes: " + nodes + "\n  tls: {certificate: c, key: k, ca: a}\n  key: s\n"
}

func TestClusterMistakes(t *testing.T) {
	t.Parallel()
	const three = "{a: {address: 10.0.0.1:6222}, b: {address: 10.0.0.2:6222}, w: {address: 10.0.0.3:6222, witness: true}}"
	for _, tc := range []struct{ name, text, want string }{
		{"good", clusterOf("a", three), ""},
		{"good with NATS", clusterOf("a", three) + "  nats: [tls://nats-1:4222, tls://nats-2:4222]\n  cut-off: carry-on\n", ""},
		{"two", clusterOf("a", "{a: {address: 10.0.0.1:6222}, b: {address: 10.0.0.2:6222}}"), "cluster.nodes: of two nodes, neither is a majority: when one is gone, or out of reach, the other must stop too; add a third that takes no calls"},
		{"one", clusterOf("a", "{a: {address: 10.0.0.1:6222}}"), "one node is no cluster"},
		{"nobody", clusterOf("a", "{}"), "one node is no cluster"},
		{"all witnesses", clusterOf("a", strings.ReplaceAll(strings.ReplaceAll(three, ", witness: true", ""), "6222", "6222, witness: true")), "all are witnesses"},
		{"not one of them", clusterOf("x", three), `this box is node "x", which is not one of them`},
		{"no address", clusterOf("a", "{a: {}, b: {address: 10.0.0.2:6222}, c: {address: 10.0.0.3}}"), "cluster.nodes.c: the address and port are missing"},
		{"one address twice", clusterOf("a", strings.ReplaceAll(three, "10.0.0.2", "10.0.0.1")), "cluster.nodes.b.address: 10.0.0.1:6222 is node a"},
		{"ten", clusterOf("a", "{a: {address: h:1}, b: {address: h:2}, c: {address: h:3}, d: {address: h:4}, e: {address: h:5}, f: {address: h:6}, g: {address: h:7}, h: {address: h:8}, i: {address: h:9}, j: {address: h:10}}"), "10 nodes, more than 9"},
		{"a witness with trunks", clusterOf("w", three) + "trunks: {pbx: {sip: {peer: 10.0.0.9, callers: \"*\"}}}\n", "trunks: this box is a witness, which takes no calls"},
		{"in clear", clusterOf("a", three) + "  nats: nats://nats-1:4222\n", `cluster.nats[0]: "nats://nats-1:4222" is not the address of a NATS server; write it as tls://`},
		{"no keys", "node: a\ncluster: {nodes: " + three + "}\n", "cluster: the key that seals call records is missing"},
		{"no authority", "node: a\ncluster: {nodes: " + three + "}\n", "add cluster.tls.ca"},
	} {
		_, problems := Parse("x.yaml", []byte(tc.text))
		all := Problems(problems).Error()
		if tc.want == "" && len(problems) > 0 || !strings.Contains(all, tc.want) {
			t.Errorf("%s: %s\nwant %s", tc.name, all, tc.want)
		}
	}
}

// TestClusterExamplesLoad: the three nodes of the examples agree.
func TestClusterExamplesLoad(t *testing.T) {
	var sections []string
	for _, name := range []string{"cluster-1.yaml", "cluster-2.yaml", "witness.yaml"} {
		k := newKit(t)
		k.fill()
		text, err := os.ReadFile(filepath.Join("examples", name))
		if err != nil {
			t.Fatal(err)
		}
		c, err := Load(k.write(name, 0o644, text))
		if err != nil {
			t.Fatal(err)
		}
		if c.Cluster.TLS.Pair.Reveal() == nil || c.Cluster.TLS.Roots.Pool == nil || c.Cluster.Ring.Reveal() == nil {
			t.Errorf("%s: files of the cluster were not loaded", name)
		}
		if n, _ := c.Cluster.Node(c.Node); c.Witness() != (name == "witness.yaml") || c.Cluster.Bind(c.Node) != n.Address.String() {
			t.Errorf("%s: witness %v, listens on %s", name, c.Witness(), c.Cluster.Bind(c.Node))
		}
		section := ""
		for _, n := range c.Cluster.Nodes {
			section += n.Name + "=" + n.Address.String() + " " + n.Witness + ";"
		}
		sections = append(sections, section)
	}
	if sections[0] != sections[1] || sections[0] != sections[2] {
		t.Errorf("the nodes differ about the cluster: %q", sections)
	}
}

// TestClusterFileMistakes: what would keep a node out of its cluster is found
// before it starts.
func TestClusterFileMistakes(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("examples/witness.yaml")
	if err != nil {
		t.Fatal(err)
	}
	key := newECKey(t, elliptic.P256())
	for _, tc := range []struct {
		name, file string
		content    []byte
		want       string
	}{
		{"another authority's certificate", "nodes-ca.crt", certificate(t, newECKey(t, elliptic.P256()), true), "the other nodes would not accept it"},
		{"another node's certificate", "node.crt", nodeCertificate(t, key, "192.0.2.11"), "not valid for 192.0.2.13:6222"},
		{"no sealing key", "cluster.key", []byte("# none yet\n"), "holds no key (openssl rand -base64 32 makes one)"},
		{"a short sealing key", "cluster.key", []byte("c2hvcnQ=\n"), "line 1 is not a key of 32 bytes"},
	} {
		k := newKit(t)
		k.fill()
		if tc.file == "node.crt" {
			k.write("node.key", 0o600, pkcs8(t, key))
			k.write("nodes-ca.crt", 0o644, tc.content)
		}
		k.write(tc.file, 0o600, tc.content)
		if _, err := Load(k.write("x.yaml", 0o644, text)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", tc.name, err, tc.want)
		}
	}
}
