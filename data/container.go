package data

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// container is a closed list of files that can be read at random: those of a folder or an archive, or one file.
type container struct {
	what    string  // "folder", "tar", "tar.gz", "zip" or "file"
	root    string  // of a folder or file, the folder that the names are relative to; else ""
	entries []entry // sorted by name; regular files, without the hidden ones
	hidden  int     // files and folders left out because their name starts with a dot
	// read returns the whole content, in buf if it fits. Safe for concurrent use.
	read  func(e entry, buf []byte) ([]byte, error)
	close func() error
}

// entry is one file of a container.
type entry struct {
	name string // path inside the container, with slashes
	size int64  // bytes; for a zip, as its directory claims
	at   int64  // where it is: offset in a tar, index in a zip
}

// openContainer lists the files of a folder or archive, the kind of archive being told by its first bytes.
func openContainer(ctx context.Context, name string) (*container, error) {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: no such file or folder; give a folder or archive of images, CIFAR or IDX files, or builtin:train", name)
	}
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return openFolder(ctx, name)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is neither a folder nor a plain file, so it cannot be read at random; copy it to a file", name)
	}
	if info.Size() == 0 {
		return nil, fmt.Errorf("%s is empty (0 bytes); copy it again", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	box, err := openArchive(ctx, f, info.Size())
	if err == nil && box == nil {
		f.Close()
		return singleFile(name, info.Size()), nil
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return box, nil
}

// openArchive opens f as an archive, or returns nil, nil if it is none. On success f belongs to the container.
func openArchive(ctx context.Context, f *os.File, size int64) (*container, error) {
	head := make([]byte, 512)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	head = head[:n]
	name := strings.ToLower(f.Name())
	switch {
	case looksTar(head) || strings.HasSuffix(name, ".tar"):
		box, err := indexTar(ctx, f, size)
		if err != nil {
			return nil, err
		}
		box.close = f.Close
		return box, nil
	case bytes.HasPrefix(head, []byte("PK\x03\x04")) || bytes.HasPrefix(head, []byte("PK\x05\x06")) || strings.HasSuffix(name, ".zip"):
		box, err := indexZip(ctx, f, size)
		if err != nil {
			return nil, err
		}
		box.close = f.Close
		return box, nil
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		if !gzippedTar(f) {
			return nil, nil
		}
		content, err := gunzip(ctx, io.NewSectionReader(f, 0, size), size, maxUnpackedBytes)
		if err != nil {
			return nil, err
		}
		box, err := indexTar(ctx, bytes.NewReader(content), int64(len(content)))
		if err != nil {
			return nil, err
		}
		box.what, box.close = "tar.gz", func() error { return nil }
		f.Close()
		return box, nil
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}), bytes.HasPrefix(head, []byte("BZh")), bytes.HasPrefix(head, []byte("\xfd7zXZ")), bytes.HasPrefix(head, []byte("7z\xbc\xaf")):
		return nil, errors.New("compressed in a way that moco does not unpack; unpack it and give the folder or the .tar")
	}
	return nil, nil
}

// looksTar tells whether head, the first 512 bytes of a file, are a POSIX or GNU tar header.
func looksTar(head []byte) bool { return len(head) >= 262 && string(head[257:262]) == "ustar" }

// gzippedTar looks at the first unpacked block.
func gzippedTar(f io.ReaderAt) bool {
	z, err := gzip.NewReader(io.NewSectionReader(f, 0, 1<<20))
	if err != nil {
		return false
	}
	head := make([]byte, 512)
	n, _ := io.ReadFull(z, head)
	return looksTar(head[:n])
}

// gunzip unpacks r, of packed bytes, in memory, up to limit bytes.
func gunzip(ctx context.Context, r io.ReadSeeker, packed, limit int64) ([]byte, error) {
	tooLarge := fmt.Errorf("unpacks to more than %d MiB, which is the most that is held in memory; unpack it once (gunzip) and give the result", limit>>20)
	// The last four bytes are the unpacked size modulo 4 GiB, if there is one member. It is a hint for the
	// allocation only, trusted as far as deflate's best ratio of 1032 allows it.
	var tail [4]byte
	hint := int64(0)
	if _, err := r.Seek(-4, io.SeekEnd); err == nil {
		if _, err := io.ReadFull(r, tail[:]); err == nil {
			hint = min(int64(binary.LittleEndian.Uint32(tail[:])), 1032*packed)
		}
	}
	if hint > limit {
		return nil, tooLarge
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("the gzip file is damaged (%w); copy it again", err)
	}
	out := bytes.NewBuffer(make([]byte, 0, hint+bytes.MinRead))
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := io.CopyN(out, z, 4<<20)
		if int64(out.Len()) > limit {
			return nil, tooLarge
		}
		if errors.Is(err, io.EOF) && n < 4<<20 {
			return out.Bytes(), nil
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("the gzip file is cut short after %d unpacked bytes; copy it again", out.Len())
		}
		if err != nil {
			return nil, fmt.Errorf("the gzip file is damaged (%w); copy it again", err)
		}
	}
}

