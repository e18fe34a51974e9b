// Package tensor holds dense arrays: an element type, a shape, and storage aligned to 64 bytes.
//
// Images and activations are NHWC everywhere: batch, height, width, channels, the last varying
// fastest. Convolution weights are OIHW (out, in, height, width), as PyTorch stores them; an engine
// is free to keep another order inside.
package tensor

import (
	"fmt"
	"strconv"
	"strings"
	"unsafe"
)

// Type is the type of a tensor's elements.
type Type uint8

// The element types. Values are stored in the machine's (little-endian) order.
const (
	Float32 Type = iota + 1
	Int32
	Int64
	Uint8
)

var types = [...]struct {
	name string
	size int
}{Float32: {"float32", 4}, Int32: {"int32", 4}, Int64: {"int64", 8}, Uint8: {"uint8", 1}}

// String is the type's name in lower case: "float32".
func (t Type) String() string {
	if int(t) < len(types) && types[t].size > 0 {
		return types[t].name
	}
	return fmt.Sprintf("tensor.Type(%d)", uint8(t))
}

// Size is the number of bytes of one element.
func (t Type) Size() int { return types[t].size }

// Shape is the extent of each axis, outermost first. An empty shape is a scalar.
type Shape []int

// Elements is the product of the extents; 1 for a scalar.
func (s Shape) Elements() int {
	n := 1
	for _, d := range s {
		n *= d
	}
	return n
}

// Equal reports whether both shapes have the same extents.
func (s Shape) Equal(o Shape) bool {
	if len(s) != len(o) {
		return false
	}
	for i := range s {
		if s[i] != o[i] {
			return false
		}
	}
	return true
}

// String is the shape as [2 3 4] is written in the field: "2x3x4"; "scalar" for an empty one.
func (s Shape) String() string {
	if len(s) == 0 {
		return "scalar"
	}
	parts := make([]string, len(s))
	for i, d := range s {
		parts[i] = strconv.Itoa(d)
	}
	return strings.Join(parts, "x")
}

// Tensor is a dense array in row-major order. Its zero value is not usable; make one with New.
type Tensor struct {
	Type  Type
	Shape Shape
	bytes []byte
}

// New returns a zeroed tensor.
func New(t Type, shape ...int) *Tensor {
	s := Shape(shape)
	return &Tensor{Type: t, Shape: s, bytes: Aligned(s.Elements() * t.Size())}
}

// FromFloat32s returns a tensor with a copy of v. It panics if the shape has not as many elements.
func FromFloat32s(v []float32, shape ...int) *Tensor {
	t := New(Float32, shape...)
	if n := t.Shape.Elements(); n != len(v) {
		panic(fmt.Sprintf("tensor: %d values for the %d elements of %v", len(v), n, t.Shape))
	}
	copy(t.Float32s(), v)
	return t
}

// Bytes is the storage itself, little-endian on every machine that this module supports.
func (t *Tensor) Bytes() []byte { return t.bytes }

// Float32s is the storage of a Float32 tensor; it shares memory with t. Like an index out of range,
// asking a tensor for elements that it does not have is a mistake of the program: Float32s, Int32s
// and Int64s panic with a *TypeError. Look at t.Type first where the tensor comes from a file.
func (t *Tensor) Float32s() []float32 { return view[float32](t, Float32) }

// Int32s is the storage of an Int32 tensor, as Float32s is.
func (t *Tensor) Int32s() []int32 { return view[int32](t, Int32) }

// Int64s is the storage of an Int64 tensor, as Float32s is.
func (t *Tensor) Int64s() []int64 { return view[int64](t, Int64) }

// TypeError says that a tensor was asked for elements of another type than its own.
type TypeError struct {
	Have, Want Type
}

func (e *TypeError) Error() string {
	return fmt.Sprintf("tensor: the elements are %v, not %v", e.Have, e.Want)
}

// view casts the storage.
func view[T any](t *Tensor, want Type) []T {
	if t.Type != want {
		panic(&TypeError{Have: t.Type, Want: want})
	}
	if len(t.bytes) == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&t.bytes[0])), t.Shape.Elements())
}

// Alignment is the alignment of every tensor's storage: one cache line, one AVX-512 vector.
const Alignment = 64

// Aligned returns n zeroed bytes whose first lies at a multiple of Alignment.
func Aligned(n int) []byte {
	b := make([]byte, n+Alignment)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (Alignment - 1)
	return b[skip : skip+n : skip+n]
}
