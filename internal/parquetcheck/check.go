// Package parquetcheck looks at a Parquet file before a library reads it. Libraries take the memory
// that a file's headers ask for before they look whether there is anything to fill it; a file of a
// kilobyte may ask for gigabytes. Check walks the footer and the headers of all pages, without
// memory for more than one of them, and refuses what asks for too much.
//
// What is behind the headers is not looked at: compressed data that unpack to more than their header
// says, and runs of equal values, of which a few bytes stand for millions.
package parquetcheck

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// What a file may ask for.
const (
	// MaxPage is how many bytes a page may unpack to. Writers make pages of some megabytes, and some
	// of up to a hundred.
	MaxPage = 256 << 20
	// MaxValues is how many values a page may have.
	MaxValues = 1 << 26
	// MaxFooter is how many bytes a footer may have, and how many it may take once it is read.
	MaxFooter = 256 << 20
)

// LimitError is the error of a file that asks for more than is read.
type LimitError struct {
	What       string // what there is too much of
	Has, Limit int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s: it claims %d, and at most %d are read", e.What, e.Has, e.Limit)
}

// errDamaged is the error of headers that are none.
var errDamaged = errors.New("its headers are damaged")

const magic = "PAR1"

// Check returns an error if reading the file may take more memory than the limits allow, or if its
// headers cannot be made sense of. A file without an error is not necessarily sound.
func Check(r io.ReaderAt, size int64) error {
	chunks, err := footer(r, size)
	if err != nil {
		return err
	}
	for _, c := range chunks {
		if err := c.check(r, size); err != nil {
			return err
		}
	}
	return nil
}

// footer reads where the columns of each group of rows lie.
func footer(r io.ReaderAt, size int64) ([]chunk, error) {
	var end [8]byte // its length, and the magic bytes
	if size < int64(len(magic)+len(end)) {
		return nil, errDamaged
	}
	if _, err := r.ReadAt(end[:], size-int64(len(end))); err != nil && err != io.EOF {
		return nil, err
	}
	if string(end[4:]) != magic {
		return nil, errors.New("it does not end as a Parquet file does; encrypted ones are not read")
	}
	length := int64(binary.LittleEndian.Uint32(end[:]))
	if room := min(MaxFooter, size-int64(len(magic)+len(end))); length > room {
		return nil, &LimitError{"bytes of the footer", length, room}
	}
	b := make([]byte, length)
	if _, err := r.ReadAt(b, size-int64(len(end))-length); err != nil && err != io.EOF {
		return nil, err
	}
	w := &walker{b: b}
	return fileMetaData(w), w.err
}

// chunk is a column of a group of rows.
type chunk struct{ data, dictionary, length int64 }

// check walks the headers of its pages.
func (c *chunk) check(r io.ReaderAt, size int64) error {
	at := c.data
	if c.dictionary != 0 {
		at = c.dictionary
	}
	if at < 0 || c.length < 0 || at > size || c.length > size-at {
		return errDamaged
	}
	seen := c.dictionary == 0
	for end := at + c.length; at < end; {
		seen = seen || at == c.data // readers go there directly
		p, length, err := pageAt(r, at, end)
		if err != nil {
			return err
		}
		at += length
		if err := p.check(end - at); err != nil {
			return err
		}
		at += p.packed
	}
	if !seen {
		return errDamaged
	}
	return nil
}

// window is the bytes in which a page's header is looked for first. One with long statistics does not
// fit: it is looked for in ever more, up to longest.
const window, longest = 1 << 10, 16 << 20

// pageAt reads the header of a page, and its length.
func pageAt(r io.ReaderAt, at, end int64) (p page, length int64, err error) {
	for room := int64(window); ; room *= 16 {
		room = min(room, end-at)
		b := make([]byte, room)
		if n, err := r.ReadAt(b, at); n < len(b) {
			return p, 0, err
		}
		w := &walker{b: b}
		p = pageHeader(w)
		if w.err == nil {
			return p, int64(w.at), nil
		}
		if room == end-at || room >= longest {
			return p, 0, w.err
		}
	}
}

// page is what a page's header claims.
type page struct{ unpacked, packed, values int64 }

// check holds it to the limits and to the bytes that are left in its column.
func (p *page) check(left int64) error {
	switch {
	case p.packed < 0 || p.unpacked < 0 || p.values < 0:
		return errDamaged
	case p.packed > left:
		return &LimitError{"bytes of a page", p.packed, left}
	case p.unpacked > MaxPage:
		return &LimitError{"bytes that a page unpacks to", p.unpacked, MaxPage}
	case p.values > MaxValues:
		return &LimitError{"values of a page", p.values, MaxValues}
	}
	return nil
}
