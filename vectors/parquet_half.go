package vectors

import (
	"encoding/binary"
	"io"

	"github.com/parquet-go/parquet-go"
	parquetformat "github.com/parquet-go/parquet-go/format"

	"moco/internal/half"
)

// halfRow is the schema with float16 numbers. Parquet keeps them as two bytes, little endian, with
// a logical type that the library has no tag for.
type halfRow struct {
	Path   string    `parquet:"path,snappy"`
	Label  *string   `parquet:"label,optional,dict"`
	Size   *int64    `parquet:"size,optional"`
	SHA256 *string   `parquet:"sha256,optional"`
	Vector [][2]byte `parquet:"vector,list"`
}

// plainHalfRow is halfRow without size and sha256.
type plainHalfRow struct {
	Path   string    `parquet:"path"`
	Label  *string   `parquet:"label,optional"`
	Vector [][2]byte `parquet:"vector,list"`
}

// halfSchema is the schema of halfRow, whose pairs of bytes have the logical type.
var halfSchema = parquet.NewSchema("halfRow", halfNode{parquet.SchemaOf(halfRow{})})

// halfNode gives the pairs of bytes below a node their logical type.
type halfNode struct{ parquet.Node }

func (n halfNode) Fields() []parquet.Field { return halfFields(n.Node.Fields()) }

// halfField is halfNode of a node with a name.
type halfField struct{ parquet.Field }

func (f halfField) Fields() []parquet.Field { return halfFields(f.Field.Fields()) }

func (f halfField) Type() parquet.Type {
	t := f.Field.Type()
	if f.Leaf() && t.Kind() == parquet.FixedLenByteArray {
		return halfType{t}
	}
	return t
}

func halfFields(fields []parquet.Field) []parquet.Field {
	wrapped := make([]parquet.Field, len(fields))
	for i, f := range fields {
		wrapped[i] = halfField{f}
	}
	return wrapped
}

// halfType is two bytes with the logical type of a float16.
type halfType struct{ parquet.Type }

func (halfType) LogicalType() *parquetformat.LogicalType {
	return &parquetformat.LogicalType{Value: &parquetformat.Float16Type{}}
}

// isHalf tells whether a column has float16 numbers. The library's schema of a file does not say
// so, but the file's own list of columns does.
func isHalf(file *parquet.File, column parquet.LeafColumn) bool {
	t := column.Node.Type()
	if t.Kind() != parquet.FixedLenByteArray || t.Length() != 2 {
		return false
	}
	leaf := 0
	for _, e := range file.Metadata().Schema {
		if e.NumChildren.Valid { // no leaf
			continue
		}
		if leaf == column.ColumnIndex {
			_, ok := e.LogicalType.Value.(*parquetformat.Float16Type)
			return ok
		}
		leaf++
	}
	return false
}

// halfWriter writes rows with float16 numbers.
type halfWriter struct {
	*parquet.GenericWriter[halfRow]
	rows []halfRow
}

// newHalfWriter leaves out the bounds of the numbers, because the library would compare their
// bytes.
func newHalfWriter(w io.Writer, options []parquet.WriterOption) *halfWriter {
	options = append(options, halfSchema, parquet.SkipPageBounds("vector", "list", "element"))
	return &halfWriter{GenericWriter: parquet.NewGenericWriter[halfRow](w, options...)}
}

func (w *halfWriter) Write(rows []parquetRow) (int, error) {
	for len(w.rows) < len(rows) {
		w.rows = append(w.rows, halfRow{})
	}
	for i, r := range rows {
		to := &w.rows[i]
		*to = halfRow{Path: r.Path, Label: r.Label, Size: r.Size, SHA256: r.SHA256, Vector: to.Vector[:0]}
		for _, v := range r.Vector {
			var raw [2]byte
			binary.LittleEndian.PutUint16(raw[:], half.To(v))
			to.Vector = append(to.Vector, raw)
		}
	}
	return w.GenericWriter.Write(w.rows[:len(rows)])
}

// halfReader reads rows with float16 numbers. One of its readers is nil.
type halfReader struct {
	whole     *parquet.GenericReader[halfRow]
	plain     *parquet.GenericReader[plainHalfRow]
	rows      []halfRow
	plainRows []plainHalfRow
}

func newHalfReader(file *parquet.File, digested bool) *halfReader {
	if digested {
		return &halfReader{whole: parquet.NewGenericReader[halfRow](file), rows: make([]halfRow, rowsAtOnce)}
	}
	return &halfReader{plain: parquet.NewGenericReader[plainHalfRow](file), rows: make([]halfRow, rowsAtOnce),
		plainRows: make([]plainHalfRow, rowsAtOnce)}
}

func (r *halfReader) Read(rows []parquetRow) (n int, err error) {
	for i := range r.rows { // the last call's rows give their memory
		r.rows[i] = halfRow{Vector: r.rows[i].Vector[:0]}
	}
	if r.whole != nil {
		n, err = r.whole.Read(r.rows[:len(rows)])
	} else {
		for i := range r.plainRows {
			r.plainRows[i] = plainHalfRow{Vector: r.rows[i].Vector}
		}
		n, err = r.plain.Read(r.plainRows[:len(rows)])
		for i, p := range r.plainRows[:n] {
			r.rows[i] = halfRow{Path: p.Path, Label: p.Label, Vector: p.Vector}
		}
	}
	for i, p := range r.rows[:n] {
		vector := grow(rows[i].Vector, len(p.Vector))
		for j := range vector {
			vector[j] = half.From(binary.LittleEndian.Uint16(p.Vector[j][:]))
		}
		rows[i] = parquetRow{Path: p.Path, Label: p.Label, Size: p.Size, SHA256: p.SHA256, Vector: vector}
	}
	return n, err
}

func (r *halfReader) Close() error {
	if r.whole != nil {
		return r.whole.Close()
	}
	return r.plain.Close()
}
