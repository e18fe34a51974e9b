// Package sys tells what the machine has: memory that is free, memory that was taken, and caches.
//
// It reads Linux's own files. gopsutil gives the machine's memory only, and a container may have
// far less; the libraries that read a control group's limit count cached files as used, which a run
// that reads images fills up without being short of memory.
package sys

import (
	"os"
	"strconv"
	"strings"
)

// FreeMemory is the number of bytes that a program may still take: what the machine has available,
// or less where a control group (a container) allows less. It is 0 where that is not known.
func FreeMemory() int64 {
	free := 1024 * field("/proc/meminfo", "MemAvailable:")
	for _, group := range []struct{ limit, stat, used string }{
		{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.stat", "anon"},
		{"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.stat", "rss"},
	} {
		// Used is what cannot be given back; cached files can.
		if limit := field(group.limit, ""); limit > 0 && free > 0 {
			free = min(free, max(1, limit-field(group.stat, group.used)))
		}
	}
	return free
}

// field is the number behind a name at the start of a line of a file, or at the start of the file
// if the name is empty. It is 0 if there is none, as where a limit is "max".
func field(path, name string) int64 {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		words := strings.Fields(line)
		if name != "" && len(words) > 0 && words[0] == name {
			words = words[1:]
		} else if name != "" {
			continue
		}
		if len(words) > 0 {
			n, _ := strconv.ParseInt(words[0], 10, 64)
			return n
		}
	}
	return 0
}

// ResidentPeak is the largest memory that this process has had, in bytes. It is 0 where the system
// does not tell.
func ResidentPeak() int64 { return residentPeak() }
