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

func TestResidentPeak(t *testing.T) {
	t.Parallel()
	before := ResidentPeak()
	if before == 0 {
		t.Skip("this system does not tell a process's largest memory")
	}
	x := make([]byte, 64<<20)
	for i := 0; i < len(x); i += 4096 {
		x[i] = 1
	}
	if after := ResidentPeak(); after < before || after < int64(len(x)) || x[4096] != 1 {
		t.Errorf("after taking %d bytes the peak is %d, and was %d", len(x), after, before)
	}
}
