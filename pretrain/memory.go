package pretrain

import (
	"fmt"
	"os"
	"strings"
)

// FreeMemory is the number of bytes that a program may still take on this machine, 0 where that is not known.
func FreeMemory() int64 {
	raw, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		var kilobytes int64
		if _, err := fmt.Sscanf(line, "MemAvailable: %d kB", &kilobytes); err == nil {
			return kilobytes << 10
		}
	}
	return 0
}
