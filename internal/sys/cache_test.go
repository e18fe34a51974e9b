package sys

import (
	"os"
	"path/filepath"
	"testing"
)

func TestSecondLevelCache(t *testing.T) {
	t.Parallel()
	type cache struct{ level, kind, size, shared string }
	for name, c := range map[string]struct {
		caches []cache
		want   int64
	}{
		"one core":                       {[]cache{{"1", "Data", "48K", "0"}, {"2", "Unified", "1024K", "0"}}, 1 << 20},
		"two threads share":              {[]cache{{"2", "Unified", "512K", "0,8"}, {"3", "Unified", "32768K", "0-15"}}, 256 << 10},
		"the small cores' share counts":  {[]cache{{"2", "Unified", "1280K", "0-1"}, {"2", "Unified", "2048K", "4-7"}}, 512 << 10},
		"instructions do not":            {[]cache{{"2", "Instruction", "64K", "0"}, {"2", "Data", "256K", "0"}}, 256 << 10},
		"none":                           {nil, 0},
		"a size that is no number":       {[]cache{{"2", "Unified", "manyK", "0"}}, 0},
		"a list of processors backwards": {[]cache{{"2", "Unified", "512K", "3-1"}}, 0},
		"no list of processors":          {[]cache{{"2", "Unified", "512K", ""}}, 0},
	} {
		folder := t.TempDir()
		for i, c := range c.caches {
			at := filepath.Join(folder, "cpu0", "cache", "index"+string(rune('0'+i)))
			if err := os.MkdirAll(at, 0o755); err != nil {
				t.Fatal(err)
			}
			for file, text := range map[string]string{
				"level": c.level, "type": c.kind, "size": c.size, "shared_cpu_list": c.shared,
			} {
				if err := os.WriteFile(filepath.Join(at, file), []byte(text+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got := secondLevelCache(folder); got != c.want {
			t.Errorf("%s: %d bytes, want %d", name, got, c.want)
		}
	}
}