// indexTar reads the headers of a tar once and remembers where each file lies. A tar that ends inside a file
// or a header is an error; one that only lacks the end-of-archive marker is whole.
func indexTar(ctx context.Context, file io.ReaderAt, size int64) (*container, error) {
	box := &container{what: "tar"}
	window := &window{file: file, size: size}
	reader := tar.NewReader(window)
	var last entry
	for count := 0; ; count++ {
		if count%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		header, err := reader.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			if zeros(file, last.at+last.size, size) {
				break // of the last file's padding and the end mark, only a part is there
			}
			after := "its start"
			if count > 0 {
				after = last.name
			}
			if errors.Is(err, io.ErrUnexpectedEOF) {
				return nil, fmt.Errorf("tar ends in the middle of what follows %s, after %d entries; copy it again", after, count)
			}
			return nil, fmt.Errorf("tar is damaged after %s, after %d entries (%w); copy it again", after, count, err)
		}
		last = entry{name: path.Clean(header.Name), size: header.Size, at: window.pos}
		if sparse(header) {
			return nil, fmt.Errorf("tar entry %s is stored as a sparse file, which cannot be read at random; pack it without --sparse", last.name)
		}
		if header.Typeflag != tar.TypeReg {
			last.size = 0
			continue
		}
		if last.size > size-last.at {
			return nil, fmt.Errorf("tar ends in the middle of %s, after %d whole files; copy it again", last.name, len(box.entries)+box.hidden)
		}
		if hidden(last.name) {
			box.hidden++
			continue
		}
		box.entries = append(box.entries, last)
	}
	// A name that comes twice means that the later file replaced the earlier one, as unpacking would do.
	slices.SortStableFunc(box.entries, byName)
	kept := box.entries[:0]
	for i, e := range box.entries {
		if i+1 == len(box.entries) || box.entries[i+1].name != e.name {
			kept = append(kept, e)
		}
	}
	box.entries = kept
	box.read = func(e entry, buf []byte) ([]byte, error) {
		if e.size > maxFileBytes {
			return nil, tooLong(e.size)
		}
		buf = slices.Grow(buf[:0], int(e.size))[:e.size]
		if n, err := file.ReadAt(buf, e.at); n < len(buf) {
			return nil, err
		}
		return buf, nil
	}
	return box, nil
}

// zeros tells whether what lies from a place on is zeros, and less than padding and end mark may be together.
func zeros(file io.ReaderAt, from, to int64) bool {
	var tail [3 * 512]byte
	if from > to || to-from >= int64(len(tail)) {
		return false
	}
	n, _ := file.ReadAt(tail[:to-from], from)
	return int64(n) == to-from && tail == [len(tail)]byte{}
}

// sparse tells whether a tar entry's bytes are not simply those of the file.
func sparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// window reads a file forward through a small buffer, so that neighbouring tar headers cost one read
// together, and knows where it is, which tar.Reader does not tell.
type window struct {
	file      io.ReaderAt
	size, pos int64
	buf       [4096]byte
	from, to  int64 // the part of the file that buf holds
}

func (w *window) Read(p []byte) (int, error) {
	if w.pos >= w.size {
		return 0, io.EOF
	}
	if w.pos < w.from || w.pos >= w.to {
		n, err := w.file.ReadAt(w.buf[:min(int64(len(w.buf)), w.size-w.pos)], w.pos)
		if n == 0 {
			return 0, err
		}
		w.from, w.to = w.pos, w.pos+int64(n)
	}
	n := copy(p, w.buf[w.pos-w.from:w.to-w.from])
	w.pos += int64(n)
	return n, nil
}

func (w *window) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += w.pos
	case io.SeekEnd:
		offset += w.size
	}
	if offset < 0 {
		return 0, fs.ErrInvalid
	}
	w.pos = offset
	return offset, nil
}

