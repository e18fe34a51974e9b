package weights

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A model in several files (shards) has an index beside them, such as model.safetensors.index.json:
// {"metadata": {...}, "weight_map": {tensor: file}}. The files are safetensors or PyTorch's.

// maxIndex is the longest index that is read, in bytes.
const maxIndex = 64 << 20

// shardIndex is the content of an index.
type shardIndex struct {
	Metadata  map[string]any    `json:"metadata"`
	WeightMap map[string]string `json:"weight_map"`
}

// parseIndex reads an index and holds it to its rules: each file is named by its name alone, and
// lies beside the index.
func parseIndex(raw []byte) (*shardIndex, error) {
	var index shardIndex
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber() // sizes stay whole numbers
	if err := d.Decode(&index); err != nil {
		return nil, fmt.Errorf("the index of shards is damaged: %w", err)
	}
	if len(index.WeightMap) == 0 {
		return nil, errors.New("the index of shards names no tensors")
	}
	for tensor, file := range index.WeightMap {
		if !filepath.IsLocal(file) || strings.ContainsAny(file, `/\`) || file == "." {
			return nil, fmt.Errorf("the index of shards has tensor %q in %q, which is no file beside it", brief(tensor), brief(file))
		}
	}
	return &index, nil
}

// files are the names of the shards, sorted.
func (x *shardIndex) files() []string {
	names := map[string]bool{}
	for _, file := range x.WeightMap {
		names[file] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// loadShards reads the files that an index names and puts their tensors together.
func (s *source) loadShards(ctx context.Context) (*File, error) {
	if s.size > maxIndex {
		return nil, fmt.Errorf("an index of shards of %d bytes is not believable", s.size)
	}
	raw := make([]byte, s.size)
	if n, err := s.r.ReadAt(raw, 0); n < len(raw) {
		return nil, fmt.Errorf("read the index of shards: %w", err)
	}
	index, err := parseIndex(raw)
	if err != nil {
		return nil, err
	}
	dir, files := filepath.Dir(s.name), index.files()
	if err := allThere(dir, files); err != nil {
		return nil, err
	}
	whole := &File{Metadata: map[string]string{}}
	for key, value := range index.Metadata { // numbers and text; what else there may be is dropped
		switch value.(type) {
		case string, bool, json.Number:
			whole.Metadata[key] = brief(value)
		}
	}
	own := sha256.Sum256(raw)
	sums := map[string]string{filepath.Base(s.name): hex.EncodeToString(own[:])}
	for _, name := range files {
		shard, err := loadShard(ctx, filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("the shard %s: %w", name, err)
		}
		sums[name] = shard.SHA256
		if err := whole.add(shard); err != nil {
			return nil, fmt.Errorf("the shard %s: %w", name, err)
		}
	}
	whole.indexed()
	for _, tensor := range slices.Sorted(maps.Keys(index.WeightMap)) {
		skipped := slices.ContainsFunc(whole.Skipped, func(s Skipped) bool { return s.Name == tensor })
		if _, ok := whole.index[tensor]; !ok && !skipped {
			return nil, fmt.Errorf("the shard %s lacks tensor %q, which the index has there", index.WeightMap[tensor], brief(tensor))
		}
	}
	whole.SHA256 = sumOfSums(sums)
	return whole, nil
}

// allThere names all missing files at once, so that nobody has to fetch them one by one.
func allThere(dir string, files []string) error {
	var missing []string
	for _, name := range files {
		if _, err := os.Stat(filepath.Join(dir, name)); errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, name)
		}
	}
	if n := len(missing); n > 0 {
		list := strings.Join(missing[:min(n, 10)], ", ")
		if n > 10 {
			list = fmt.Sprintf("%s and %d more", list, n-10)
		}
		return fmt.Errorf("%d of the %d files that the index names are not beside it: %s: %w", n, len(files), list, fs.ErrNotExist)
	}
	return nil
}

// loadShard reads one shard, which may not be an index itself.
func loadShard(ctx context.Context, path string) (*File, error) {
	s, err := openSource(ctx, path)
	if err != nil {
		return nil, err
	}
	defer s.close()
	return s.readWithSum()
}

// add takes over the tensors of a shard.
func (f *File) add(shard *File) error {
	if f.index == nil {
		f.index = map[string]int{}
	}
	for _, n := range shard.Tensors {
		if _, twice := f.index[n.Name]; twice {
			return fmt.Errorf("tensor %q is in another shard too", brief(n.Name))
		}
		f.index[n.Name] = len(f.Tensors)
		f.Tensors = append(f.Tensors, n)
	}
	for key, value := range shard.Metadata {
		f.Metadata[key] = value
	}
	f.Skipped = append(f.Skipped, shard.Skipped...)
	f.Globals = slices.Compact(slices.Sorted(slices.Values(append(f.Globals, shard.Globals...))))
	if f.Module == nil {
		f.Module = shard.Module
	}
	return nil
}

// sumOfSums is the SHA-256 of the lines that sha256sum would print for files, by name.
func sumOfSums(sums map[string]string) string {
	hash := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		fmt.Fprintf(hash, "%s  %s\n", sums[name], name)
	}
	return hex.EncodeToString(hash.Sum(nil))
}
