package vectors

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"

	"moco/internal/half"
)

// manifest is the path of the file with the names of an array's rows.
func manifest(path string) string { return path + ".jsonl" }

// saveNPY writes the manifest first, so that an array is never without its manifest.
func saveNPY(path string, h Head, rows iter.Seq2[Row, error]) error {
	if err := saveNames(path, rows); err != nil {
		return err
	}
	return each(path, rows, func(w io.Writer) (func(Row) error, func() error, error) {
		out := bufio.NewWriterSize(w, 1<<16)
		// A bufio.Writer keeps its first error and returns it at the end.
		out.Write(npyHeader(h))
		var raw []byte
		return func(r Row) error {
			raw = h.Type.append(raw[:0], r.Vector)
			_, err := out.Write(raw)
			return err
		}, out.Flush, nil
	})
}

func saveNames(path string, rows iter.Seq2[Row, error]) error {
	if number, ok := clipNumber(path); ok {
		return saveClipTable(clipTable(path, number), rows)
	}
	return saveLines(manifest(path), rows, false)
}

// names are those of an array's rows, one after the other.
type names interface {
	next() error // io.EOF after the last
	row(vector []float32) Row
	close() error
}

// openNames opens the names of the rows of an array.
func openNames(array string) (names, error) {
	if number, ok := clipNumber(array); ok {
		return openClipNames(clipTable(array, number))
	}
	f, err := os.Open(manifest(array))
	if err != nil {
		return nil, err
	}
	l := newLines(f)
	l.file = f
	return l, nil
}

// append appends the bytes of numbers, little endian.
func (t Type) append(raw []byte, vector []float32) []byte {
	for _, v := range vector {
		if t == Float16 {
			raw = binary.LittleEndian.AppendUint16(raw, half.To(v))
		} else {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
		}
	}
	return raw
}

// decode reads numbers from their bytes.
func (t Type) decode(vector []float32, raw []byte) {
	if t == Float16 {
		for i := range vector {
			vector[i] = half.From(binary.LittleEndian.Uint16(raw[2*i:]))
		}
		return
	}
	for i := range vector {
		vector[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
}

// npyTypes are NumPy's names of the types.
var npyTypes = map[Type]string{Float32: "<f4", Float16: "<f2"}

const npyMagic = "\x93NUMPY"

// npyHeader is version 1.0 of the format: the magic, the version, two bytes of length, and a Python
// dictionary. Blanks pad it so that the numbers begin at a multiple of 64.
func npyHeader(h Head) []byte {
	text := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%d, %d), }", npyTypes[h.Type], h.Rows, h.Dim)
	const before = len(npyMagic) + 4
	text += strings.Repeat(" ", 63-(before+len(text))%64) + "\n"
	raw := append([]byte(npyMagic), 1, 0)
	raw = binary.LittleEndian.AppendUint16(raw, uint16(len(text)))
	return append(raw, text...)
}

// npy is the decoder of .npy.
type npy struct {
	what  Head
	n     int
	array *bufio.Reader
	raw   []byte
	names names
}

func openNPY(f *os.File, size int64) (decoder, error) {
	names, err := openNames(f.Name())
	if err != nil {
		return nil, fmt.Errorf("the names of its rows: %w", err)
	}
	d, err := newNPY(f, size, names)
	if err != nil {
		names.close()
		return nil, err
	}
	return d, nil
}

// newNPY reads an array of size bytes and its manifest.
func newNPY(array io.Reader, size int64, names names) (*npy, error) {
	d := &npy{array: bufio.NewReaderSize(array, 1<<16), names: names}
	head, _, err := sizedNPYHeader(d.array, size)
	if err != nil {
		return nil, err
	}
	d.what, d.raw = head, make([]byte, head.Type.Bytes()*head.Dim)
	return d, nil
}

var (
	npyDescr   = regexp.MustCompile(`'descr': *'([^']*)'`)
	npyFortran = regexp.MustCompile(`'fortran_order': *(True|False)`)
	npyShape   = regexp.MustCompile(`'shape': *\( *([0-9]+), *([0-9]+),? *\)`)
)

// sizedNPYHeader is readNPYHeader of a file of some size, which it must fill.
func sizedNPYHeader(r io.Reader, size int64) (h Head, length int64, err error) {
	if h, length, err = readNPYHeader(r); err != nil {
		return h, 0, err
	}
	if want := length + int64(h.Type.Bytes())*int64(h.Rows)*int64(h.Dim); size != want {
		return h, 0, fmt.Errorf("an array of %dx%d takes %d bytes, and the file has %d; is it cut short?",
			h.Rows, h.Dim, want, size)
	}
	return h, length, nil
}

// readNPYHeader returns the array's shape and the header's length.
func readNPYHeader(r io.Reader) (h Head, length int64, err error) {
	start := make([]byte, 12)
	if _, err := io.ReadFull(r, start[:10]); err != nil || string(start[:6]) != npyMagic {
		return h, 0, errors.New("it does not begin as a NumPy array does")
	}
	length, text := 10, int64(binary.LittleEndian.Uint16(start[8:]))
	if start[6] > 1 {
		if _, err := io.ReadFull(r, start[10:]); err != nil {
			return h, 0, errors.New("its header is cut short")
		}
		length, text = 12, int64(binary.LittleEndian.Uint32(start[8:]))
	}
	if text > 1<<16 {
		return h, 0, fmt.Errorf("a header of %d bytes is not believable", text)
	}
	raw := make([]byte, text)
	if _, err := io.ReadFull(r, raw); err != nil {
		return h, 0, errors.New("its header is cut short")
	}
	descr, fortran, shape := npyDescr.FindSubmatch(raw), npyFortran.FindSubmatch(raw), npyShape.FindSubmatch(raw)
	known := false
	for t, name := range npyTypes {
		if descr != nil && string(descr[1]) == name {
			h.Type, known = t, true
		}
	}
	if !known || fortran == nil || shape == nil || string(fortran[1]) != "False" {
		return h, 0, fmt.Errorf("its header is %.120q, and what is read is a two-dimensional array of '<f4' or '<f2' in "+
			"C order (in NumPy: numpy.ascontiguousarray(x, 'float32'))", raw)
	}
	rows, err1 := strconv.ParseInt(string(shape[1]), 10, 64)
	dim, err2 := strconv.ParseInt(string(shape[2]), 10, 64)
	if err1 != nil || err2 != nil || !fits(rows, dim) || dim == 0 || dim > maxLine {
		return h, 0, fmt.Errorf("an array of %sx%s is not believable", shape[1], shape[2])
	}
	h.Rows, h.Dim = int(rows), int(dim)
	return h, length + text, nil
}

func (d *npy) head() Head { return d.what }

func (d *npy) next(row *Row) error {
	err := d.names.next()
	if d.n == d.what.Rows {
		if err == nil {
			return fmt.Errorf("the manifest has more lines than the array's %d rows", d.what.Rows)
		}
		return err
	}
	if err == io.EOF {
		return fmt.Errorf("the manifest has %d lines for %d rows", d.n, d.what.Rows)
	}
	if err != nil {
		return fmt.Errorf("the manifest: %w", err)
	}
	if _, err := io.ReadFull(d.array, d.raw); err != nil {
		return fmt.Errorf("row %d: %w", d.n, errors.Join(err, errors.New("the array ends too early")))
	}
	d.n++
	*row = d.names.row(grow(row.Vector, d.what.Dim))
	d.what.Type.decode(row.Vector, d.raw)
	return nil
}

func (d *npy) close() error { return d.names.close() }
