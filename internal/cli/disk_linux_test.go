package cli

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestDiskFull trains into a file system of 400 KB, where this machine lets us make one.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=400k"); err != nil {
		t.Skipf("NOT TESTED here (pretrain's test does it with a seam): cannot mount a small file system: %v", err)
	}
	defer syscall.Unmount(dir, 0)
	images := good(t, nil)
	run := filepath.Join(dir, "run")
	code, _, stderr := command(train(images, run, "--epochs", "20", "--set", "checkpoint_every=1")...)
	if code != 1 || !strings.Contains(stderr, "disk is full") {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	oneSentence(t, stderr)
}
