// Package weights reads and writes files of named tensors.
//
// The format that is written is safetensors: eight bytes with the length of a JSON header, the header (for each tensor its type, shape and place, and
// a map of strings under "__metadata__"), then the tensors. It says nothing that a reader must execute, and it can be checked fully
// before anything is used. Files of PyTorch (torch.save) are read too, without running what they hold.
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

// Named is a tensor with its name.
type Named struct {
	Name   string
	Tensor *tensor.Tensor
}

// File is named tensors in their order, and text about them.
type File struct {
	Tensors  []Named
	Metadata map[string]string
}

// Get returns the tensor with a name, or nil.
func (f *File) Get(name string) *tensor.Tensor {
	for _, n := range f.Tensors {
		if n.Name == name {
			return n.Tensor
		}
	}
	return nil
}

// typeNames are the types that are written, under the format's names.
var typeNames = map[tensor.Type]string{tensor.Float32: "F32", tensor.Int32: "I32", tensor.Int64: "I64", tensor.Uint8: "U8"}

// entry is what the header says of a tensor.
type entry struct {
	Type    string  `json:"dtype"`
	Shape   []int64 `json:"shape"`
	Offsets []int64 `json:"data_offsets"` // where its data begins and ends, counted from the end of the header
}

// Write writes f. The same tensors and metadata give the same bytes. What Read would refuse or change is an error, before anything is
// written: a type that the format lacks, a name that stands twice, names or metadata that are not UTF-8.
func Write(w io.Writer, f *File) error {
	var header bytes.Buffer
	header.WriteByte('{')
	member := func(name string, value any) error {
		if header.Len() > 1 {
			header.WriteByte(',')
		}
		for i, v := range []any{name, value} {
			b, err := json.Marshal(v) // maps are written in the order of their keys
			if err != nil {
				return fmt.Errorf("safetensors: %w", err)
			}
			if i == 1 {
				header.WriteByte(':')
			}
			header.Write(b)
		}
		return nil
	}
	for key, value := range f.Metadata {
		if !utf8.ValidString(key) || !utf8.ValidString(value) {
			return fmt.Errorf("safetensors: metadata %q: %q is not UTF-8 text", key, value)
		}
	}
	if len(f.Metadata) > 0 {
		if err := member("__metadata__", f.Metadata); err != nil {
			return err
		}
	}
	if err := checkTensors(f.Tensors, typeNames); err != nil {
		return fmt.Errorf("safetensors: %w", err)
	}
	var offset int64
	for _, n := range f.Tensors {
		if n.Name == "__metadata__" {
			return errors.New("safetensors: a tensor cannot be named __metadata__; the format keeps that for the text")
		}
		size := int64(len(n.Tensor.Bytes()))
		shape := make([]int64, len(n.Tensor.Shape))
		for i, d := range n.Tensor.Shape {
			shape[i] = int64(d)
		}
		if err := member(n.Name, entry{typeNames[n.Tensor.Type], shape, []int64{offset, offset + size}}); err != nil {
			return err
		}
		offset += size
	}
	header.WriteByte('}')
	for header.Len()%8 != 0 { // the tensors then start at a multiple of eight
		header.WriteByte(' ')
	}
	out := bufio.NewWriterSize(w, 1<<20)
	out.Write(binary.LittleEndian.AppendUint64(nil, uint64(header.Len())))
	out.Write(header.Bytes()) // a bufio.Writer keeps its first error and returns it to the end
	for _, n := range f.Tensors {
		if _, err := out.Write(n.Tensor.Bytes()); err != nil {
			return err
		}
	}
	return out.Flush()
}

// checkTensors says what a format with the given types cannot hold: names that stand twice or are no text, tensors of another type or without the bytes that
// their shape promises.
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
			return fmt.Errorf("tensor %q of %v %v holds %d bytes, where it should hold %d", n.Name, n.Tensor.Shape, n.Tensor.Type, size, want)
		}
	}
	return nil
}

// maxHeader is the longest header that is read; the format's own limit.
const maxHeader = 100 << 20

// errTruncated is what a file that ends too early is.
var errTruncated = errors.New("safetensors: the file is cut short; copy it again")

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
		elements, err := e.check(end)
		if err != nil {
			return nil, err
		}
		end = e.Offsets[1]
		if end > room {
			return nil, errTruncated
		}
		t, err := e.read(io.NewSectionReader(r, start+e.Offsets[0], e.Offsets[1]-e.Offsets[0]), elements)
		if err != nil {
			return nil, err
		}
		f.Tensors = append(f.Tensors, Named{e.name, t})
	}
	if end != room {
		return nil, fmt.Errorf("safetensors: %d bytes follow the last tensor", room-end)
	}
	return f, nil
}

// namedEntry is an entry with its tensor's name.
type namedEntry struct {
	name string
	entry
}

// parseHeader reads the JSON, refusing names that stand twice, and returns the entries in the order of their data.
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

// check holds an entry to the rules: a known type, a shape whose elements fill its place, which begins where the one before ended.
func (e namedEntry) check(end int64) (elements int64, err error) {
	kind, ok := kinds[e.Type]
	if !ok {
		return 0, fmt.Errorf("safetensors: tensor %q has type %q, which is not read", e.name, e.Type)
	}
	if len(e.Shape) > 16 {
		return 0, fmt.Errorf("safetensors: tensor %q has %d axes", e.name, len(e.Shape))
	}
	elements = 1
	for _, d := range e.Shape {
		if d < 0 || elements > math.MaxInt64/8/max(d, 1) { // so that neither the product nor its bytes overflow
			return 0, fmt.Errorf("safetensors: tensor %q has the impossible shape %v", e.name, e.Shape)
		}
		elements *= d
	}
	if e.Offsets[0] != end || e.Offsets[1] < e.Offsets[0] {
		return 0, fmt.Errorf("safetensors: tensor %q lies at %d to %d, where %d should come next: tensors overlap or leave a hole", e.name, e.Offsets[0], e.Offsets[1], end)
	}
	if e.Offsets[1]-e.Offsets[0] != elements*kind.size {
		return 0, fmt.Errorf("safetensors: tensor %q takes %d bytes, but %v of %s takes %d", e.name, e.Offsets[1]-e.Offsets[0], e.Shape, e.Type, elements*kind.size)
	}
	return elements, nil
}

// read makes the tensor from its data, converting the types that tensors lack.
func (e namedEntry) read(r io.Reader, elements int64) (*tensor.Tensor, error) {
	shape := make([]int, len(e.Shape))
	for i, d := range e.Shape {
		shape[i] = int(d)
	}
	kind := kinds[e.Type]
	out := tensor.New(kind.as, shape...)
	raw := out.Bytes()
	if !same(e.Type) {
		raw = make([]byte, elements*kind.size)
	}
	if _, err := io.ReadFull(r, raw); err != nil {
		return nil, fmt.Errorf("safetensors: tensor %q: %w", e.name, err)
	}
	if !same(e.Type) {
		for i := range int(elements) {
			put(out, i, e.Type, raw[int64(i)*kind.size:])
		}
	}
	return out, nil
}
