package cpu

import "moco/tensor"

// lanes is what rows of channels are padded to, in values, so that no kernel has a tail in its
// inner loop. The padding is zero, and every operation keeps it so.
const lanes = 16

func roundUp(n, m int) int { return (n + m - 1) / m * m }

// channels is the stride of a row with c channels.
func channels(c int) int { return roundUp(c, lanes) }

// imageChannels is the stride of a pixel of an image that is given as input. Padding three channels
// to 16 would make the first convolution five times dearer.
func imageChannels(c int) int {
	if c <= 4 {
		return 4
	}
	return channels(c)
}

// rowsOf is the number of rows and channels of a value.
func rowsOf(s tensor.Shape) (rows, ch int) {
	if len(s) == 0 {
		return 1, 1
	}
	return s[:len(s)-1].Elements(), s[len(s)-1]
}

// packing is the order of a convolution's weights: [Out/block][taps][in][block], each output block
// one stream of vectors for the tile. It is the only form that weights, their gradients and their
// momenta have in a State: operations that work element by element need not know, and a step packs
// nothing.
type packing struct {
	out, in, taps int // as in OIHW; taps is the area of the kernel
	block         int // output channels a tile makes at once
	inPad, outPad int
}

// packingOf is the order of weights [O,I,k,k], or [O,I], which products of rows have.
func (e *Engine) packingOf(s tensor.Shape) packing {
	p := packing{out: s[0], in: s[1], taps: s[2:].Elements(), inPad: imageChannels(s[1]), outPad: channels(s[0])}
	if len(s) == 2 { // rows are never images
		p.inPad = channels(s[1])
	}
	p.block = e.blockFor(p.outPad)
	return p
}

// blockFor is the widest tile that divides a number of channels.
func (e *Engine) blockFor(out int) int {
	best := lanes
	for _, t := range e.path.Tiles {
		if out%t.Block == 0 {
			best = max(best, t.Block)
		}
	}
	return best
}

func (p packing) floats() int { return p.outPad * p.taps * p.inPad }

// index is the place of the weight of output o, input c, tap t.
func (p packing) index(o, c, t int) int {
	return (((o/p.block)*p.taps+t)*p.inPad+c)*p.block + o%p.block
}

// pack writes OIHW weights into packed order; unpack is its inverse. Padding is zero.
func (p packing) pack(dst, src []float32) {
	clear(dst)
	p.each(func(packed, plain int) { dst[packed] = src[plain] })
}

func (p packing) unpack(dst, src []float32) {
	p.each(func(packed, plain int) { dst[plain] = src[packed] })
}

func (p packing) each(f func(packed, plain int)) {
	for o := range p.out {
		for c := range p.in {
			for t := range p.taps {
				f(p.index(o, c, t), (o*p.in+c)*p.taps+t)
			}
		}
	}
}

// spread copies dense rows of ch values to rows of stride values, zeros between. gather is its
// inverse.
func spread[T any](dst, src []T, rows, ch, stride int) {
	if ch == 3 && stride == 4 { // pixels: too short for copy, which takes three times as long
		var zero T
		for r := range rows {
			to, from := dst[4*r:4*r+4:4*r+4], src[3*r:3*r+3:3*r+3]
			to[0], to[1], to[2], to[3] = from[0], from[1], from[2], zero
		}
		return
	}
	for r := range rows {
		row := dst[r*stride : (r+1)*stride]
		copy(row, src[r*ch:(r+1)*ch])
		clear(row[ch:])
	}
}

func gather[T any](dst, src []T, rows, ch, stride int) {
	for r := range rows {
		copy(dst[r*ch:(r+1)*ch], src[r*stride:])
	}
}
