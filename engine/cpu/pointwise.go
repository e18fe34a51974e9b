package cpu

import (
	"unsafe"

	"moco/engine/cpu/internal/kernel"
)

// pointwise is a 1x1 convolution of stride 1, or its data gradient: one product of matrices, pixels by channels. It reads and writes much for what it multiplies, so what
// counts is how often memory is passed over. A part of the work is some pixels with all their channels: batch norm and ReLU before the convolution are done
// to a part's inputs (see input), and what follows to its outputs (see parted), while these lie in the second-level cache.
type pointwise struct {
	parted
	engine  *Engine
	in, out int // channels, padded
	pairs   bool
	tile    kernel.Tile
}

// pointwiseCache is how many bytes of inputs and outputs a part has about: half of a second-level cache. More pixels read the weights less often.
const pointwiseCache = 512 << 10

// pointwiseFits reports whether a convolution from in channels is one product of matrices.
func (g geometry) pointwiseFits(in int) bool {
	return g.kernel == 1 && g.stride == 1 && g.pad == 0 && in%lanes == 0
}

// pointwiseConv emits y = from by packed weights, plus what lies in add unless that is nil; the phases of o come first.
func (c *compiler) pointwiseConv(o *op, pixels, in, out int, from input, weights, y, add *buffer) {
	v := &pointwise{engine: c.engine, in: in, out: out, pairs: from.x.half && c.engine.path.Pairs != nil}
	v.tile = c.engine.tileFor(out, v.pairs)
	each := pointwiseCache / (in*from.x.bytes() + out*y.bytes()) / v.tile.Rows
	splits := c.splitsBehind(o.node)
	if from.affine != nil && from.affine.splits > 1 {
		splits = from.affine.splits // a part has one
	}
	v.pixels = evenSplit(pixels, splits, max(4, each)*v.tile.Rows)
	o.reads = append(from.reads(), weights)
	o.writes = append([]*buffer{y}, o.writes...)
	if v.pairs {
		weights = c.engine.pairWeights(o, weights, in, out, 1, v.tile.Block)
	}
	if add != nil {
		o.label += "+Add"
		o.reads = append(o.reads, add)
		o.reuse = []*buffer{add}
	}
	o.label += " (1x1)"
	o.phases = append(o.phases, v.multiply(from, weights, y, add))
	c.emitParted(o, &v.parted)
}

// multiply makes the phase of y = from by weights, plus add.
func (v *pointwise) multiply(from input, weights, y, add *buffer) phase {
	rows, block := v.tile.Rows, v.tile.Block
	size := 4 // of what is multiplied
	if v.pairs {
		size = 2
	}
	pieces := chains(v.in, y.half)
	piece := v.in / pieces
	most := max(1, flopsEach/(2*rows*block*piece)) // tiles a call
	taps := []int64{0, 0}
	lists := map[int]tileLists{}
	for part := range len(v.pixels.bounds) - 1 {
		if n := v.pixels.rows(part); lists[n].in == nil {
			lists[n] = newTileLists(n, rows, v.in*size, v.out*y.bytes())
		}
	}
	return v.pixels.phase(func(w *worker, part, split, lo, hi int) {
		if add != nil && add.root() != y.root() {
			words := v.out * y.bytes() / 4
			copy(y.i[lo*words:hi*words], add.i[lo*words:hi*words])
		}
		x := v.lay(w, from, split, lo, hi)
		list := lists[hi-lo]
		t := &w.tile
		*t = kernel.TileArgs{Taps: &taps[0], NTaps: 1, K: int64(piece * size / 16)}
		if y.half {
			t.Half = 1
		}
		for b := range v.out / block {
			t.Y = y.at(lo*v.out + b*block)
			for p := range pieces {
				t.X = unsafe.Add(x, p*piece*size)
				t.B = weights.at((b*v.in + p*piece) * block)
				t.Acc = 0
				if add != nil || p > 0 {
					t.Acc = 1
				}
				for i, tiles := 0, len(list.in)/rows; i < tiles; i += most {
					t.In, t.Out, t.Tiles = &list.in[i*rows], &list.out[i*rows], int64(min(most, tiles-i))
					v.tile.Run(t)
				}
			}
		}
		v.finish(w, part, split)
	})
}

// lay returns the rows lo..hi of what is multiplied: where they lie, or in the worker's scratch memory if they are to be widened or normalised first.
func (v *pointwise) lay(w *worker, from input, split, lo, hi int) unsafe.Pointer {
	if from.affine == nil && from.x.half == v.pairs {
		return from.x.at(lo * v.in)
	}
	n := (hi - lo) * v.in
	scratch := w.floats(n)
	x, dst := from.x.values(lo*v.in, hi*v.in), kernel.Float32s(scratch)
	switch {
	case v.pairs:
		dst = kernel.BFloat16s(unsafe.Slice((*uint16)(at(scratch, 0)), n))
	case from.x.half:
		v.engine.path.Widen(scratch, from.x.h[lo*v.in:hi*v.in])
		x = dst
	}
	if from.affine != nil {
		mean, scale, shift := from.affine.of(split * from.affine.splits / v.pixels.splits)
		v.engine.path.Normalise(dst, x, kernel.Values{}, v.in, mean, scale, shift, true)
	}
	return at(scratch, 0)
}
