package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestByteSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"1": "1", "4096": "4KiB", "10GiB": "10GiB", "2.5 MiB": "2560KiB", "20gb": "19531250KiB", "3KB": "3000", "1TiB": "1TiB", "7b": "7",
		"": "", "0": "", "-1GiB": "", "GiB": "", "1e30": "", "1PiB": "", "nan": "", "inf": "", "0.1": "", "ten": "",
	} {
		var b byteSize
		err := b.Set(text)
		if (err == nil) != (want != "") || err == nil && b.String() != want {
			t.Errorf("%q is %s, %v, want %q", text, b.String(), err, want)
		}
	}
}

// TestCacheFlags: training, and embedding after it, give the same bits with a cache, with one that is
// too small, and when a run that was stopped goes on with one.
func TestCacheFlags(t *testing.T) {
	t.Parallel()
	photos, cache := good(t, nil), filepath.Join(t.TempDir(), "cache")
	more := []string{"--set", "views.from=9", "--set", "batch=4", "--epochs", "3"}
	run := func(args ...string) {
		t.Helper()
		if code, _, stderr := command(args...); code != exitDone {
			t.Fatalf("%v: %s", args, stderr)
		}
	}
	read := func(path ...string) []byte {
		t.Helper()
		return must(os.ReadFile(filepath.Join(path...)))
	}
	var encoders, vectors [][]byte
	for _, flags := range [][]string{nil, {"--cache", cache}, {"--cache", cache}, {"--cache", t.TempDir(), "--cache-size", "1KB"}} {
		out := filepath.Join(t.TempDir(), "run")
		if len(encoders) == 2 {
			run(append(train(photos, out, append(more, "--steps", "3")...), flags...)...)
			flags = append(flags, "--resume")
		}
		run(append(train(photos, out, more...), flags...)...)
		flags = slices.DeleteFunc(flags, func(f string) bool { return f == "--resume" })
		run(append([]string{"embed", "--model", out, "--data", photos, "--out", filepath.Join(out, "x.jsonl")}, flags...)...)
		encoders, vectors = append(encoders, read(out, "encoder.safetensors")), append(vectors, read(out, "x.jsonl"))
	}
	for i := range encoders {
		if !bytes.Equal(encoders[i], encoders[0]) || !bytes.Equal(vectors[i], vectors[0]) {
			t.Errorf("run %d: with a cache, the bits are others", i)
		}
	}
	found, err := filepath.Glob(filepath.Join(cache, "*.pictures"))
	if err != nil || len(found) != 1 {
		t.Fatalf("the cache has %v, %v; want one file for training and embedding", found, err)
	}
	if info, err := os.Stat(found[0]); err != nil || info.Size() < 10*3*9*12 {
		t.Errorf("the cache's file has %d bytes, too few for 10 pictures; %v", info.Size(), err)
	}
	if code, _, stderr := command(train(photos, t.TempDir(), "--cache", found[0])...); code != exitFailed {
		t.Errorf("a file as the folder of the cache gives %d, %s", code, stderr)
	}
}
