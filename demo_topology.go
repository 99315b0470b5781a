package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// What --failover is run on. With --nodes 1 either side is one process, as on
// one box. With --nodes 2 the telco is two nodes and a witness that share a store,
// behind a balancer; so is the office, without one, where the fault hits it.
//
//	pbx -- office ----------- telco -- carrier         --nodes 1
//
//	                        .- telco-1 -.
//	pbx -- office -- caddy -             - carrier     --nodes 2
//	                        '- telco-2 -'
//
// Each node has an address of its own on loopback, as it would elsewhere, and
// so that nobody takes the ports of one that is dead.

// demoMember is a node of several that share a store.
type demoMember struct {
	Name    string
	At      string // where the others reach its store
	Witness bool

	sip, listen, admin string
}

// loopbackNet is the part of 127.0.0.0/8 that this run has to itself, unless a
// process with the same low bits in its number runs another.
func loopbackNet() string {
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.", 64+pid>>8&127, pid&255)
}

// layOut gives every part of a failover its address.
func (d *demo) layOut(f failover) error {
	of := loopbackNet()
	d.office.Silence, d.telco.Silence = failoverTimers[f.timers], failoverTimers[f.timers]
	d.office.phone, d.telco.phone = of+"31", of+"32"
	d.office.Ports, d.telco.Ports = "12000-15999", "12000-15999"
	if err := errors.Join(d.office.addresses("sip", of+"1:0"), d.telco.addresses("telco-sip", of+"11:0")); err != nil {
		return err
	}
	if f.nodes == 1 {
		return nil
	}
	d.telco.Match, d.office.Match = []string{"127.0.0.0/8"}, []string{"127.0.0.0/8"}
	if err := d.telco.share(of, 11); err != nil {
		return err
	}
	if f.fault.office {
		if err := d.office.share(of, 1); err != nil {
			return err
		}
	}
	authority, err := freeAddr(of + "30")
	if err != nil {
		return err
	}
	d.telco.RIPT = authority
	d.front, err = newFront(f.balancer, f.balancerPath, d.telco)
	return err
}

// share makes a side two nodes and a witness. The last byte of the first one's
// address is given.
func (s *demoSide) share(of string, first int) error {
	for i, name := range []string{s.Name + "-1", s.Name + "-2", s.Name + "-witness"} {
		m := demoMember{Name: name, Witness: i == 2}
		host := fmt.Sprint(of, first+i)
		for _, addr := range []*string{&m.At, &m.sip, &m.listen, &m.admin} {
			var err error
			if addr == &m.admin {
				host = "127.0.0.1"
			}
			if *addr, err = freeAddr(host); err != nil {
				return err
			}
		}
		s.Cluster = append(s.Cluster, m)
	}
	return nil
}

// boxes are the nodes of a side: itself, or the members of its cluster.
func (s demoSide) boxes() []demoSide {
	if len(s.Cluster) == 0 {
		return []demoSide{s}
	}
	var boxes []demoSide
	for _, m := range s.Cluster {
		b := s
		b.Node, b.Witness, b.SIP, b.Listen, b.Admin = m.Name, m.Witness, m.sip, m.listen, m.admin
		boxes = append(boxes, b)
	}
	return boxes
}

// takers are those of them that take calls.
func (s demoSide) takers() []demoSide {
	boxes := s.boxes()
	if len(boxes) > 1 {
		boxes = boxes[:len(boxes)-1]
	}
	return boxes
}

// startNodes starts the nodes of a side at once: those that share a store wait
// for each other.
func (d *demo) startNodes(ctx context.Context, sides []demoSide) error {
	nodes, err := startNodes(ctx, sides)
	d.nodes = append(d.nodes, nodes...)
	return err
}

// node finds a node by its name; there is one.
func (d *demo) node(name string) *demoNode {
	for _, n := range d.nodes {
		if n.name == name {
			return n
		}
	}
	panic("riptide demo: no node is called " + name)
}

// again starts a node that has ended.
func (d *demo) again(ctx context.Context, gone *demoNode) error {
	next, err := startNode(ctx, gone.side)
	if err != nil {
		return err
	}
	*gone = *next
	return nil
}

// lastLogs are the ends of all nodes' logs, for error messages.
func (d *demo) lastLogs() (logs string) {
	for _, n := range d.nodes {
		if !n.side.Witness {
			logs += "\n" + n.name + " log:\n" + n.lastLog()
		}
	}
	return logs
}

// cutOffs is how often nodes that live have heard no majority of theirs.
func (d *demo) cutOffs() (n int) {
	for _, node := range d.nodes {
		if log, err := os.ReadFile(node.log); err == nil {
			n += cutOffs(string(log))
		}
	}
	return n
}

// path is of a file of the side's.
func (s demoSide) path(name string) string { return filepath.Join(s.Dir, name) }

// splitPort is an address in its parts; it was made here.
func splitPort(addr string) (host, port string) {
	host, port, _ = net.SplitHostPort(addr)
	return host, port
}
