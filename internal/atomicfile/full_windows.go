package atomicfile

import (
	"errors"
	"syscall"

	"golang.org/x/sys/windows"
)

// isFull tells whether err says that the disk is full. Windows has two codes of its own for it;
// syscall.ENOSPC is what tests and other layers of Go may return.
func isFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) ||
		errors.Is(err, syscall.ENOSPC)
}
