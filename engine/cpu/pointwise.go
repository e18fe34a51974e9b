package cpu

import (
	"unsafe"

	"moco/engine/cpu/internal/kernel"
)

// pointwise is a 1x1 convolution of stride 1, or its data gradient: one product of matrices, pixels
// by channels. It reads and writes much for what it multiplies, so what counts is how often memory
// is passed over. A part of the work is some pixels with all their channels. Batch norm and ReLU
// before the convolution are done to a part's inputs, and the epilogue to its outputs, while these
// lie in the second-level cache.
type pointwise struct {
	*convolution
	path   *kernel.Path
	pairs  bool // multiplies pairs of bfloat16
	tile   kernel.Tile
	size   int               // bytes of a value that is multiplied
	pieces int               // into which the sum over a row of channels is cut
	each   int               // rows multiplied at a time
	lists  map[int]tileLists // by the rows multiplied
}

// pointwiseCache is how many bytes of inputs and outputs a part has about: half of the second-level
// cache of usualCache bytes. More pixels read the weights less often. Sums over the batch are cut as
// parts are, so this is the same on every machine. One whose cache is smaller multiplies the rows of a
// part some at a time.
const pointwiseCache = usualCache / 2

// pointwiseRows is how many rows have so many bytes of inputs and outputs: whole tiles.
func (e *Engine) pointwiseRows(v *convolution, x, y element, bytes int) int {
	rows := e.tileFor(v.out, e.pairsFit(v, x)).Rows
	return max(4, bytes/(v.in*x.size()+v.out*y.size())/rows) * rows
}

// pointwisePixels cuts the pixels of a 1x1 convolution that reads and writes values of these types.
func (e *Engine) pointwisePixels(v *convolution, splits int, x, y element) split {
	return evenSplit(v.images*v.outH*v.outW, splits, e.pointwiseRows(v, x, y, pointwiseCache))
}

// newPointwise plans the products.
func (e *Engine) newPointwise(v *convolution, o *op) *pointwise {
	p := &pointwise{convolution: v, path: e.path, pairs: e.pairsFit(v, v.x.element), size: 4}
	p.tile = e.tileFor(v.out, p.pairs)
	if p.pairs {
		p.size = 2
		v.w = e.pairWeights(v, o, p.tile.Block)
	}
	p.pieces = chains(v.in, v.y.element)
	p.each = e.pointwiseRows(v, v.x.element, v.y.element, e.cache/2)
	p.lists = map[int]tileLists{}
	most := 0
	for part := range v.pixels.all() {
		p.runs(v.pixels.bounds[part], v.pixels.bounds[part+1], func(lo, hi int) {
			most = max(most, hi-lo)
			if p.lists[hi-lo].in == nil {
				l := newTileLists(hi-lo, p.tile.Rows, v.in*p.size, v.out*v.y.element.size())
				l.count(o)
				p.lists[hi-lo] = l
			}
		})
	}
	if v.norm != nil || p.pairs != (v.x.element == bfloat16s) {
		o.needs(most * v.in)
	}
	return p
}

// runs calls f for the rows of a part that are multiplied at a time.
func (p *pointwise) runs(lo, hi int, f func(lo, hi int)) {
	for ; lo < hi; lo += p.each {
		f(lo, min(lo+p.each, hi))
	}
}

// emit makes the phase of y = x by weights, plus what is to be added.
func (p *pointwise) emit(v *convolution, o *op) {
	o.then(v.pixels.phase(func(w *worker, part, split, lo, hi int) {
		if v.add != nil && v.add.root() != v.y.root() {
			v.y.copyValues(v.add, lo*v.out, hi*v.out)
		}
		p.runs(lo, hi, func(lo, hi int) { p.multiply(w, p.lay(w, split, lo, hi), lo, hi) })
		v.finish(w, part, split)
	}))
}

var noTaps = []int64{0, 0}

// multiply multiplies the rows at x by all weights, into or onto rows lo..hi of y, and finishes each
// block of channels while it lies in the first-level cache.
func (p *pointwise) multiply(w *worker, x unsafe.Pointer, lo, hi int) {
	list := p.lists[hi-lo]
	rows, block, piece := p.tile.Rows, p.tile.Block, p.in/p.pieces
	most := max(1, flopsEach/(2*rows*block*piece)) // tiles a call
	t := &w.tile
	*t = kernel.TileArgs{Taps: &noTaps[0], NTaps: 1, K: int64(piece * p.size / 16), BF16: bf16Flag(p.y)}
	for b := range p.out / block {
		t.Y = p.y.at(lo*p.out + b*block)
		for i := range p.pieces {
			t.X = unsafe.Add(x, i*piece*p.size)
			t.B = p.w.at((b*p.in + i*piece) * block)
			t.Acc = 0
			if p.add != nil || i > 0 {
				t.Acc = 1
			}
			for first, tiles := 0, len(list.in)/rows; first < tiles; first += most {
				t.In, t.Out = &list.in[first*rows], &list.out[first*rows]
				t.Tiles = int64(min(most, tiles-first))
				p.tile.Run(t)
			}
		}
		for _, f := range p.eachBlock {
			f(w, lo, hi, columns{b * block, block})
		}
	}
}

// lay returns the rows lo..hi of what is multiplied: where they lie, or in the worker's scratch
// memory if they are to be widened or normalised first.
func (p *pointwise) lay(w *worker, split, lo, hi int) unsafe.Pointer {
	bf16 := p.x.element == bfloat16s
	if p.norm == nil && bf16 == p.pairs {
		return p.x.at(lo * p.in)
	}
	n := (hi - lo) * p.in
	scratch := w.floats(n)
	x, dst := p.x.values(lo*p.in, hi*p.in), kernel.Float32s(scratch)
	switch {
	case p.pairs:
		dst = kernel.BFloat16s(asBFloat16(scratch)[:n])
	case bf16:
		p.path.Widen(scratch, p.x.bf16[lo*p.in:hi*p.in])
		x = dst
	}
	if p.norm != nil {
		p.path.Normalise(kernel.NormaliseArgs{
			Y: dst, X: x, Channels: p.in, Affine: p.norm.of(split * p.norm.splits / p.pixels.splits), ReLU: true,
		})
	}
	return at(scratch, 0)
}
