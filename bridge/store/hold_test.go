package store

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestAStateDirectoryThatCannotBeUsed: the error says what mends it.
func TestAStateDirectoryThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]string{
		syscall.EROFS: "mounted read-only", syscall.ENOSPC: "make room", syscall.EACCES: "StateDirectory",
	} {
		if got := hint("/x", &os.PathError{Op: "open", Path: "/x/lock", Err: err}).Error(); !strings.Contains(got, want) {
			t.Errorf("%v: %s", err, got)
		}
	}
}
