package cpu

import (
	"unsafe"

	"moco/engine/cpu/internal/kernel"
)

// This file is about a head's rows: where they lie, and how they get into scratch memory and back.

// pairLists are the tokens of a block of them as kernel.Path.GatherRight reads them: where their
// rows start, in values, and -1 up to a multiple of 8.
type pairLists struct {
	n          int // tokens of a block, but for the last one
	full, last []int32
}

func newPairLists(n, tokens, stride int, o *op) pairLists {
	list := func(n int) (offsets []int32) {
		for i := range roundUp(n, 8) {
			if i < n {
				offsets = append(offsets, int32(i*stride))
			} else {
				offsets = append(offsets, -1)
			}
		}
		keeps(o, offsets)
		return offsets
	}
	l := pairLists{n: min(n, tokens)}
	l.full = list(l.n)
	if left := tokens % l.n; left > 0 {
		l.last = list(left)
	}
	return l
}

// of is the list of n tokens.
func (l pairLists) of(n int) []int32 {
	if n == l.n {
		return l.full
	}
	return l.last
}

// attentionHead is a head of an image.
type attentionHead struct{ image, index int }

func (a *attention) head(i int) attentionHead { return attentionHead{i / a.heads, i % a.heads} }

// The three parts of a token's channels in qkv.
const (
	queryChannels = iota
	keyChannels
	valueChannels
)

// headRows are a head's rows of some tokens in a buffer.
type headRows struct {
	*buffer
	head  attentionHead
	part  int // of three; 0 in a buffer with one
	token int // the first
	count int
}

// from is the index of the first value.
func (a *attention) from(r headRows) int {
	return (r.head.image*a.tokens+r.token)*r.stride + (r.part*a.heads+r.head.index)*a.size
}

// valuesOf is the values from the first row's to the last row's.
func (a *attention) valuesOf(r headRows) kernel.Values {
	from := a.from(r)
	return r.values(from, from+(r.count-1)*r.stride+a.size)
}

// load copies a head's rows to scratch memory as they are multiplied, and fills up with zeros.
func (a *attention) load(dst []float32, r headRows) {
	args := kernel.ScaleRowsArgs{
		Dst: kernel.Float32s(dst), Src: a.valuesOf(r), DstPitch: a.stride, SrcPitch: r.stride, Rows: r.count,
		Columns: a.size,
	}
	if a.pairs {
		args.Dst = kernel.BFloat16s(halves(dst))
	} else if a.size < a.stride {
		clear(dst[:r.count*a.stride])
	}
	a.path.ScaleRows(args)
}

// halves is words as pairs of bfloat16.
func halves(words []float32) []uint16 {
	return unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(words))), 2*len(words))
}

// store writes rows from scratch memory, times a factor each, to a head's rows.
func (a *attention) store(r headRows, src []float32, factors []float32) {
	a.path.ScaleRows(kernel.ScaleRowsArgs{
		Dst: a.valuesOf(r), Src: kernel.Float32s(src), DstPitch: r.stride, SrcPitch: a.stride, Rows: r.count,
		Columns: a.size, Factors: factors,
	})
}

// rescale multiplies rows by a factor each.
func (a *attention) rescale(x, factors []float32, rows int) {
	a.path.ScaleRows(kernel.ScaleRowsArgs{
		Dst: kernel.Float32s(x), Src: kernel.Float32s(x), DstPitch: a.stride, SrcPitch: a.stride, Rows: rows,
		Columns: a.stride, Factors: factors,
	})
}

// packColumns lays a head's rows transposed, [size][rows], as the right operand of a product. tmp
// is scratch memory for the rows.
func (a *attention) packColumns(dst, tmp []float32, r headRows) {
	columns, src, stride, transpose := channels(r.count), tmp, a.stride, a.path.Transpose
	if a.pairs {
		stride, transpose = r.stride/2, a.path.TransposeRight
		src = unsafe.Slice((*float32)(r.at(a.from(r))), (r.count-1)*stride+a.inner)
	} else {
		a.load(tmp, r)
	}
	for c := 0; c < columns; {
		block := a.tileOf(columns - c).Block
		panel, rows := dst[c*a.inner:][:block*a.inner], min(block, r.count-c)
		if rows < block {
			clear(panel)
		}
		transpose(panel, block, src[c*stride:], stride, rows, a.inner)
		c += block
	}
}

// packRows lays a head's rows of a tile of keys, [rows][size], as the right operand of a product.
func (a *attention) packRows(dst []float32, r headRows) {
	inner, src := a.depth(r.count), a.valuesOf(r)
	if a.size < a.stride {
		clear(dst[:inner*a.stride])
	}
	for c := 0; c < a.stride; {
		block := a.tileOf(a.stride - c).Block
		panel := dst[c*inner:][:inner*block]
		if a.pairs {
			a.path.GatherRight(panel, block, src.From(c), a.keyPairs.of(r.count), block)
		} else {
			a.path.ScaleRows(kernel.ScaleRowsArgs{
				Dst: kernel.Float32s(panel), Src: src.From(c), DstPitch: block, SrcPitch: r.stride,
				Rows: r.count, Columns: min(block, a.size-c),
			})
			clear(panel[r.count*block:])
		}
		c += block
	}
}

// keysAfter are the keys of the tile after those before key: of the same head, or of the next one
// if that follows.
func (a *attention) keysAfter(h attentionHead, key int, more bool) headRows {
	if key == a.tokens && more {
		h, key = attentionHead{h.image, h.index + 1}, 0
	}
	return headRows{a.qkv, h, keyChannels, key, min(a.keys, a.tokens-key)}
}

// prefetch asks for share i of n of some rows.
func (a *attention) prefetch(r headRows, i, n int) {
	first := r.count * i / n
	r.token, r.count = r.token+first, r.count*(i+1)/n-first
	if r.count > 0 {
		a.path.PrefetchRows(a.valuesOf(r), r.stride, r.count, a.size)
	}
}
