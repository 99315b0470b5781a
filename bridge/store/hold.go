package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// ErrHeld is wrapped by Hold where another process has the directory.
var ErrHeld = errors.New("held by another process")

// Lock is the right to a directory.
type Lock struct{ file *os.File }

// Close gives the directory back. It unlocks in so many words: a child that is
// being started has the file, too, until it has become another program, so that
// closing ours alone would leave the lock with it for a moment.
func (l *Lock) Close() error {
	unlock := syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN)
	return errors.Join(unlock, l.file.Close())
}

// Hold makes the directory of a store that keeps files and takes its lock. The
// kernel gives the lock back when the process dies, however it dies.
func Hold(dir string) (*Lock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, hint(dir, err)
	}
	// Also where somebody else made it: records hold numbers and secrets.
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, hint(dir, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, hint(dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 32))
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("open store %s: %w (process %s; stop that one, or give each its own directory with the key state)",
				dir, ErrHeld, strings.TrimSpace(string(holder)))
		}
		return nil, fmt.Errorf("lock store %s: %w", dir, err)
	}
	if err := sign(f); err != nil {
		_ = f.Close()
		return nil, hint(dir, err)
	}
	return &Lock{f}, nil
}

// sign writes our process id into the lock, for the one who comes second.
func sign(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	return err
}

func hint(dir string, err error) error {
	way := "the user that riptide runs as must be able to write there: StateDirectory=riptide in the unit, or another directory with the key state"
	switch {
	case errors.Is(err, syscall.EROFS):
		way = "it is mounted read-only, as a file system is after a fault of its disk: see dmesg, and mount it for writing, or name another directory with the key state"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		way = "make room there, or name another directory with the key state"
	}
	return fmt.Errorf("open store %s: %w (%s)", dir, err, way)
}
