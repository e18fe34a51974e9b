package pack

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"moco/data"
	"moco/internal/atomicfile"
)

// manifestName is the file in the folder that says what is done.
const manifestName = data.PackManifest

// manifestFormat is its format, and how pictures are made smaller: version 1 resized whole ones by
// Catmull and Rom's filter.
const manifestFormat = "moco pack 2"

// terms are what the shards' bytes depend on: a run goes on only under those that it began with.
type terms struct {
	Format      string `json:"format"`
	Data        string `json:"data"` // fingerprint
	Total       int    `json:"total_images"`
	Side        int    `json:"side"`
	Longest     bool   `json:"longest"`
	Quality     int    `json:"quality"`
	ShardImages int    `json:"images_a_shard"`
	ShardBytes  int64  `json:"bytes_a_shard"`
}

// manifest is the content of the file.
type manifest struct {
	Terms   terms        `json:"terms"`
	Classes []string     `json:"classes,omitempty"` // by the numbers in the .cls files
	Bad     []int        `json:"bad_images"`        // numbers of the images that could not be read
	Shards  []shardEntry `json:"shards"`
	Done    bool         `json:"done"`
}

// shardEntry is a shard that is whole.
type shardEntry struct {
	Name   string `json:"name"`
	Images int    `json:"images"`
	Bytes  int64  `json:"bytes"`
	Next   int    `json:"next_image"` // the first image that no shard up to this one has looked at
}

// newManifest is that of a run that begins.
func newManifest(o *Options) manifest {
	t := terms{
		Format: manifestFormat, Data: o.Data.Fingerprint(), Total: o.Data.Len(), Side: o.Side, Longest: o.Longest && o.Side > 0,
		ShardImages: o.Images, ShardBytes: o.Bytes,
	}
	if o.Side > 0 {
		t.Quality = o.Quality
	}
	return manifest{Terms: t, Classes: o.Data.Classes(), Bad: []int{}, Shards: []shardEntry{}}
}

// next is the first image that is not looked at yet.
func (m *manifest) next() int {
	if len(m.Shards) == 0 {
		return 0
	}
	return m.Shards[len(m.Shards)-1].Next
}

// maxManifest is the longest manifest that is read, in bytes.
const maxManifest = 1 << 28

// readManifest reads a manifest.
func readManifest(path string) (*manifest, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxManifest))
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// parseManifest holds a manifest to what Run writes.
func parseManifest(raw []byte) (*manifest, error) {
	var m manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("not the manifest of packed images: %w", err)
	}
	if m.Terms.Format != manifestFormat {
		return nil, fmt.Errorf("its format is %.40q, and what is read is %q", m.Terms.Format, manifestFormat)
	}
	at := 0
	for i, s := range m.Shards {
		if s.Name != shardName(i) || s.Images < 1 || s.Bytes < 1 || s.Next < at+s.Images || s.Next > m.Terms.Total {
			return nil, fmt.Errorf("its shard %d (%.40q) makes no sense", i, s.Name)
		}
		at = s.Next
	}
	for i, b := range m.Bad {
		if b < 0 || b >= m.Terms.Total || i > 0 && b <= m.Bad[i-1] {
			return nil, fmt.Errorf("its unreadable image %d makes no sense", b)
		}
	}
	return &m, nil
}

func shardName(i int) string { return fmt.Sprintf("%06d.tar", i) }

// write puts the manifest in the place of the last one.
func (m *manifest) write(path string) error {
	_, err := atomicfile.Save(path, func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", " ")
		return e.Encode(m)
	})
	return err
}

// check looks whether the shards are there.
func (m *manifest) check(folder string) error {
	for _, s := range m.Shards {
		info, err := os.Stat(filepath.Join(folder, s.Name))
		if err != nil {
			return fmt.Errorf("a shard that was written is gone: %w", err)
		}
		if info.Size() != s.Bytes {
			return fmt.Errorf("%s has %d bytes, and was written with %d; pack into another folder",
				s.Name, info.Size(), s.Bytes)
		}
	}
	return nil
}

// differences names the terms that are not the same.
func (t terms) differences(other terms) string {
	var list []string
	a, b := reflect.ValueOf(t), reflect.ValueOf(other)
	for i := range a.NumField() {
		if a.Field(i).Interface() != b.Field(i).Interface() {
			list = append(list, fmt.Sprintf("%s was %v and is %v", a.Type().Field(i).Tag.Get("json"), a.Field(i), b.Field(i)))
		}
	}
	return strings.Join(list, ", ")
}
