package weights

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"moco/tensor"
)

// typeNames are the types that are written, under the format's names.
var typeNames = map[tensor.Type]string{tensor.Float32: "F32", tensor.Int32: "I32", tensor.Int64: "I64", tensor.Uint8: "U8"}

// entry is what the header says of a tensor.
type entry struct {
	Type    string  `json:"dtype"`
	Shape   []int64 `json:"shape"`
	Offsets []int64 `json:"data_offsets"` // where its data begins and ends, counted from the end of the header
}

// Write writes the tensors and metadata of f. The same ones give the same bytes. What Read would
// refuse or change is an error before anything is written: a type that the format lacks, a name
// that stands twice, names or metadata that are not UTF-8.
func Write(w io.Writer, f *File) error {
	header, err := header(f)
	if err != nil {
		return fmt.Errorf("safetensors: %w", err)
	}
	out := bufio.NewWriterSize(w, 1<<20) // keeps its first error, and returns it to the end
	out.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(header))))
	out.Write(header)
	for _, n := range f.Tensors {
		if _, err := out.Write(n.Tensor.Bytes()); err != nil {
			return err
		}
	}
	return out.Flush()
}

// header is the JSON of a file's header, padded so that the tensors start at a multiple of eight.
func header(f *File) ([]byte, error) {
	for key, value := range f.Metadata {
		if !utf8.ValidString(key) || !utf8.ValidString(value) {
			return nil, fmt.Errorf("metadata %q: %q is not UTF-8 text", key, value)
		}
	}
	if err := checkTensors(f.Tensors, typeNames); err != nil {
		return nil, err
	}
	o := object{}
	if len(f.Metadata) > 0 {
		o.member("__metadata__", f.Metadata)
	}
	var offset int64
	for _, n := range f.Tensors {
		if n.Name == "__metadata__" {
			return nil, errors.New("a tensor cannot be named __metadata__; the format keeps that for the text")
		}
		size := int64(len(n.Tensor.Bytes()))
		shape := make([]int64, len(n.Tensor.Shape))
		for i, d := range n.Tensor.Shape {
			shape[i] = int64(d)
		}
		o.member(n.Name, entry{typeNames[n.Tensor.Type], shape, []int64{offset, offset + size}})
		offset += size
	}
	return o.padded(8)
}

// object writes a JSON object whose members keep their order, which encoding/json has no type for.
type object struct {
	bytes.Buffer
	err error // the first
}

// member adds a member. Maps are written in the order of their keys.
func (o *object) member(name string, value any) {
	start := byte(',')
	if o.Len() == 0 {
		start = '{'
	}
	o.WriteByte(start)
	o.value(name)
	o.WriteByte(':')
	o.value(value)
}

func (o *object) value(v any) {
	b, err := json.Marshal(v)
	if err != nil && o.err == nil {
		o.err = err
	}
	o.Write(b)
}

// padded ends the object, and adds spaces up to a multiple of n bytes.
func (o *object) padded(n int) ([]byte, error) {
	if o.Len() == 0 {
		o.WriteByte('{')
	}
	o.WriteByte('}')
	for o.Len()%n != 0 {
		o.WriteByte(' ')
	}
	return o.Bytes(), o.err
}

// checkTensors says what a format with the given types cannot hold: names that stand twice or are
// no text, tensors of another type or without the bytes that their shape promises.
func checkTensors(tensors []Named, types map[tensor.Type]string) error {
	seen := map[string]bool{}
	for _, n := range tensors {
		switch {
		case seen[n.Name]:
			return fmt.Errorf("two tensors are named %q", n.Name)
		case !utf8.ValidString(n.Name):
			return fmt.Errorf("the name %q is not UTF-8 text", n.Name)
		case n.Tensor == nil:
			return fmt.Errorf("tensor %q is nil", n.Name)
		case types[n.Tensor.Type] == "":
			return fmt.Errorf("tensor %q has type %v, which is not written", n.Name, n.Tensor.Type)
		}
		seen[n.Name] = true
		if size, want := len(n.Tensor.Bytes()), n.Tensor.Shape.Elements()*n.Tensor.Type.Size(); size != want {
			return fmt.Errorf("tensor %q of %v %v holds %d bytes, where it should hold %d",
				n.Name, n.Tensor.Shape, n.Tensor.Type, size, want)
		}
	}
	return nil
}

// maxHeader is the longest header that is read; the format's own limit.
const maxHeader = 100 << 20

// errTruncated is what a file that ends too early is.
var errTruncated = errors.New("safetensors: the file is cut short; copy it again")

// isSafetensors tells a file of the format: the length of a header, which begins with a brace.
func isSafetensors(start []byte) bool {
	return len(start) > 8 && start[8] == '{' && binary.LittleEndian.Uint64(start) <= maxHeader
}