// indexZip reads the directory of a zip.
func indexZip(ctx context.Context, file io.ReaderAt, size int64) (*container, error) {
	archive, err := zip.NewReader(file, size)
	if errors.Is(err, zip.ErrFormat) {
		return nil, errors.New("the zip has no directory at its end, so it is cut short or no zip at all; copy it again")
	}
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // odd paths do no harm here: nothing is unpacked
		return nil, fmt.Errorf("the zip is damaged (%w); copy it again", err)
	}
	box := &container{what: "zip"}
	for i, f := range archive.File {
		if i%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		name := path.Clean(strings.ReplaceAll(f.Name, `\`, "/"))
		switch {
		case !f.Mode().IsRegular():
		case hidden(name) || strings.HasPrefix(name, "__MACOSX/"):
			box.hidden++
		default:
			box.entries = append(box.entries, entry{name: name, size: int64(min(f.UncompressedSize64, 1<<62)), at: int64(i)})
		}
	}
	slices.SortStableFunc(box.entries, byName)
	box.entries = slices.CompactFunc(box.entries, func(a, b entry) bool { return a.name == b.name })
	box.read = func(e entry, buf []byte) ([]byte, error) {
		r, err := archive.File[e.at].Open()
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return readAll(r, buf)
	}
	return box, nil
}

// openFolder lists a folder and all below it. Symbolic links are followed, except back into a folder that
// leads to them.
func openFolder(ctx context.Context, root string) (*container, error) {
	box := &container{what: "folder", root: root, close: func() error { return nil }}
	var walk func(dir string, above []fs.FileInfo) error
	walk = func(dir string, above []fs.FileInfo) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		here, err := os.Stat(filepath.Join(root, dir))
		if err != nil {
			return err
		}
		if slices.ContainsFunc(above, func(a fs.FileInfo) bool { return os.SameFile(a, here) }) {
			return nil
		}
		above = append(above, here)
		list, err := os.ReadDir(filepath.Join(root, dir))
		if err != nil {
			return err
		}
		for _, item := range list {
			if strings.HasPrefix(item.Name(), ".") {
				box.hidden++
				continue
			}
			name := filepath.Join(dir, item.Name())
			info, err := item.Info()
			if err == nil && info.Mode()&fs.ModeSymlink != 0 {
				info, err = os.Stat(filepath.Join(root, name))
			}
			switch {
			case errors.Is(err, fs.ErrNotExist): // a dangling link, or gone meanwhile
			case err != nil:
				return err
			case info.IsDir():
				if err := walk(name, above); err != nil {
					return err
				}
			case info.Mode().IsRegular():
				box.entries = append(box.entries, entry{name: filepath.ToSlash(name), size: info.Size()})
			}
		}
		return nil
	}
	if err := walk("", nil); err != nil {
		return nil, err
	}
	slices.SortFunc(box.entries, byName)
	box.read = func(e entry, buf []byte) ([]byte, error) {
		f, err := os.Open(filepath.Join(root, filepath.FromSlash(e.name)))
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if e.size > maxFileBytes {
			return nil, tooLong(e.size)
		}
		return readAll(f, slices.Grow(buf[:0], int(e.size)+1)) // one more: the read that meets the end needs room
	}
	return box, nil
}

// singleFile is the container of a path that is neither folder nor archive. An IDX images file brings its
// labels along.
func singleFile(name string, size int64) *container {
	dir := filepath.Dir(name)
	box := &container{what: "file", root: dir, entries: []entry{{name: filepath.Base(name), size: size}}, close: func() error { return nil }}
	for _, label := range idxLabelNames(filepath.Base(name)) {
		if info, err := os.Stat(filepath.Join(dir, label)); err == nil && info.Mode().IsRegular() {
			box.entries = append(box.entries, entry{name: label, size: info.Size()})
			break
		}
	}
	box.read = func(e entry, buf []byte) ([]byte, error) {
		f, err := os.Open(filepath.Join(dir, e.name))
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return readAll(f, buf)
	}
	return box
}

// nothingFound says why a container gives no set, and what would.
func (c *container) nothingFound() error {
	const want = "want images (" + extensionList + "), CIFAR binary files or IDX files"
	if len(c.entries) == 0 {
		return fmt.Errorf("this %s holds no files; %s", c.what, want)
	}
	for _, e := range c.entries {
		if base := path.Base(e.name); base == "data_batch_1" || base == "batches.meta" {
			return errors.New("this is CIFAR in its Python form; get the binary version (data_batch_1.bin and so on)")
		}
	}
	for _, e := range c.entries {
		if ext := path.Ext(e.name); c.what == "folder" && (ext == ".tar" || ext == ".tgz" || ext == ".gz" || ext == ".zip") {
			return fmt.Errorf("this folder holds no images but archives; give one of them, such as its %s", e.name)
		}
	}
	if c.what == "file" {
		return fmt.Errorf("neither an archive (.tar, .tar.gz, .zip) nor an image nor IDX; %s", want)
	}
	return fmt.Errorf("none of the %d files in this %s is an image (the first is %s); %s", len(c.entries), c.what, c.entries[0].name, want)
}

// hidden tells whether a part of the path starts with a dot.
func hidden(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(part, ".") && part != "." && part != ".." {
			return true
		}
	}
	return false
}

func byName(a, b entry) int { return cmp.Compare(a.name, b.name) }

func tooLong(size int64) error {
	return fmt.Errorf("%d bytes long, more than the %d MiB that one file may have", size, maxFileBytes>>20)
}

// readAll reads r to its end into buf, growing it as bytes come rather than as a header claims.
func readAll(r io.Reader, buf []byte) ([]byte, error) {
	buf = buf[:0]
	for {
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, max(4096, cap(buf)/2))
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
		if len(buf) > maxFileBytes {
			return nil, tooLong(int64(len(buf)))
		}
	}
}
