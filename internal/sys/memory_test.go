package sys

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMemoryFields(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stat")
	if err := os.WriteFile(path, []byte("MemTotal:  9 kB\nanon 4096\nanon_thp 7\nMemAvailable:   12345 kB\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{"anon": 4096, "MemAvailable:": 12345, "absent": 0, "": 0} {
		if got := field(path, name); got != want {
			t.Errorf("field %q is %d, want %d", name, got, want)
		}
	}
	if err := os.WriteFile(path, []byte("8589934592\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := field(path, ""); got != 8589934592 {
		t.Errorf("a file of one number gives %d", got)
	}
}
