package data

import (
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

	"moco/picture"
)

// container is a closed list of files that can be read at random: those of a folder or an archive,
// those that a list names, or one file.
type container struct {
	what    string  // "folder", "tar", "tar.gz", "zip", "list" or "file"
	root    string  // of a folder, list or file: the folder that the names are relative to; else ""
	entries []entry // sorted by name; regular files, without those that left counts
	left    tally
	// place returns the path of the file on the disk that an entry is, or that it is in.
	place func(e entry) string
	// read returns the whole content, in buf if it fits. Safe for concurrent use.
	read func(e entry, buf []byte) ([]byte, error)
	// open returns the content as a stream. Safe for concurrent use.
	open  func(e entry) (io.ReadCloser, error)
	close func() error
}

// entry is one file of a container.
type entry struct {
	name string // path inside the container as it is stored, with slashes
	size int64  // bytes; for a zip, as its directory claims
	at   int64  // where it is: offset in a tar, index in a zip
	time int64  // of its last change, Unix nanoseconds; 0: not known
}

// head returns the first bytes of a file, as many as tell what a picture is.
func (c *container) head(e entry, buf []byte) ([]byte, error) {
	r, err := c.open(e)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	buf = slices.Grow(buf[:0], picture.SniffBytes)[:picture.SniffBytes]
	n, err := io.ReadFull(r, buf)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return buf[:n], err
}

// openContainer lists the files of a folder or archive, the kind of archive being told by its first
// bytes.
func openContainer(ctx context.Context, name string) (*container, error) {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: no such file or folder; "+
			"give a folder or archive of images, CIFAR or IDX files, or builtin:train (%w)", name, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return openFolder(ctx, name)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is neither a folder nor a plain file, so it cannot be read at random; copy "+
			"it to a file", name)
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
	box.place = func(entry) string { return name }
	return box, nil
}

// packers are compressions that are not unpacked, by how their files begin.
var packers = map[string]string{
	"\x28\xb5\x2f\xfd": "zstd",
	"BZh":              "bzip2", "\xfd7zXZ": "xz", "7z\xbc\xaf": "7z", "Rar!": "RAR", "LZIP": "lzip", "\x04\x22\x4d\x18": "LZ4",
}

// openArchive opens f as an archive, or returns nil, nil if it is none. Its content says what it
// is. Only where that says nothing, the name does, so that a damaged archive is called one. On
// success f belongs to the container.
func openArchive(ctx context.Context, f *os.File, size int64) (*container, error) {
	head := make([]byte, tarBlock)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	head = head[:n]
	ending := strings.ToLower(path.Ext(filepath.ToSlash(f.Name())))
	switch {
	case looksTar(head):
		return opened(f, "tar")(indexTar(ctx, f, size))
	case bytes.HasPrefix(head, []byte("PK\x03\x04")), bytes.HasPrefix(head, []byte("PK\x05\x06")),
		bytes.HasPrefix(head, []byte("PK\x07\x08")), bytes.HasPrefix(head, []byte("PK00PK")):
		return opened(f, "zip")(indexZip(ctx, f, size))
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return openGzip(ctx, f, size)
	}
	for magic, packer := range packers {
		if bytes.HasPrefix(head, []byte(magic)) {
			return nil, fmt.Errorf("packed by %s, which moco does not unpack; unpack it and give the folder or "+
				"the .tar", packer)
		}
	}
	if _, ok := picture.Sniff(head); ok {
		return nil, nil
	}
	switch {
	case ending == ".tar":
		return opened(f, "tar")(indexTar(ctx, f, size))
	case ending == ".zip":
		return opened(f, "zip")(indexZip(ctx, f, size))
	case splitName(ending):
		return nil, ErrSplit
	}
	return nil, nil
}

// opened gives a container its file and its kind.
func opened(f *os.File, what string) func(*container, error) (*container, error) {
	return func(box *container, err error) (*container, error) {
		if err != nil {
			return nil, err
		}
		box.what, box.close = what, f.Close
		return box, nil
	}
}

// openGzip unpacks a gzipped tar into memory; nil, nil if it holds none.
func openGzip(ctx context.Context, f *os.File, size int64) (*container, error) {
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
	return box, f.Close()
}

// gzippedTar looks at the first unpacked block.
func gzippedTar(f io.ReaderAt) bool {
	z, err := gzip.NewReader(io.NewSectionReader(f, 0, 1<<20))
	if err != nil {
		return false
	}
	head := make([]byte, tarBlock)
	n, _ := io.ReadFull(z, head)
	return looksTar(head[:n])
}

// gunzip unpacks r, of packed bytes, in memory, up to limit bytes.
func gunzip(ctx context.Context, r io.ReadSeeker, packed, limit int64) ([]byte, error) {
	tooLarge := fmt.Errorf("unpacks to more than %d MiB, which is the most that is held in memory; "+
		"unpack it once (gunzip) and give the result", limit>>20)
	// The last four bytes are the unpacked size modulo 4 GiB, if there is one member. It is a hint
	// for the allocation only, trusted as far as deflate's best ratio of 1032 allows it.
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

// onDisk sets how a container reads files of the disk; place gives a file's path.
func (c *container) onDisk(place func(e entry) string) {
	c.place = place
	c.open = func(e entry) (io.ReadCloser, error) { return os.Open(place(e)) }
	c.read = func(e entry, buf []byte) ([]byte, error) {
		if e.size > maxFileBytes {
			return nil, tooLong(e.size)
		}
		f, err := os.Open(place(e))
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return readAll(f, slices.Grow(buf[:0], int(e.size)+1)) // one more: the read that meets the end needs room
	}
	c.close = func() error { return nil }
}

// singleFile is the container of a path that is neither folder nor archive. An IDX images file
// brings its labels along.
func singleFile(name string, size int64) *container {
	dir := filepath.Dir(name)
	box := &container{what: "file", root: dir, entries: []entry{{name: filepath.Base(name), size: size}}}
	for _, label := range idxLabelNames(filepath.Base(name)) {
		if info, err := os.Stat(filepath.Join(dir, label)); err == nil && info.Mode().IsRegular() {
			box.entries = append(box.entries, entry{name: label, size: info.Size()})
			break
		}
	}
	box.onDisk(func(e entry) string { return filepath.Join(dir, e.name) })
	return box
}

// nothingFound says why a container gives no set, and what would.
func (c *container) nothingFound() error {
	const want = "want images (" + extensionList + "), CIFAR binary files or IDX files"
	left := c.left.sum()
	left.System = 0 // what it holds is worth a line in any case
	if len(c.entries) == 0 {
		if told := left.String(); told != "" {
			return fmt.Errorf("this %s holds no files that are looked at (%s); %s", c.what, told, want)
		}
		return fmt.Errorf("this %s holds no files; %s", c.what, want)
	}
	for _, e := range c.entries {
		if base := path.Base(e.name); base == "data_batch_1" || base == "batches.meta" {
			return errors.New("this is CIFAR in its Python form; get the binary version (data_batch_1.bin and so on)")
		}
	}
	if c.what == "file" {
		return fmt.Errorf("neither an archive (.tar, .tar.gz, .zip) nor an image nor IDX nor a list of images; "+
			"%s", want)
	}
	return fmt.Errorf("none of the %d files in this %s is an image (the first is %s); %s: %s",
		len(c.entries), c.what, Text(c.entries[0].name), left, want)
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
