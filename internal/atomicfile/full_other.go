//go:build !windows

package atomicfile

import (
	"errors"
	"syscall"
)

// isFull tells whether err says that the disk is full.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) }
