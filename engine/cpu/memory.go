package cpu

import (
	"unsafe"

	"moco/tensor"
)

// allocate returns n zeroed bytes, aligned to a cache line, with a little room behind them.
//
// A tile that reads four channels of a three-channel pixel reads beyond the last one; the weights
// there are zero, but the memory must exist and must not hold a NaN.
func allocate(n int) []byte {
	return tensor.Aligned(n + slack)[:n]
}

const slack = 4 * tensor.Alignment

// buffer is the place of a value. Where it lies is decided after all operations are known (plan.go), so operations hold
// buffers and look at f or i only when they run.
type buffer struct {
	words  int     // size in 4-byte words
	stride int     // floats a row, for rows of channels
	alias  *buffer // the buffer that this one lies in
	pinned bool    // has memory of its own: a variable or a constant

	first, last int // operations that write it first and use it last
	offset      int // in the arena

	f []float32
	i []int32
}

// root is the buffer that memory was planned for.
func (b *buffer) root() *buffer {
	for b.alias != nil {
		b = b.alias
	}
	return b
}

func (b *buffer) bind(mem []byte) {
	b.f, b.i = nil, nil
	if b.words > 0 {
		p := unsafe.Pointer(&mem[0])
		b.f = unsafe.Slice((*float32)(p), b.words)
		b.i = unsafe.Slice((*int32)(p), b.words)
	}
}

// at is the address of float i.
func at(f []float32, i int) unsafe.Pointer { return unsafe.Pointer(&f[i]) }
