package vectors

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	flatbuffers "github.com/google/flatbuffers/go"
	"github.com/parquet-go/parquet-go"

	"moco/internal/parquetcheck"
)

// parquetRow is the schema.
type parquetRow struct {
	Path   string    `parquet:"path,snappy"`
	Label  *string   `parquet:"label,optional,dict"`
	Size   *int64    `parquet:"size,optional"`
	SHA256 *string   `parquet:"sha256,optional"`
	Vector []float32 `parquet:"vector,list"` // numbers hardly compress
}

// groupBytes is how much of the vectors a row group holds. The writer keeps one group in memory,
// and a reader may read one at once.
const groupBytes = 16 << 20

func saveParquet(path string, h Head, rows iter.Seq2[Row, error]) error {
	return each(path, rows, func(w io.Writer) (func(Row) error, func() error, error) {
		p := newRowWriter(w, h)
		group, n := max(1, groupBytes/h.Type.Bytes()/h.Dim), 0
		one := make([]parquetRow, 1)
		return func(r Row) error {
			one[0] = parquetRow{Path: r.Path, Vector: r.Vector}
			if r.Label != "" {
				one[0].Label = &r.Label
			}
			if r.SHA256 != "" {
				one[0].Size, one[0].SHA256 = &r.Size, &r.SHA256
			}
			if _, err := p.Write(one); err != nil {
				return err
			}
			if n++; n%group == 0 {
				return p.Flush()
			}
			return nil
		}, p.Close, nil
	})
}

// rowWriter writes rows of the schema.
type rowWriter interface {
	Write(rows []parquetRow) (int, error)
	Flush() error
	Close() error
}

func newRowWriter(w io.Writer, h Head) rowWriter {
	options := []parquet.WriterOption{parquet.CreatedBy("moco", "1", ""),
		parquet.KeyValueMetadata("ARROW:schema", arrowSchema(h)), parquet.PageBufferSize(1 << 20)}
	if h.Type == Float16 {
		return newHalfWriter(w, options)
	}
	return parquet.NewGenericWriter[parquetRow](w, options...)
}

// arrowSchema is the value that Arrow's own writers store under "ARROW:schema": the schema as an
// IPC message, in base64. Parquet has only lists; this tells that the vector's lists have a fixed
// size. Field numbers are those of Arrow's Schema.fbs and Message.fbs.
func arrowSchema(h Head) string {
	b := flatbuffers.NewBuilder(512)
	vector := func(items ...flatbuffers.UOffsetT) flatbuffers.UOffsetT {
		b.StartVector(4, len(items), 4)
		for i := range items {
			b.PrependUOffsetT(items[len(items)-1-i])
		}
		return b.EndVector(len(items))
	}
	const integer, floatingPoint, utf8, fixedSizeList = 2, 3, 5, 16 // members of the union Type
	field := func(name string, nullable bool, kind byte, of flatbuffers.UOffsetT,
		children ...flatbuffers.UOffsetT) flatbuffers.UOffsetT {
		n, c := b.CreateString(name), vector(children...)
		b.StartObject(7)
		b.PrependUOffsetTSlot(0, n, 0)
		b.PrependBoolSlot(1, nullable, false)
		b.PrependByteSlot(2, kind, 0)
		b.PrependUOffsetTSlot(3, of, 0)
		b.PrependUOffsetTSlot(5, c, 0)
		return b.EndObject()
	}
	text := func() flatbuffers.UOffsetT { b.StartObject(0); return b.EndObject() }
	path := field("path", false, utf8, text())
	label := field("label", true, utf8, text())
	b.StartObject(2)
	b.PrependInt32Slot(0, 64, 0) // bitWidth
	b.PrependBoolSlot(1, true, false)
	size := field("size", true, integer, b.EndObject())
	sum := field("sha256", true, utf8, text())
	b.StartObject(1)
	if h.Type == Float32 { // half precision is 0, the default
		b.PrependInt16Slot(0, 1, 0)
	}
	number := b.EndObject()
	element := field("element", false, floatingPoint, number)
	b.StartObject(1)
	b.PrependInt32Slot(0, int32(h.Dim), 0) // listSize
	list := b.EndObject()
	fields := vector(path, label, size, sum, field("vector", false, fixedSizeList, list, element))
	b.StartObject(4) // Schema; little endian is the default
	b.PrependUOffsetTSlot(1, fields, 0)
	schema := b.EndObject()
	b.StartObject(5)            // Message
	b.PrependInt16Slot(0, 4, 0) // version V5
	b.PrependByteSlot(1, 1, 0)  // the header is a Schema
	b.PrependUOffsetTSlot(2, schema, 0)
	b.Finish(b.EndObject())
	message := b.FinishedBytes()
	for len(message)%8 != 0 {
		message = append(message, 0)
	}
	raw := binary.LittleEndian.AppendUint32([]byte{0xff, 0xff, 0xff, 0xff}, uint32(len(message)))
	return base64.StdEncoding.EncodeToString(append(raw, message...))
}

