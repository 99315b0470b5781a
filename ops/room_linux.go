package ops

import "syscall"

// roomLeft is how much can be written where a directory is, in bytes.
func roomLeft(dir string) (uint64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return st.Bavail * uint64(st.Bsize), nil
}
