// Package links lays out a folder of symbolic links, one folder a class, and keeps it up to date:
// for looking at how pictures were sorted without moving any.
//
// A folder that it made holds a list of the links in it. Only these are ever removed or replaced;
// whatever else lies there stays, and a folder without such a list is not touched.
package links

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"moco/internal/atomicfile"
)

// List is the name of the file that lists a folder's links.
const List = ".moco-links.json"

// Link is a link to make.
type Link struct {
	Class  string // the folder that it is in; any text
	Name   string // its path in there, with slashes
	Target string // the file that it leads to
}

// NotOursError is the error of a folder that holds something else than links that this package
// made.
type NotOursError struct{ Path string }

func (e *NotOursError) Error() string {
	return fmt.Sprintf("%s is there already and holds no links of moco's", e.Path)
}

// Write makes dir hold these links and no other ones that it made earlier. Targets become absolute
// paths. The folder may be new, empty, or one that Write made; anything else is a *NotOursError,
// before anything is changed. After a stop on the way, the next Write puts all right.
func Write(dir string, list []Link) error {
	old, err := read(dir)
	if err != nil {
		return err
	}
	folders := foldersOf(list)
	places, wanted := make([]string, len(list)), map[string]bool{}
	for i, l := range list {
		if !filepath.IsLocal(filepath.FromSlash(l.Name)) || path.Clean(l.Name) == "." {
			return fmt.Errorf("the name %q leads out of the folder of links", l.Name)
		}
		places[i] = path.Join(folders[l.Class], path.Clean(l.Name))
		if wanted[places[i]] {
			return fmt.Errorf("two links have the name %q", places[i])
		}
		wanted[places[i]] = true
	}
	known := map[string]bool{}
	for _, p := range old {
		known[p] = true
	}
	for _, p := range places {
		if _, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(p))); err == nil && !known[p] {
			return &NotOursError{Path: filepath.Join(dir, filepath.FromSlash(p))}
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// All that is there on the way is in the list, old and new.
	if err := save(dir, append(slices.Clone(old), places...)); err != nil {
		return err
	}
	if err := remove(dir, old); err != nil {
		return err
	}
	for i, l := range list {
		if err := link(filepath.Join(dir, filepath.FromSlash(places[i])), l.Target); err != nil {
			return err
		}
	}
	return save(dir, places)
}

// read is the links that an earlier Write made in dir.
func read(dir string) ([]string, error) {
	raw, err := os.ReadFile(filepath.Join(dir, List))
	if err == nil {
		var list []string
		if err := json.Unmarshal(raw, &list); err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(dir, List), err)
		}
		return slices.DeleteFunc(list, func(p string) bool { return !filepath.IsLocal(filepath.FromSlash(p)) }), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case len(entries) > 0:
		return nil, &NotOursError{Path: dir}
	}
	return nil, nil
}

// save writes the list of links.
func save(dir string, list []string) error {
	slices.Sort(list)
	raw, err := json.MarshalIndent(slices.Compact(list), "", " ")
	if err != nil {
		return err
	}
	_, err = atomicfile.Save(filepath.Join(dir, List), func(w io.Writer) error {
		_, err := w.Write(append(raw, '\n'))
		return err
	})
	return err
}

// remove takes away links, and folders that are empty then. What is no link any more stays.
func remove(dir string, list []string) error {
	folders := map[string]bool{}
	for _, p := range list {
		at := filepath.Join(dir, filepath.FromSlash(p))
		info, err := os.Lstat(at)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			return &NotOursError{Path: at}
		}
		if err := os.Remove(at); err != nil {
			return err
		}
		for up := path.Dir(p); up != "."; up = path.Dir(up) {
			folders[up] = true
		}
	}
	var deepest []string
	for f := range folders {
		deepest = append(deepest, f)
	}
	slices.SortFunc(deepest, func(a, b string) int { return strings.Count(b, "/") - strings.Count(a, "/") })
	for _, f := range deepest {
		os.Remove(filepath.Join(dir, filepath.FromSlash(f))) // fails where something else is in it
	}
	return nil
}

// link makes one link. It replaces nothing.
func link(at, target string) error {
	target, err := filepath.Abs(target)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	return os.Symlink(target, at)
}

// foldersOf gives each class a folder's name of its own. Classes come from people: what no system
// takes in a name is replaced, and a name that is taken by then gets a number.
func foldersOf(list []Link) map[string]string {
	folders, taken := map[string]string{}, map[string]bool{strings.ToLower(List): true}
	for _, l := range list {
		if _, ok := folders[l.Class]; ok {
			continue
		}
		name := folderName(l.Class)
		// Some systems do not tell capitals from small letters.
		for try, n := name, 2; ; try, n = fmt.Sprintf("%s (%d)", name, n), n+1 {
			if !taken[strings.ToLower(try)] {
				folders[l.Class], taken[strings.ToLower(try)] = try, true
				break
			}
		}
	}
	return folders
}

// folderName makes a folder's name of any text.
func folderName(class string) string {
	name := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(class, "_"))
	name = strings.TrimRight(strings.TrimSpace(name), ". ") // which Windows would drop
	const most = 100
	for len(name) > most {
		runes := []rune(name)
		name = string(runes[:len(runes)-1])
	}
	if name == "" || !filepath.IsLocal(name) || strings.HasPrefix(name, ".") {
		name = "_" + name
	}
	return name
}
