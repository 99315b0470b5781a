package siptest

import "testing"

// TestPortsAreNobodyElses: sipp binds its media ports with its first call, so
// that those of a sipp that waits look free.
func TestPortsAreNobodyElses(t *testing.T) {
	held := map[int]bool{}
	for range 50 {
		const n = 61
		first := FreePorts(t, nil, "127.0.0.1", n)
		if first%2 != 0 || first < firstPort || first+n > lastPort {
			t.Fatalf("ports from %d", first)
		}
		for port := first; port < first+n; port++ {
			if held[port] {
				t.Fatalf("port %d was given to two", port)
			}
			held[port] = true
		}
	}
}
