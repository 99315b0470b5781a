package siptest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// packages tells where the programs come from, on Debian and Ubuntu.
var packages = map[string]string{
	"sipp":      "sip-tester",
	"baresip":   "baresip-core",
	"kamailio":  "kamailio kamailio-secsipid-modules kamailio-tls-modules kamailio-websocket-modules",
	"openssl":   "openssl",
	"svmap":     "sipvicious",
	"svwar":     "sipvicious",
	"svcrack":   "sipvicious",
	"rtpengine": "rtpengine-daemon",
	"tshark":    "tshark",
	"dumpcap":   "tshark",
	"sox":       "sox",
	"ip":        "iproute2",
	"nsenter":   "util-linux",
	"unshare":   "util-linux",
	"nft":       "nftables",

	"gcc":        "gcc libc6-dev",
	"keepalived": "keepalived",
	"nginx":      "nginx-light libnginx-mod-stream",
	"gtlsclient": "ngtcp2-client",

	"systemd-analyze": "systemd",
}

// Required tells whether a missing peer is a failure.
func Required() bool {
	return os.Getenv("CI") == "true" || os.Getenv("RIPTIDE_PEERS") == "required"
}

// Missing skips the test, or fails it where peers are required.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if Required() {
		t.Fatalf("missing: "+format, args...)
	}
	t.Skipf("missing: "+format, args...)
}

// Need finds programs and skips or fails the test when one is not installed. It
// returns their paths in order.
func Need(t testing.TB, names ...string) []string {
	t.Helper()
	paths := make([]string, 0, len(names))
	for _, name := range names {
		path := find(name)
		if path == "" {
			Missing(t, "%s; install it: apt-get install %s (or run scripts/install-peers)", name, packages[name])
		}
		paths = append(paths, path)
	}
	return paths
}

// find looks in PATH, and where Debian keeps daemons when PATH is a user's.
func find(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	return ""
}

// Tool is the path of a program that scripts/tool builds into the cache. The
// environment may name another: RIPTIDE_SECSIPIDX, RIPTIDE_CADDY.
func Tool(t testing.TB, name string) string {
	t.Helper()
	if path := os.Getenv("RIPTIDE_" + strings.ToUpper(name)); path != "" {
		return path
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatalf("find %s: %v", name, err)
	}
	for {
		script := filepath.Join(dir, "scripts", "tool")
		if _, err := os.Stat(script); err == nil {
			out, err := exec.CommandContext(t.Context(), script, name).Output()
			if err != nil {
				Missing(t, "%s; scripts/tool %s says: %v", name, name, err)
			}
			return strings.TrimSpace(string(out))
		}
		up := filepath.Dir(dir)
		if up == dir {
			Missing(t, "%s: no scripts/tool above the working directory", name)
		}
		dir = up
	}
}
