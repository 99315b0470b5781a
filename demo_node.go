package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"riptide/bridge/store"
)

// demoNode is one riptide of the demo, a child process that serves.
type demoNode struct {
	*demoProcess
	side  demoSide      // as it stands in its configuration
	ready *net.UnixConn // on which it says READY=1, as to systemd
}

// demoStart is how long a child may take to start: cold starts on a busy machine
// take a second or two, the first election of a cluster's store ten.
const demoStart = 45 * time.Second

// startNode starts `riptide serve` and returns when it is ready.
func startNode(ctx context.Context, s demoSide) (*demoNode, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Node, err)
	}
	notify := filepath.Join(s.Dir, s.Node+".notify")
	_ = os.Remove(notify) // of the process before
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("listen for %s to become ready: %w", s.Node, err)
	}
	cmd := exec.Command(exe, "serve", "-c", s.config())
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify)
	p, err := startProcess(s.Node, filepath.Join(s.Dir, s.Node+".log"), cmd, func() { _ = conn.Close() })
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Node, err)
	}
	n := &demoNode{demoProcess: p, side: s, ready: conn}
	if err := n.waitReady(ctx); err != nil {
		n.stop()
		return nil, err
	}
	return n, nil
}

// startNodes starts several at once, and returns those that are up.
func startNodes(ctx context.Context, sides []demoSide) ([]*demoNode, error) {
	nodes, errs := make([]*demoNode, len(sides)), make([]error, len(sides))
	var all sync.WaitGroup
	for i, s := range sides {
		all.Go(func() { nodes[i], errs[i] = startNode(ctx, s) })
	}
	all.Wait()
	nodes = slices.DeleteFunc(nodes, func(n *demoNode) bool { return n == nil })
	return nodes, errors.Join(errs...)
}

func (n *demoNode) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, demoStart)
	defer cancel()
	isReady := make(chan struct{})
	go func() {
		buf := make([]byte, 4096)
		for {
			k, err := n.ready.Read(buf)
			if err != nil {
				return // closed with the child
			}
			if bytes.Contains(buf[:k], []byte("READY=1")) {
				close(isReady)
				return // what it says later fits into the socket
			}
		}
	}()
	select {
	case <-isReady:
		return nil
	case <-n.exited:
		return fmt.Errorf("%s ended before it was ready: %v\n%s", n.name, n.err, n.lastLog())
	case <-ctx.Done():
		return fmt.Errorf("%s was not ready within %v:\n%s", n.name, demoStart, n.lastLog())
	}
}

// waitTrunks waits until the node is peered: it has discovered the other's TG,
// has a token, a handler and a certificate for its callers.
func (n *demoNode) waitTrunks(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, demoStart)
	defer cancel()
	why := "no answer from its admin server"
	for {
		ready, text := askReady(ctx, n.side.Admin)
		if ready {
			return nil
		}
		if text != "" {
			why = text
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-n.exited:
			return fmt.Errorf("%s ended: %v\n%s", n.name, n.err, n.lastLog())
		case <-ctx.Done():
			return fmt.Errorf("%s was not peered within %v: %s\n%s", n.name, demoStart, why, n.lastLog())
		}
	}
}

// askReady asks a node's /readyz.
func askReady(ctx context.Context, admin string) (ready bool, text string) {
	status, text, err := askAdmin(ctx, admin, "/readyz")
	if err != nil {
		return false, ""
	}
	return status == http.StatusOK, text
}

// leads tells whether a node takes the writes of a bucket of the store it shares.
func (n *demoNode) leads(ctx context.Context, b store.Bucket) bool {
	_, text, err := askAdmin(ctx, n.side.Admin, "/metrics")
	return err == nil && strings.Contains(text, fmt.Sprintf("riptide_store_leads{bucket=%q} 1", b))
}

// askAdmin asks a node's admin server.
func askAdmin(ctx context.Context, admin, path string) (status int, text string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+path, nil)
	if err != nil {
		return 0, "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return res.StatusCode, strings.TrimSpace(string(b)), err
}
