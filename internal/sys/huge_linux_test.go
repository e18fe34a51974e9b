package sys

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"
)

// The kernel lists "hg" among the flags of a mapping that was advised.
func TestHugePages(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
		t.Skip("this system has no huge pages")
	}
	for size, want := range map[int]bool{32 << 20: true, 4 << 10: false} {
		b := make([]byte, size)
		HugePages(b)
		if got := advised(t, uintptr(unsafe.Pointer(&b[size/2]))); got != want {
			t.Errorf("%d bytes: advised is %v, want %v", size, got, want)
		}
	}
}

// advised tells whether the mapping around an address was advised to be of huge pages.
func advised(t *testing.T, address uintptr) bool {
	raw, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Skip(err)
	}
	inside := false
	for line := range strings.Lines(string(raw)) {
		var from, to uintptr
		if n, _ := fmt.Sscanf(line, "%x-%x ", &from, &to); n == 2 {
			inside = from <= address && address < to
		}
		if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok && inside {
			return strings.Contains(flags+" ", " hg ")
		}
	}
	return false
}
