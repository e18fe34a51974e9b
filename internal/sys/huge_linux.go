package sys

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// HugePages asks the system to back a large slice by pages of 2 MB. A processor then finds an address
// in one entry of its table where small pages take 512. It is advice: it changes no value, and where
// the system does not follow it nothing is lost, so errors are not reported. The advice is best given
// before memory is written, since pages that are there already are only joined in time.
func HugePages(b []byte) {
	const least = 8 << 20 // below it, what the ends round off outweighs the gain
	if len(b) < least {
		return
	}
	page := os.Getpagesize()
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (page - 1)
	whole := (len(b) - skip) &^ (page - 1)
	_ = unix.Madvise(b[skip:skip+whole], unix.MADV_HUGEPAGE)
}
