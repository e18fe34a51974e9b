package data

import (
	"context"
	"path"
	"slices"
	"strings"
)

// archiveList collects what an archive holds, in the archive's order. Of a name that comes twice
// the later one counts, as unpacking would leave it.
type archiveList struct {
	box   *container
	items []archived
	files int            // plain files so far
	named map[string]int // the latest item of a name; made when the first hard link comes
	links bool           // there are symbolic links
}

// archived is one item of an archive: a file, or a symbolic link to target.
type archived struct {
	entry
	target string
}

func (a *archiveList) add(item archived) {
	if item.name == "" {
		return
	}
	if a.named != nil {
		a.named[item.name] = len(a.items)
	}
	a.items = append(a.items, item)
}

func (a *archiveList) file(e entry) {
	a.files++
	a.add(archived{entry: e})
}

// symlink notes a symbolic link. Target is relative to the link's folder; an absolute one leads
// out.
func (a *archiveList) symlink(name, target string) {
	if target == "" || target[0] == '/' {
		a.box.left.links++
		return
	}
	a.links = true
	a.add(archived{entry: entry{name: name}, target: target})
}

// hardLink notes another name for a file that came before. One to a file that is not in the archive
// is counted.
func (a *archiveList) hardLink(name, target string) {
	if a.named == nil {
		a.named = map[string]int{}
		for i, item := range a.items {
			a.named[item.name] = i
		}
	}
	i, ok := a.named[target]
	if !ok {
		a.box.left.links++
		return
	}
	item := a.items[i]
	if item.target != "" && !strings.HasPrefix(item.target, "/") { // a hard link to a symbolic link
		item.target = "/" + path.Join(path.Dir(item.name), item.target)
	}
	item.name = name
	a.add(item)
}

// finish makes the container's entries: sorted, each name once, links followed, without what is
// left out.
func (a *archiveList) finish(ctx context.Context) error {
	slices.SortStableFunc(a.items, func(x, y archived) int { return strings.Compare(x.name, y.name) })
	last := a.items[:0]
	for i, item := range a.items {
		if i+1 == len(a.items) || a.items[i+1].name != item.name {
			last = append(last, item)
		}
	}
	a.items = last
	f := linkFollower{ctx: ctx, items: a.items, box: a.box}
	if err := f.walk("", "", nil, 0); err != nil {
		return err
	}
	if !a.links {
		return nil
	}
	slices.SortStableFunc(a.box.entries, byName)
	a.box.entries = slices.CompactFunc(a.box.entries, func(x, y entry) bool { return x.name == y.name })
	return nil
}

// linkFollower walks an archive as a folder would be walked if it had been unpacked.
type linkFollower struct {
	ctx     context.Context
	items   []archived // sorted by name
	box     *container
	entered int // links to folders that were followed
}

// maxEnteredLinks is how many links to folders are followed in one archive.
const maxEnteredLinks = 100_000

// walk adds the files below the folder dir, which is a path free of links, under the name of shown.
// Above are the folders, paths free of links too, that lead there. Nested counts the links on the
// way.
func (f *linkFollower) walk(dir, shown string, above []string, nested int) error {
	prefix := dir
	if dir != "" {
		prefix += "/"
	}
	from, _ := slices.BinarySearchFunc(f.items, prefix, func(x archived, p string) int { return strings.Compare(x.name, p) })
	for i, item := range f.items[from:] {
		if !strings.HasPrefix(item.name, prefix) {
			break
		}
		if i%4096 == 0 && f.ctx.Err() != nil {
			return f.ctx.Err()
		}
		name := item.name
		if nested > 0 {
			name = path.Join(shown, item.name[len(prefix):])
		}
		if f.box.left.skip(name) {
			continue
		}
		if item.target == "" {
			item.name = name
			f.box.entries = append(f.box.entries, item.entry)
			continue
		}
		if err := f.follow(item, name, append(above[:len(above):len(above)], foldersBetween(dir, item.name)...), nested); err != nil {
			return err
		}
	}
	return nil
}

// follow adds what a symbolic link leads to under the name of shown, or counts the link. A link to
// one of the folders above leads back to where it is.
func (f *linkFollower) follow(link archived, shown string, above []string, nested int) error {
	to, ok := f.resolve(path.Dir(link.name), link.target)
	if !ok {
		f.box.left.links++
		return nil
	}
	if e, ok := f.find(to); ok {
		e.name = shown
		f.box.entries = append(f.box.entries, e.entry)
		return nil
	}
	if slices.Contains(above, to) || nested == maxNestedLinks || f.entered == maxEnteredLinks {
		f.box.left.links++
		return nil
	}
	f.entered++
	before := len(f.box.entries)
	if err := f.walk(to, shown, above, nested+1); err != nil {
		return err
	}
	if len(f.box.entries) == before { // a folder that is not there, or holds no files
		f.box.left.links++
	}
	return nil
}

// foldersBetween returns the folders from dir down to the one that name lies in, both included.
func foldersBetween(dir, name string) []string {
	list := []string{dir}
	for at := len(dir) + 1; at < len(name); at++ {
		if name[at] == '/' {
			list = append(list, name[:at])
		}
	}
	return list
}

// find returns the item of a name.
func (f *linkFollower) find(name string) (archived, bool) {
	i, ok := slices.BinarySearchFunc(f.items, name, func(x archived, p string) int { return strings.Compare(x.name, p) })
	if !ok {
		return archived{}, false
	}
	return f.items[i], true
}

// resolve follows target from the folder dir to a path free of links. It fails where the way leads
// out of the archive or goes round. A target that begins with a slash, which only hardLink makes,
// begins at the archive's root.
func (f *linkFollower) resolve(dir, target string) (string, bool) {
	const mostLinks = 40 // as Linux has it
	var at []string
	if dir != "." {
		at = strings.Split(dir, "/")
	}
	todo := strings.Split(target, "/")
	if todo[0] == "" {
		at, todo = nil, todo[1:]
	}
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(at) == 0 {
				return "", false
			}
			at = at[:len(at)-1]
			continue
		}
		at = append(at[:len(at):len(at)], part)
		item, ok := f.find(strings.Join(at, "/"))
		if !ok || item.target == "" {
			continue
		}
		if links++; links > mostLinks {
			return "", false
		}
		next := strings.Split(item.target, "/")
		at = at[:len(at)-1]
		if next[0] == "" {
			at, next = nil, next[1:]
		}
		todo = append(next, todo...)
	}
	return strings.Join(at, "/"), true
}
