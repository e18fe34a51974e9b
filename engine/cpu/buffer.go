package cpu

import (
	"unsafe"

	"moco/engine/cpu/internal/kernel"
	"moco/internal/sys"
	"moco/tensor"
)

// allocate returns n zeroed bytes, aligned to a cache line, with a little room behind them.
//
// A tile that reads four channels of a three-channel pixel reads beyond the last one. The weights
// for that are zero, but the memory must exist and must not hold a NaN.
func allocate(n int) []byte {
	b := tensor.Aligned(n + slack)[:n]
	sys.HugePages(b) // rows of images and channels lie on many small pages at once
	return b
}

const slack = 4 * tensor.Alignment

// element is the type of a buffer's values.
type element uint8

const (
	noElement element = iota
	float32s
	bfloat16s
	int32s
	float64s
)

// size is the number of bytes of one value.
func (e element) size() int {
	switch e {
	case bfloat16s:
		return 2
	case float64s:
		return 8
	}
	return 4
}

// String is the element's short name.
func (e element) String() string { return [...]string{"?", "f32", "bf16", "i32", "f64"}[e] }

// buffer is a place in memory for values of one type. Where it lies is decided after all operations
// are known (plan.go), so operations hold buffers and look at the values only when they run.
//
// Only the view of the buffer's own type is bound; the others stay nil. So code that takes a buffer
// for another type's fails at its first access and writes nothing.
type buffer struct {
	element element
	count   int     // values
	stride  int     // values a row, for rows of channels
	alias   *buffer // the buffer that this one lies in
	pinned  bool    // has memory of its own: a variable or a constant

	// varies is true of a value that each replica has for itself. Where one is read in a later level
	// than written, the buffer has a place for each replica of this process: see plan.
	varies bool
	places int // 0 is one

	first, last int // operations that write it first and use it last
	offset      int // in the arena

	f32  []float32
	bf16 []uint16
	i32  []int32
	f64  []float64
	raw  []byte // the same memory, for copies that do not care what they copy
}

// newRows is a buffer of rows of values.
func newRows(e element, rows, stride int) *buffer {
	return &buffer{element: e, count: rows * stride, stride: stride}
}

// bytes is the size of the buffer.
func (b *buffer) bytes() int { return b.count * b.element.size() }

// room is the number of bytes of all places.
func (b *buffer) room() int { return b.bytes() * max(1, b.places) }

// values is values lo..hi, float32 or bfloat16.
func (b *buffer) values(lo, hi int) kernel.Values {
	if b.element == bfloat16s {
		return kernel.BFloat16s(b.bf16[lo:hi])
	}
	return kernel.Float32s(b.f32[lo:hi])
}

// at is the address of value i, float32 or bfloat16.
func (b *buffer) at(i int) unsafe.Pointer {
	if b.element == bfloat16s {
		return unsafe.Pointer(&b.bf16[i])
	}
	return unsafe.Pointer(&b.f32[i])
}

// row is row r, padding included.
func (b *buffer) row(r int) []float32 { return b.f32[r*b.stride : (r+1)*b.stride] }

// copyValues copies values lo..hi of a buffer of the same type to the same places of b.
func (b *buffer) copyValues(from *buffer, lo, hi int) {
	size := b.element.size()
	copy(b.raw[lo*size:hi*size], from.raw[lo*size:hi*size])
}

// root is the buffer that memory was planned for.
func (b *buffer) root() *buffer {
	for b.alias != nil {
		b = b.alias
	}
	return b
}

// bind makes the buffer lie in mem, which must be large enough and aligned.
func (b *buffer) bind(mem []byte) {
	b.f32, b.bf16, b.i32, b.f64, b.raw = nil, nil, nil, nil, nil
	if b.count == 0 {
		return
	}
	b.raw = mem[:b.bytes()]
	p := unsafe.Pointer(&mem[0])
	switch b.element {
	case float32s:
		b.f32 = unsafe.Slice((*float32)(p), b.count)
	case bfloat16s:
		b.bf16 = unsafe.Slice((*uint16)(p), b.count)
	case int32s:
		b.i32 = unsafe.Slice((*int32)(p), b.count)
	case float64s:
		b.f64 = unsafe.Slice((*float64)(p), b.count)
	}
}

// at is the address of float i.
func at(f []float32, i int) unsafe.Pointer { return unsafe.Pointer(&f[i]) }

// asBFloat16 is the memory of floats as twice as many bfloat16.
func asBFloat16(f []float32) []uint16 {
	return unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(f))), 2*len(f))
}
