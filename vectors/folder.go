package vectors

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ShardsError is the error of a folder that does not hold each shard of one set once.
type ShardsError struct {
	Folder string
	// Missing are the names of shards that are not there.
	Missing []string
	// Doubled are the names of files that hold the same shard.
	Doubled []string
	// Foreign are the names of files of vectors that are no shards of the set.
	Foreign []string
}

func (e *ShardsError) Error() string {
	const most = 5 // names in a sentence
	var parts []string
	for _, p := range []struct {
		names []string
		text  string
	}{
		{e.Missing, "missing"},
		{e.Doubled, "holding the same shard"},
		{e.Foreign, "not of this set"},
	} {
		if n := len(p.names); n > 0 {
			text := p.text + ": " + strings.Join(p.names[:min(n, most)], ", ")
			if n > most {
				text += fmt.Sprintf(" and %d more", n-most)
			}
			parts = append(parts, text)
		}
	}
	return fmt.Sprintf("%s does not hold each shard of one set once (%s)", e.Folder, strings.Join(parts, "; "))
}

// listShards finds the files of the shards in a folder, in order. Files that are not of vectors are
// left alone, such as logs, and so are hidden ones.
func listShards(folder string) ([]string, error) {
	if info, err := os.Stat(filepath.Join(folder, clipArrays)); err == nil && info.IsDir() {
		return listClip(folder)
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	e := &ShardsError{Folder: folder}
	sets := e.setsOf(entries)
	if len(sets) == 0 {
		return nil, fmt.Errorf("there are no shards in it, as NAME-0001-of-0007.npy is one (%d other files of vectors)",
			len(e.Foreign))
	}
	meant := e.sort(sets)
	var paths []string
	for i := 1; i <= meant.count; i++ {
		name, ok := sets[meant][i]
		if !ok {
			e.Missing = append(e.Missing, Shard{Index: i, Count: meant.count}.Path(meant.whole))
			continue
		}
		paths = append(paths, filepath.Join(folder, name))
	}
	if len(e.Missing)+len(e.Doubled)+len(e.Foreign) > 0 {
		return nil, e
	}
	return paths, nil
}

// shardSet is what the shards of a set have in common.
type shardSet struct {
	whole string // the name of a file with all of them
	count int
}

// setsOf lists the files of each set by their number. Files of vectors that are no shards are
// foreign.
func (e *ShardsError) setsOf(entries []os.DirEntry) map[shardSet]map[int]string {
	sets := map[shardSet]map[int]string{}
	for _, entry := range entries {
		name := entry.Name()
		if entry.IsDir() || strings.HasPrefix(name, ".") || Check(name) != nil || isManifest(name) {
			continue
		}
		whole, s, ok := parseShardName(name)
		if !ok {
			e.Foreign = append(e.Foreign, name)
			continue
		}
		of := shardSet{whole, s.Count}
		if sets[of] == nil {
			sets[of] = map[int]string{}
		}
		sets[of][s.Index] = name
	}
	return sets
}

// sort finds the set that is meant, the one with the most files. Shards of the others are foreign,
// or the same in another format.
func (e *ShardsError) sort(sets map[shardSet]map[int]string) (meant shardSet) {
	all := slices.SortedFunc(maps.Keys(sets), func(a, b shardSet) int {
		return cmp.Or(cmp.Compare(len(sets[b]), len(sets[a])), cmp.Compare(a.whole, b.whole), cmp.Compare(a.count, b.count))
	})
	meant = all[0]
	for _, other := range all[1:] {
		for index, name := range sets[other] {
			twin, ok := sets[meant][index]
			if ok && other.count == meant.count && stem(other.whole) == stem(meant.whole) {
				e.Doubled = append(e.Doubled, twin, name)
			} else {
				e.Foreign = append(e.Foreign, name)
			}
		}
	}
	slices.Sort(e.Doubled)
	slices.Sort(e.Foreign)
	return meant
}

func stem(name string) string { return strings.TrimSuffix(name, filepath.Ext(name)) }

// isManifest tells whether a file has the names of an array's rows.
func isManifest(name string) bool {
	return strings.HasSuffix(strings.ToLower(name), ".npy.jsonl")
}

// shards is the decoder of a folder of shards: their rows one after the other. One file is open at
// a time.
type shards struct {
	what  Head
	paths []string
	now   *Reader // of paths[0]; nil: not open yet
}

// openShards looks at all shards of a folder before it reads the first row.
func openShards(folder string) (d *shards, err error) {
	d = &shards{}
	if d.paths, err = listShards(folder); err != nil {
		return nil, err
	}
	begins := map[string]string{} // the file that begins with an image
	for _, path := range d.paths {
		h, first, err := peek(path)
		if err != nil {
			return nil, err
		}
		if h.Dim != 0 && d.what.Dim == 0 {
			d.what.Dim, d.what.Type = h.Dim, h.Type
		}
		// An empty file of lines does not know its vectors' length.
		if h.Dim != 0 && (h.Dim != d.what.Dim || h.Type != d.what.Type) {
			return nil, fmt.Errorf("%w: its rows are %d numbers of %v, those of the shards before it %d of %v",
				&ShardsError{Folder: folder, Foreign: []string{filepath.Base(path)}}, h.Dim, h.Type, d.what.Dim, d.what.Type)
		}
		if first != nil {
			if other, ok := begins[first.Path]; ok {
				return nil, &ShardsError{Folder: folder, Doubled: []string{filepath.Base(other), filepath.Base(path)}}
			}
			begins[first.Path] = path
		}
		if h.Rows < 0 || d.what.Rows < 0 {
			d.what.Rows = -1
		} else {
			d.what.Rows += h.Rows
		}
	}
	return d, nil
}

// peek reads the head and the first row of a file; first is nil if it has none.
func peek(path string) (h Head, first *Row, err error) {
	r, err := Open(path)
	if err != nil {
		return h, nil, err
	}
	defer r.Close()
	first = new(Row)
	switch err := r.decoder.next(first); {
	case err == io.EOF:
		return r.Head(), nil, nil
	case err != nil:
		return h, nil, fmt.Errorf("read %s: %w", path, err)
	}
	return r.Head(), first, nil
}

func (d *shards) head() Head { return d.what }

func (d *shards) next(row *Row) error {
	for len(d.paths) > 0 {
		if d.now == nil {
			var err error
			if d.now, err = Open(d.paths[0]); err != nil {
				return err
			}
		}
		err := d.now.decoder.next(row)
		if err == nil {
			return nil
		}
		if err != io.EOF {
			return fmt.Errorf("%s: %w", filepath.Base(d.paths[0]), err)
		}
		if err := d.close(); err != nil {
			return err
		}
		d.paths = d.paths[1:]
	}
	return io.EOF
}

func (d *shards) close() error {
	if d.now == nil {
		return nil
	}
	now := d.now
	d.now = nil
	return now.Close()
}
