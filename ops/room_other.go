//go:build !linux

package ops

import "errors"

// roomLeft is how much can be written where a directory is, in bytes.
func roomLeft(string) (uint64, error) { return 0, errors.ErrUnsupported }