// readSafetensors reads a file of the format that Write writes.
func readSafetensors(r io.ReaderAt, size int64) (*File, error) {
	var length [8]byte
	if size < 8 {
		return nil, errTruncated
	}
	if _, err := io.ReadFull(io.NewSectionReader(r, 0, 8), length[:]); err != nil {
		return nil, fmt.Errorf("safetensors: read the header's length: %w", err)
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > maxHeader {
		return nil, fmt.Errorf("safetensors: a header of %d bytes is not believable; is this a safetensors file?", n)
	}
	if int64(n) > size-8 {
		return nil, errTruncated
	}
	raw := make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(r, 8, int64(n)), raw); err != nil {
		return nil, fmt.Errorf("safetensors: read the header: %w", err)
	}
	metadata, entries, err := parseHeader(raw)
	if err != nil {
		return nil, err
	}
	f := &File{Metadata: metadata}
	start, room := 8+int64(n), size-8-int64(n)
	var end int64
	for _, e := range entries {
		if err := e.check(end); err != nil {
			return nil, err
		}
		end = e.Offsets[1]
		if end > room {
			return nil, errTruncated
		}
		if elements[e.Type].unread {
			f.Skipped = append(f.Skipped, Skipped{e.name, "numbers of type " + e.Type})
			continue
		}
		t, err := e.read(io.NewSectionReader(r, start+e.Offsets[0], e.Offsets[1]-e.Offsets[0]))
		if err != nil {
			return nil, err
		}
		f.Tensors = append(f.Tensors, Named{e.name, t})
	}
	if end != room {
		return nil, fmt.Errorf("safetensors: %d bytes follow the last tensor", room-end)
	}
	return f.indexed(), nil
}

// namedEntry is an entry with its tensor's name.
type namedEntry struct {
	name string
	entry
}

// parseHeader reads the JSON, refusing names that stand twice, and returns the entries in the order
// of their data.
func parseHeader(raw []byte) (map[string]string, []namedEntry, error) {
	bad := func(err error) (map[string]string, []namedEntry, error) {
		return nil, nil, fmt.Errorf("safetensors: the header is not legal: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil {
		return bad(err)
	} else if t != json.Delim('{') {
		return bad(errors.New("it is no JSON object"))
	}
	var metadata map[string]string
	var entries []namedEntry
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return bad(err)
		}
		name, _ := t.(string)
		if seen[name] {
			return bad(fmt.Errorf("%q stands twice", name))
		}
		seen[name] = true
		if name == "__metadata__" {
			if err := d.Decode(&metadata); err != nil {
				return bad(fmt.Errorf("__metadata__: %w", err))
			}
			continue
		}
		var e entry
		if err := d.Decode(&e); err != nil {
			return bad(fmt.Errorf("tensor %q: %w", name, err))
		}
		if e.Shape == nil || len(e.Offsets) != 2 {
			return bad(fmt.Errorf("tensor %q needs a shape and two data_offsets", name))
		}
		entries = append(entries, namedEntry{name, e})
	}
	if _, err := d.Token(); err != nil {
		return bad(err)
	}
	if len(bytes.TrimSpace(raw[d.InputOffset():])) > 0 {
		return bad(errors.New("something follows the JSON object"))
	}
	slices.SortFunc(entries, func(a, b namedEntry) int {
		return cmp.Or(slices.Compare(a.Offsets, b.Offsets), strings.Compare(a.name, b.name))
	})
	return metadata, entries, nil
}

// check holds an entry to the rules: a known type, a shape whose elements fill its place, which
// begins where the one before ended.
func (e namedEntry) check(end int64) error {
	element, ok := elements[e.Type]
	if !ok {
		return fmt.Errorf("safetensors: tensor %q has type %q, which is not read", e.name, e.Type)
	}
	if len(e.Shape) > maxAxes {
		return fmt.Errorf("safetensors: tensor %q has %d axes", e.name, len(e.Shape))
	}
	n := int64(1)
	for _, d := range e.Shape {
		if d < 0 || n > math.MaxInt64/16/max(d, 1) { // so that neither the product nor its bytes overflow
			return fmt.Errorf("safetensors: tensor %q has the impossible shape %v", e.name, e.Shape)
		}
		n *= d
	}
	from, to := e.Offsets[0], e.Offsets[1]
	if from != end || to < from {
		return fmt.Errorf("safetensors: tensor %q lies at %d to %d, where %d should come next: tensors overlap or leave a hole",
			e.name, from, to, end)
	}
	if to-from != n*element.size {
		return fmt.Errorf("safetensors: tensor %q takes %d bytes, but %v of %s takes %d",
			e.name, to-from, e.Shape, e.Type, n*element.size)
	}
	return nil
}

// read makes the tensor from its data. An entry that check let pass has as much data as its shape
// says.
func (e namedEntry) read(r *io.SectionReader) (*tensor.Tensor, error) {
	shape := make([]int, len(e.Shape))
	for i, d := range e.Shape {
		shape[i] = int(d)
	}
	element := elements[e.Type]
	if element.set == nil { // without a copy
		out := tensor.New(element.as, shape...)
		if _, err := io.ReadFull(r, out.Bytes()); err != nil {
			return nil, fmt.Errorf("safetensors: tensor %q: %w", e.name, err)
		}
		return out, nil
	}
	raw := make([]byte, r.Size())
	if _, err := io.ReadFull(r, raw); err != nil {
		return nil, fmt.Errorf("safetensors: tensor %q: %w", e.name, err)
	}
	return element.read(raw, shape), nil
}
