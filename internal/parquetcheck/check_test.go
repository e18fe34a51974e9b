package parquetcheck

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

type row struct {
	Path string `parquet:"path,dict"`
}

// written is a sound file with one column.
func written(t testing.TB, options ...parquet.WriterOption) []byte {
	t.Helper()
	return writtenRows(t, []row{{"a.jpg"}, {"b.jpg"}, {"c.jpg"}}, options...)
}

func writtenRows(t testing.TB, rows []row, options ...parquet.WriterOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[row](&b, options...)
	if _, err := w.Write(rows); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// changed is a sound file whose first page's header and footer lie.
func changed(t testing.TB, page func(h *format.PageHeader), footer func(m *format.FileMetaData)) []byte {
	t.Helper()
	file := written(t)
	open, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	meta := *open.Metadata()
	column := &meta.RowGroups[0].Columns[0].MetaData
	from := column.DictionaryPageOffset
	var protocol thrift.CompactProtocol
	var header format.PageHeader
	r := bytes.NewReader(file[from:])
	if err := thrift.NewDecoder(protocol.NewReader(r)).Decode(&header); err != nil {
		t.Fatal(err)
	}
	old := r.Size() - int64(r.Len())
	if page != nil {
		page(&header)
	}
	fresh, err := thrift.Marshal(&protocol, header)
	if err != nil {
		t.Fatal(err)
	}
	more := int64(len(fresh)) - old
	pages := file[from+old : from+column.TotalCompressedSize]
	column.TotalCompressedSize += more
	column.DataPageOffset += more
	if footer != nil {
		footer(&meta)
	}
	end, err := thrift.Marshal(&protocol, meta)
	if err != nil {
		t.Fatal(err)
	}
	out := append(append(bytes.Clone(file[:from]), fresh...), pages...)
	return closed(append(out, end...), len(end))
}

// closed puts the end behind a footer.
func closed(b []byte, footer int) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(footer)), magic...)
}

func check(b []byte) error { return Check(bytes.NewReader(b), int64(len(b))) }

func TestSoundFiles(t *testing.T) {
	t.Parallel()
	for name, b := range map[string][]byte{
		"as written":   written(t),
		"of version 1": written(t, parquet.DataPageVersion(1)),
		"packed":       written(t, parquet.Compression(&parquet.Zstd)),
		"taken apart":  changed(t, nil, nil),
		"long footer":  changed(t, nil, func(m *format.FileMetaData) { m.CreatedBy = strings.Repeat("x", 100_000) }),
		"long headers": writtenRows(t, []row{{strings.Repeat("a", 30_000)}, {"b"}}, parquet.DataPageStatistics(true)),
	} {
		if err := check(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestClaims(t *testing.T) {
	t.Parallel()
	list := func(n uint64) []byte { // a footer with a list of n schema elements, none of which is there
		return binary.AppendUvarint([]byte{0x29, 0xfc}, n)
	}
	for name, b := range map[string][]byte{
		"unpacked":          changed(t, func(h *format.PageHeader) { h.UncompressedPageSize = 1<<31 - 1 }, nil),
		"packed":            changed(t, func(h *format.PageHeader) { h.CompressedPageSize = 1<<31 - 1 }, nil),
		"packed by one":     changed(t, func(h *format.PageHeader) { h.CompressedPageSize += 1000 }, nil),
		"values":            changed(t, func(h *format.PageHeader) { h.DictionaryPageHeader.V.NumValues = 1<<31 - 1 }, nil),
		"below nothing":     changed(t, func(h *format.PageHeader) { h.CompressedPageSize = -5 }, nil),
		"column's length":   changed(t, nil, func(m *format.FileMetaData) { m.RowGroups[0].Columns[0].MetaData.TotalCompressedSize = 1 << 40 }),
		"column's place":    changed(t, nil, func(m *format.FileMetaData) { m.RowGroups[0].Columns[0].MetaData.DictionaryPageOffset = -1 }),
		"within a page":     changed(t, nil, func(m *format.FileMetaData) { m.RowGroups[0].Columns[0].MetaData.DataPageOffset-- }),
		"footer":            closed([]byte(magic), 1<<31),
		"long list":         closed(append([]byte(magic), list(1<<31-1)...), 7),
		"long string":       closed(append([]byte(magic), 0x68, 0xff, 0xff, 0xff, 0xff, 7), 6),
		"list of its bytes": closed(append(append([]byte(magic), list(1<<20)...), make([]byte, 1<<20)...), 1<<20+5),
		"nested":            closed(append([]byte(magic), bytes.Repeat([]byte{0x1c}, 500)...), 500),
		"nothing":           nil,
	} {
		if err := check(b); err == nil {
			t.Errorf("%s: nothing is said", name)
		} else if limit := (*LimitError)(nil); !errors.As(err, &limit) && !errors.Is(err, errDamaged) && name != "nothing" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestReadError: the file's own error is the one that is returned.
func TestReadError(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	if err := Check(failing{broken}, 1000); !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

var _ io.ReaderAt = failing{}

func FuzzCheck(f *testing.F) {
	f.Add(written(f))
	f.Add(written(f, parquet.DataPageVersion(1), parquet.Compression(&parquet.Snappy)))
	f.Add(changed(f, func(h *format.PageHeader) { h.UncompressedPageSize = 1<<31 - 1 }, nil))
	f.Add(closed(append([]byte(magic), 0x29, 0xfc, 0xff, 0xff, 0xff, 0xff, 7), 7))
	f.Fuzz(func(t *testing.T, b []byte) {
		if check(b) == nil && len(b) < 12 {
			t.Error("a file of no more than its magic bytes is let through")
		}
	})
}
