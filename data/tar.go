package data

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
)

// tarBlock is the length of a tar header.
const tarBlock = 512

// looksTar tells whether head, the first 512 bytes of a file, are a tar header: of POSIX or GNU by
// their magic, of older ones by the checksum.
func looksTar(head []byte) bool {
	if len(head) < tarBlock {
		return false
	}
	if string(head[257:262]) == "ustar" {
		return true
	}
	if head[0] == 0 {
		return false
	}
	sum := int64(0)
	for i, b := range head {
		if i >= 148 && i < 156 {
			b = ' '
		}
		sum += int64(b)
	}
	want, digits := int64(0), 0
	for _, b := range bytes.Trim(head[148:156], " \x00") {
		if b < '0' || b > '7' {
			return false
		}
		want, digits = want<<3|int64(b-'0'), digits+1
	}
	return digits > 0 && want == sum
}

// indexTar reads the headers of a tar once and remembers where each file lies. A tar that ends
// inside a file or a header is an error; one that only lacks the end-of-archive marker is whole.
func indexTar(ctx context.Context, file io.ReaderAt, size int64) (*container, error) {
	box := &container{what: "tar"}
	list := archiveList{box: box}
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
			return nil, tarEnds(err, Text(last.name), count)
		}
		last = entry{name: cleanName(header.Name), size: header.Size, at: window.pos, time: changed(header.ModTime)}
		if sparse(header) {
			return nil, fmt.Errorf("tar entry %s is stored as a sparse file, which cannot be read at random; "+
				"pack it as plain files", Text(last.name))
		}
		switch header.Typeflag {
		case tar.TypeReg:
			if last.size > size-last.at {
				return nil, fmt.Errorf("tar ends in the middle of %s, after %d whole files; copy it again",
					Text(last.name), list.files)
			}
			list.file(last)
			continue
		case tar.TypeLink:
			list.hardLink(last.name, cleanName(header.Linkname))
		case tar.TypeSymlink:
			list.symlink(last.name, header.Linkname)
		}
		last.size = 0
	}
	if err := list.finish(ctx); err != nil {
		return nil, err
	}
	box.open = func(e entry) (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(file, e.at, e.size)), nil
	}
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

// tarEnds words what is wrong with a tar behind an entry.
func tarEnds(err error, after string, count int) error {
	if count == 0 {
		after = "its start"
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("tar ends in the middle of what follows %s, after %d entries; copy it again", after, count)
	}
	return fmt.Errorf("tar is damaged after %s, after %d entries (%w); copy it again", after, count, err)
}

// zeros tells whether what lies from a place on is zeros, and less than padding and end mark may be
// together.
func zeros(file io.ReaderAt, from, to int64) bool {
	var tail [3 * tarBlock]byte
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

// window reads a file forward through a small buffer, so that neighbouring tar headers cost one
// read together, and knows where it is, which tar.Reader does not tell.
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
