package weights

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"moco/tensor"
)

// sharded writes a model in two shards, and its index, and returns the index's path.
func sharded(t *testing.T, index string) string {
	t.Helper()
	dir := t.TempDir()
	for name, f := range map[string]*File{
		"model-00001-of-00002.safetensors": {
			Tensors:  []Named{{"a", tensor.FromFloat32s([]float32{1}, 1)}, {"b", tensor.FromFloat32s([]float32{2}, 1)}},
			Metadata: map[string]string{"format": "pt"},
		},
		"model-00002-of-00002.safetensors": {Tensors: []Named{{"c", tensor.FromFloat32s([]float32{3}, 1)}}},
	} {
		if _, err := Save(filepath.Join(dir, name), f); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "model.safetensors.index.json")
	if err := os.WriteFile(path, []byte(index), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

const goodIndex = `{
  "metadata": {"total_size": 123456789012, "name": "x", "list": [1]},
  "weight_map": {
    "a": "model-00001-of-00002.safetensors",
    "b": "model-00001-of-00002.safetensors",
    "c": "model-00002-of-00002.safetensors"
  }
}`

func TestSharded(t *testing.T) {
	t.Parallel()
	path := sharded(t, goodIndex)
	f, err := Load(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"a", "b", "c"} {
		if got := f.Get(name); got == nil || got.Float32s()[0] != float32(i+1) || f.Tensors[i].Name != name {
			t.Errorf("%s is %v", name, got)
		}
	}
	if got := fmt.Sprint(f.Metadata); got != "map[format:pt name:x total_size:123456789012]" {
		t.Errorf("the metadata are %s", got)
	}
	var lines strings.Builder // as sha256sum prints them
	for _, name := range []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"} {
		raw, err := os.ReadFile(filepath.Join(filepath.Dir(path), name))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&lines, "%x  %s\n", sha256.Sum256(raw), name)
	}
	sum := sha256.Sum256([]byte(lines.String()))
	if f.SHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("the sum is %s, want %x", f.SHA256, sum)
	}
}

func TestShardedRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ old, new, want string }{
		"a file elsewhere":    {`"c": "model-00002-of-00002.safetensors"`, `"c": "../x.safetensors"`, "no file beside it"},
		"an absolute path":    {`"c": "model-00002-of-00002.safetensors"`, `"c": "/etc/passwd"`, "no file beside it"},
		"a folder":            {`"c": "model-00002-of-00002.safetensors"`, `"c": "."`, "no file beside it"},
		"another system's":    {`"c": "model-00002-of-00002.safetensors"`, `"c": "..\\x"`, "no file beside it"},
		"a missing file":      {`"c": "model-00002-of-00002.safetensors"`, `"c": "model-3"`, "1 of the 2 files that the index names are not beside it: model-3"},
		"a missing tensor":    {`"c":`, `"d":`, `lacks tensor "d"`},
		"itself":              {`"c": "model-00002-of-00002.safetensors"`, `"c": "model.safetensors.index.json"`, "an index of shards"},
		"no tensors":          {goodIndex, `{"weight_map": {}}`, "names no tensors"},
		"a list":              {goodIndex, `{"weight_map": ["a"]}`, "damaged"},
		"cut short":           {"\n}", "", "damaged"},
		"a number for a file": {`"c": "model-00002-of-00002.safetensors"`, `"c": 3`, "damaged"},
	} {
		_, err := Load(t.Context(), sharded(t, strings.Replace(goodIndex, c.old, c.new, 1)))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if missing := name == "a missing file"; errors.Is(err, fs.ErrNotExist) != missing {
			t.Errorf("%s: that the error is of a missing file is %v", name, !missing)
		}
	}
	path := sharded(t, goodIndex)
	twice := filepath.Join(filepath.Dir(path), "model-00002-of-00002.safetensors")
	if _, err := Save(twice, &File{Tensors: []Named{{"a", tensor.New(tensor.Float32, 1)}, {"c", tensor.New(tensor.Float32, 1)}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(t.Context(), path); err == nil || !strings.Contains(err.Error(), `"a" is in another shard too`) {
		t.Errorf("a tensor in two shards: %v", err)
	}
}

// TestLoadCancelled: no file is read once the context has ended.
func TestLoadCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	path := sharded(t, goodIndex)
	cancel()
	for _, path := range []string{path, filepath.Join(filepath.Dir(path), "model-00001-of-00002.safetensors"), filepath.Join("testdata", "with_yacs.pth")} {
		if _, err := Load(ctx, path); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// FuzzIndex: whatever an index says, it leads to no file but those beside it.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(goodIndex))
	f.Add([]byte(`{"weight_map": {"a": "../b"}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		index, err := parseIndex(raw)
		if err != nil {
			return
		}
		for _, name := range index.files() {
			if filepath.Dir(filepath.Join("folder", name)) != "folder" {
				t.Errorf("the index leads to %q", name)
			}
		}
	})
}
