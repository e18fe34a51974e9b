package cpu

import "moco/graph"

var poolOperations = operations{
	graph.MaxPool:         {emit: emitMaxPool},
	graph.MaxPoolGrad:     {emit: emitMaxPoolGrad},
	graph.AveragePool:     {operands: storedOperand, emit: emitAveragePool},
	graph.AveragePoolGrad: {element: activation, emit: emitAveragePoolGrad},
}

// window is the pooling windows over images of a shape.
type window struct {
	graph.Window
	in []int // [N,H,W,C]
}

func windowOf(n *graph.Node, in []int) window { return window{n.Attr.(graph.PoolAttr).Window, in} }

// place is a pixel of the output of a pooling.
type place struct{ image, y, x int }

// eachPixel calls f with the pixels of a window that lie inside of the image, row by row, counted
// over the batch.
func (p window) eachPixel(at place, f func(pixel int)) {
	y, x := at.y*p.Stride-p.Pad, at.x*p.Stride-p.Pad
	for iy := max(y, 0); iy < min(y+p.Kernel, p.in[1]); iy++ {
		for ix := max(x, 0); ix < min(x+p.Kernel, p.in[2]); ix++ {
			f((at.image*p.in[1]+iy)*p.in[2] + ix)
		}
	}
}

// largest leaves the largest values of a window in dst.
func (c *compiler) largest(dst []float32, x *buffer, p window, at place) {
	first := true
	p.eachPixel(at, func(pixel int) {
		src := x.row(pixel)
		if first {
			copy(dst, src)
			first = false
			return
		}
		c.engine.path.Larger(dst, src)
	})
}

func emitMaxPool(c *compiler, s *step, o *op) {
	x, y := s.in[0].buffer, s.out[0].buffer
	out, p := s.node.Shape, windowOf(s.node, s.node.In[0].Shape)
	h, w := out[1], out[2]
	o.then(cut(out[0]*h, max(1, 64/w), func(_ *worker, lo, hi int) {
		for i := lo; i < hi; i++ {
			for ox := range w {
				c.largest(y.row(i*w+ox), x, p, place{i / h, i % h, ox})
			}
		}
	}))
}

// emitMaxPoolGrad looks for the largest again, which costs less than keeping where it was; the
// first of several equals gets the gradient. Windows overlap, so an image is one part.
func emitMaxPoolGrad(c *compiler, s *step, o *op) {
	dy, x, dx := s.in[0].buffer, s.in[1].buffer, s.out[0].buffer
	out, in, p := s.node.In[0].Shape, s.node.Shape, windowOf(s.node, s.node.Shape)
	size := in[1] * in[2] * dx.stride
	o.needs(2 * dx.stride)
	o.then(cut(in[0], 1, func(w *worker, image, _ int) {
		clear(dx.f32[image*size : (image+1)*size])
		scratch := w.floats(2 * dx.stride)
		best, g := scratch[:dx.stride], scratch[dx.stride:]
		for oy := range out[1] {
			for ox := range out[2] {
				at := place{image, oy, ox}
				c.largest(best, x, p, at)
				copy(g, dy.row((image*out[1]+oy)*out[2]+ox))
				p.eachPixel(at, func(pixel int) {
					c.engine.path.Claim(dx.row(pixel), g, x.row(pixel), best)
				})
			}
		}
	}))
}

func emitAveragePool(c *compiler, s *step, o *op) {
	x, y := s.in[0].buffer, s.out[0].buffer
	in := s.node.In[0].Shape
	pixels := in[1] * in[2]
	size := pixels * x.stride
	o.then(rowsPhase(in[0], size, func(_ *worker, r int) {
		sum := y.row(r)
		clear(sum)
		c.engine.path.Sums(x.values(r*size, (r+1)*size), x.stride, sum)
		c.engine.path.Scale(sum, sum, 1/float32(pixels))
	}))
}

func emitAveragePoolGrad(c *compiler, s *step, o *op) {
	dy, dx := s.in[0].buffer, s.out[0].buffer
	pixels, ch := s.node.Shape[1]*s.node.Shape[2], s.out[0].buffer.stride
	o.needs(ch)
	o.then(rowsPhase(s.node.Shape[0], pixels*ch, func(w *worker, r int) {
		if dx.element == bfloat16s {
			row := w.floats(ch)
			c.engine.path.Scale(row, dy.row(r), 1/float32(pixels))
			all := dx.bf16[r*pixels*ch : (r+1)*pixels*ch]
			c.engine.path.Narrow(all[:ch], row)
			for p := 1; p < pixels; p++ {
				copy(all[p*ch:], all[:ch])
			}
			return
		}
		first := dx.row(r * pixels)
		c.engine.path.Scale(first, dy.row(r), 1/float32(pixels))
		for p := 1; p < pixels; p++ {
			copy(dx.row(r*pixels+p), first)
		}
	}))
}
