package cpu

import (
	"unsafe"

	"moco/engine/cpu/internal/kernel"
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
	stride int     // values a row, for rows of channels
	half   bool    // values are bfloat16
	alias  *buffer // the buffer that this one lies in
	pinned bool    // has memory of its own: a variable or a constant

	first, last int // operations that write it first and use it last
	offset      int // in the arena

	f []float32
	i []int32
	h []uint16
}

// floats is the number of values that b holds.
func (b *buffer) floats() int {
	if b.half {
		return 2 * b.words
	}
	return b.words
}

// bytes is the size of a value.
func (b *buffer) bytes() int {
	if b.half {
		return 2
	}
	return 4
}

// values is values lo..hi, whichever way they are stored.
func (b *buffer) values(lo, hi int) kernel.Values {
	if b.half {
		return kernel.BFloat16s(b.h[lo:hi])
	}
	return kernel.Float32s(b.f[lo:hi])
}

// at is the address of value i.
func (b *buffer) at(i int) unsafe.Pointer {
	if b.half {
		return unsafe.Pointer(&b.h[i])
	}
	return unsafe.Pointer(&b.f[i])
}

// root is the buffer that memory was planned for.
func (b *buffer) root() *buffer {
	for b.alias != nil {
		b = b.alias
	}
	return b
}

func (b *buffer) bind(mem []byte) {
	b.f, b.i, b.h = nil, nil, nil
	if b.words > 0 {
		p := unsafe.Pointer(&mem[0])
		b.f = unsafe.Slice((*float32)(p), b.words)
		b.i = unsafe.Slice((*int32)(p), b.words)
		b.h = unsafe.Slice((*uint16)(p), 2*b.words)
	}
}

// at is the address of float i.
func at(f []float32, i int) unsafe.Pointer { return unsafe.Pointer(&f[i]) }