// parquetFile is the decoder of .parquet.
type parquetFile struct {
	what   Head
	reader rowReader
	rows   []parquetRow // rows read; those from at to have are not returned yet
	at     int
	have   int
	end    bool
}

// rowReader reads rows of the schema.
type rowReader interface {
	Read(rows []parquetRow) (int, error)
	Close() error
}

// digested tells whether a file has the columns size and sha256 as Save writes them. Other tools'
// files may have something else under these names.
func digested(schema *parquet.Schema) bool {
	for name, kind := range map[string]parquet.Kind{"size": parquet.Int64, "sha256": parquet.ByteArray} {
		if leaf, ok := schema.Lookup(name); !ok || leaf.Node.Type().Kind() != kind {
			return false
		}
	}
	return true
}

// plainRow is the schema without size and sha256.
type plainRow struct {
	Path   string    `parquet:"path"`
	Label  *string   `parquet:"label,optional"`
	Vector []float32 `parquet:"vector,list"`
}

// plainReader reads rows of a file without size and sha256.
type plainReader struct {
	*parquet.GenericReader[plainRow]
}

func (r plainReader) Read(rows []parquetRow) (int, error) {
	plain := make([]plainRow, len(rows))
	for i := range rows {
		plain[i].Vector = rows[i].Vector
	}
	n, err := r.GenericReader.Read(plain)
	for i, p := range plain[:n] {
		rows[i] = parquetRow{Path: p.Path, Label: p.Label, Vector: p.Vector}
	}
	return n, err
}

// rowsAtOnce is the number of rows that one call reads.
const rowsAtOnce = 64

// refused turns a panic of the Parquet library into an error. Some damaged files cause one.
func refused(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("it is damaged, or of a kind of Parquet that is not read (%v)", p)
	}
}

func openParquet(f *os.File, size int64) (d decoder, err error) { return newParquet(f, size) }

func newParquet(r io.ReaderAt, size int64) (d *parquetFile, err error) {
	defer refused(&err)
	if err := parquetcheck.Check(r, size); err != nil {
		return nil, err
	}
	file, err := parquet.OpenFile(r, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, err
	}
	schema := file.Schema()
	path, ok1 := schema.Lookup("path")
	number, ok2 := schema.Lookup("vector", "list", "element")
	if !ok1 || !ok2 || path.Node.Type().Kind() == parquet.Float || !isHalf(file, number) && number.Node.Type().Kind() != parquet.Float {
		return nil, errors.New("it needs a column path of strings and a column vector of lists of float32 or float16")
	}
	d = &parquetFile{rows: make([]parquetRow, rowsAtOnce)}
	switch {
	case isHalf(file, number):
		d.what.Type = Float16
		d.reader = newHalfReader(file, digested(schema))
	case digested(schema):
		d.reader = parquet.NewGenericReader[parquetRow](file)
	default:
		d.reader = plainReader{parquet.NewGenericReader[plainRow](file)}
	}
	if d.what.Rows = int(file.NumRows()); d.what.Rows == 0 {
		return d, nil
	}
	if err := d.fill(); err != nil && err != io.EOF {
		return nil, err
	}
	if d.have > 0 {
		d.what.Dim = len(d.rows[0].Vector)
	}
	return d, nil
}

// fill reads the next rows.
func (d *parquetFile) fill() (err error) {
	defer refused(&err)
	if d.end {
		return io.EOF
	}
	for i := range d.rows {
		d.rows[i] = parquetRow{Vector: d.rows[i].Vector[:0]}
	}
	d.at = 0
	d.have, err = d.reader.Read(d.rows)
	if errors.Is(err, io.EOF) {
		if d.end = true; d.have > 0 {
			return nil
		}
	}
	return err
}

func (d *parquetFile) head() Head { return d.what }

func (d *parquetFile) next(row *Row) error {
	if d.at == d.have {
		if err := d.fill(); err != nil {
			return err
		}
	}
	if d.have == 0 {
		return io.EOF
	}
	p := d.rows[d.at]
	d.at++
	*row = Row{Path: p.Path, Vector: p.Vector}
	if p.Label != nil {
		row.Label = *p.Label
	}
	if p.Size != nil && p.SHA256 != nil && isDigest(*p.Size, *p.SHA256) {
		row.Size, row.SHA256 = *p.Size, *p.SHA256
	}
	return nil
}

func (d *parquetFile) close() error { return d.reader.Close() }
