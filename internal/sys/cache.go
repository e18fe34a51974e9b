package sys

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// SecondLevelCache is the number of bytes of second-level cache that each processor has to itself: the
// size of a cache over the number of processors that share it, and the least of all processors, since
// some have small and large cores. It is 0 where that is not known: Linux alone tells it in files.
func SecondLevelCache() int64 { return secondLevelCache("/sys/devices/system/cpu") }

func secondLevelCache(folder string) int64 {
	caches, _ := filepath.Glob(filepath.Join(folder, "cpu[0-9]*/cache/index[0-9]*"))
	var least int64
	for _, c := range caches {
		if word(c, "level") != "2" || word(c, "type") == "Instruction" {
			continue
		}
		size, ok := strings.CutSuffix(word(c, "size"), "K")
		kilobytes, err := strconv.ParseInt(size, 10, 64)
		sharers := int64(processors(word(c, "shared_cpu_list")))
		if !ok || err != nil || kilobytes <= 0 || sharers == 0 {
			continue
		}
		if each := kilobytes << 10 / sharers; least == 0 || each < least {
			least = each
		}
	}
	return least
}

// word is what a file of one word holds, or nothing.
func word(folder, name string) string {
	raw, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

// processors counts a list of numbers and ranges, such as 0-3,8. It is 0 of what is no such list.
func processors(list string) int {
	n := 0
	for item := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(item, "-")
		first, err := strconv.Atoi(from)
		last := first
		if err == nil && isRange {
			last, err = strconv.Atoi(to)
		}
		if err != nil || last < first {
			return 0
		}
		n += last - first + 1
	}
	return n
}
