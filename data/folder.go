package data

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// maxNestedLinks is how many links to folders may lead into each other. Links among n folders, each
// to all of the others, would otherwise be n! paths.
const maxNestedLinks = 3

// openFolder lists a folder and all below it. Symbolic links are followed, to files and to folders,
// wherever they lead. Not followed, and counted, are those that lead nowhere or back into a folder
// that they lie in.
func openFolder(ctx context.Context, root string) (*container, error) {
	box := &container{what: "folder", root: root}
	w := folderWalk{ctx: ctx, root: root, box: box}
	if err := w.enter("", nil, 0); err != nil {
		return nil, err
	}
	slices.SortFunc(box.entries, byName)
	box.onDisk(func(e entry) string { return filepath.Join(root, filepath.FromSlash(e.name)) })
	return box, nil
}

// folderWalk is a walk through a folder.
type folderWalk struct {
	ctx  context.Context
	root string
	box  *container
}

// enter lists the files below dir, a path within root. Above are the folders that lead to it, links
// that many of them are links.
func (w *folderWalk) enter(dir string, above []fs.FileInfo, links int) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	here, err := os.Stat(filepath.Join(w.root, dir))
	if err != nil {
		return err
	}
	if slices.ContainsFunc(above, func(a fs.FileInfo) bool { return os.SameFile(a, here) }) {
		w.box.left.links++
		return nil
	}
	above = append(above[:len(above):len(above)], here)
	list, err := os.ReadDir(filepath.Join(w.root, dir))
	if err != nil {
		return err
	}
	for _, item := range list {
		if err := w.look(dir, item, above, links); err != nil {
			return err
		}
	}
	return nil
}

// look deals with one item of a folder.
func (w *folderWalk) look(dir string, item fs.DirEntry, above []fs.FileInfo, links int) error {
	name := filepath.Join(dir, item.Name())
	switch {
	case item.IsDir() && systemFolder(item.Name()):
		w.box.left.folder(Text(item.Name()), filesBelow(filepath.Join(w.root, name)))
		return nil
	case !item.IsDir() && systemFile(item.Name()):
		w.box.left.system++
		return nil
	}
	info, err := item.Info()
	if errors.Is(err, fs.ErrNotExist) { // gone meanwhile
		return nil
	}
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		if info, err = os.Stat(filepath.Join(w.root, name)); err != nil || info.IsDir() && links == maxNestedLinks {
			w.box.left.links++ // dangling, a link to itself, or one too many
			return nil
		}
		if info.IsDir() {
			return w.enter(name, above, links+1)
		}
	}
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return w.enter(name, above, links)
	case info.Mode().IsRegular():
		w.box.entries = append(w.box.entries, entry{
			name: filepath.ToSlash(name), size: info.Size(), time: info.ModTime().UnixNano(),
		})
	}
	return nil
}

// filesBelow counts the files in a folder that is left out. What cannot be listed, such as a
// lost+found, is not counted.
func filesBelow(dir string) int {
	n := 0
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return nil
	})
	return n
}
