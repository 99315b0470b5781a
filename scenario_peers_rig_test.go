package main_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"riptide/configs/setup"
)

// clusterMember is a node of a site of several, as the demo's template has it.
type clusterMember struct {
	Name, At string
	Witness  bool
}

// witness tells that a node of a site takes no calls.
func (c nodeConfig) witness(n node) bool {
	return slices.ContainsFunc(c.cluster, func(m clusterMember) bool { return m.Name == n.name && m.Witness })
}

// siteNode is one where everything of this rig runs.
func (c *front) siteNode(dir, name string) node {
	c.t.Helper()
	n := siteNode(c.t, dir, name)
	n.ns = c.netns
	return n
}

// serveOffices starts an office of two nodes and a witness. The first is what
// others know as the office.
func (c *shared) serveOffices(config nodeConfig) {
	t, dir := c.t, c.office.dir
	t.Helper()
	config.site, config.ript = "office", c.office.ript
	hosts := map[string]string{}
	var nodes []node
	for i, name := range []string{"office-1", "office-2", "office-witness"} {
		n := c.siteNode(dir, name)
		_, port, _ := net.SplitHostPort(n.sip)
		n.sip = fmt.Sprintf("127.0.0.%d:%s", 41+i, port)
		if i == 0 {
			n.ript = c.office.ript
		}
		hosts[name] = "127.0.0.1"
		config.cluster = append(config.cluster, clusterMember{Name: name, At: loopback(t), Witness: i == 2})
		nodes = append(nodes, n)
	}
	if err := setup.CreateNodes(setup.Nodes{Dir: dir, Hosts: hosts, Now: time.Now().Add(-time.Hour)}); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if err := os.MkdirAll(n.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, f := range files { // they are named relative to the configuration
			if err := os.Symlink(f, filepath.Join(n.dir, filepath.Base(f))); err != nil {
				t.Fatal(err)
			}
		}
		writeConfig(t, n, config)
		c.others[n.name] = serveProcess(t, n)
	}
	c.offices = [2]node(nodes[:2])
	for _, n := range nodes {
		n.awaitAlive(t, n.admin)
	}
	c.office = nodes[0]
	c.offices[1].awaitReady(t, "")
}
